"""`python -m ingestion` is `headrace`."""

from ingestion.cli import main

main()
