"""What Dagster materialises, and what ties the dbt project to the event contract."""
