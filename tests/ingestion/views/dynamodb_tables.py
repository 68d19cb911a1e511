"""Tables for tests: made when a view is first used, for the contract invents views, and dropped again."""

from typing import Any

from ingestion.views.dynamodb import DynamoDBViews
from tests.services.dynamodb import DynamoDB


class WithTables(DynamoDBViews):
    """DynamoDB Local deletes what expired by its own clock, and a test has another: these tables expire nothing."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._made: set[str] = set()

    def create(self, *views: str) -> None:
        """Make the tables of views."""
        steps = self.tables.plan(views)
        self.tables.apply([step for step in steps if step.operation == "create_table"])
        self._made.update(views)

    def _table(self, view: str) -> str:
        if view not in self._made:
            self.create(view)
        return super()._table(view)


def drop(dynamodb: DynamoDB, prefix: str) -> None:
    """Drop the tables of a prefix."""
    client = dynamodb.endpoint.client()
    for page in client.get_paginator("list_tables").paginate():
        for name in page["TableNames"]:
            if name.startswith(f"{prefix}."):
                client.update_table(TableName=name, DeletionProtectionEnabled=False)
                client.delete_table(TableName=name)
