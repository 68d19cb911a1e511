"""`headrace …`, whole: the commands of the ingestion layer, and those that need Dagster or the models.

What is heavy is imported by the command that needs it: `headrace collect` must not pay for Dagster.
"""

from ingestion.cli import cli, main

__all__ = ["cli", "main"]
