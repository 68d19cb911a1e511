"""The dbt project as assets, by event date. A run builds what it selects; dbt's tests are checks of their own."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, dbt_assets
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

from ingestion.errors import HeadraceError
from ingestion.warehouse import Warehouse
from orchestration.dbt_runner import Outcome, hash_definitions, run_dbt
from orchestration.lake import OWNERS
from orchestration.partitions import DATES
from orchestration.warehouse import POOL
from sensors.stale_dates import report
from sensors.stores import Stores

Manifest = Mapping[str, Any]


class Translator(DagsterDbtTranslator):
    """Names models as dbt does, and puts them into groups by their folder."""

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The folder: staging, intermediate or marts; seeds say what a funnel is."""
        return "funnels" if dbt_resource_props["resource_type"] == "seed" else str(dbt_resource_props["fqn"][1])

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> Sequence[str] | None:
        """Everybody's."""
        return OWNERS

    def get_partition_mapping(
        self, dbt_resource_props: Mapping[str, Any], dbt_parent_resource_props: Mapping[str, Any]
    ) -> dg.PartitionMapping | None:
        """An event date lies in its landing hours but for late events; there are dates before the first hour."""
        if dbt_parent_resource_props["resource_type"] != "source":
            return None
        return dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)


def build_models(target: Path) -> dg.AssetsDefinition:
    """The assets of the project that was parsed into `target`."""
    manifest, translator = json.loads((target / "manifest.json").read_text()), Translator()

    @dbt_assets(
        manifest=manifest,
        name="models",
        partitions_def=DATES,
        dagster_dbt_translator=translator,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=POOL,
    )
    def models(context: dg.AssetExecutionContext, stores: dg.ResourceParam[Stores]) -> Iterator[Any]:
        """Builds the models of some event dates, and notes how far they have seen the loads; runs what tests it is
        asked for."""
        warehouse = stores.warehouse()
        if not context.selected_asset_keys:
            outcome = check(warehouse, target)
        else:
            everything = context.selected_asset_keys == models.keys
            outcome = build(context, warehouse, [] if everything else named(manifest, context), target)
        counts = count_rows(warehouse, outcome, manifest)
        for result in outcome.results:
            message = DbtCoreCliEventMessage(raw_event=dict(result), event_history_metadata={})
            rows = counts.get(result["data"]["node_info"]["unique_id"])
            for event in message.to_default_asset_events(manifest, translator, context):
                has_count = isinstance(event, dg.Output) and rows is not None
                yield event.with_metadata({**event.metadata, "dagster/row_count": rows}) if has_count else event
        if outcome.failure:
            raise dg.Failure(outcome.failure)

    return models


def build(context: dg.AssetExecutionContext, warehouse: Warehouse, selected: Sequence[str], target: Path) -> Outcome:
    """Build the dates of a run, of all models or of those that are named; they are built once all have seen them.

    Where the definitions are not those that everything was built by, each table is replaced as a whole.
    """
    definitions = hash_definitions()  # and the loads seen, before dbt reads: what comes meanwhile stays stale
    if whole := warehouse.staleness().definitions != definitions:
        context.log.info("the definitions of the models have changed: every date is built, each table at once")
        warehouse.forget_built()
    seen = warehouse.staleness()
    dates = [stale.event_date for stale in seen.dates] if whole else list(context.partition_keys)
    with_tests = bool(context.selected_asset_check_keys)
    outcome = run_dbt(dbt_arguments(None if whole else dates, selected, with_tests), target)
    if outcome.failure is None:
        outcome.failure = publish(warehouse, dates)
    if outcome.failure is None and not selected:
        warehouse.record_built(dates, seen.load_seq, definitions)
    context.log_event(report(warehouse.staleness()))
    if outcome.failure:
        which = "all dates" if whole else f"dates {dates[0]} to {dates[-1]}"
        outcome.failure = f"{which} stay stale: {outcome.failure}"
    return outcome


def publish(warehouse: Warehouse, dates: Sequence[str]) -> str | None:
    """Show readers what was built, and return what went wrong: dates that nobody can see are not built."""
    try:
        warehouse.publish(dates)
    except HeadraceError as error:
        return str(error)
    return None


def check(warehouse: Warehouse, target: Path) -> Outcome:
    """Run dbt's tests; before the first build there is nothing to test."""
    if not warehouse.query("select 1 from headrace.built limit 1"):
        return Outcome()
    waiting = ["--exclude", "tag:when_drained"] if warehouse.staleness().dates else []  # they hold for what is built
    return run_dbt(["test", "--exclude-resource-type", "unit_test", *waiting], target)


def dbt_arguments(dates: Sequence[str] | None, selected: Sequence[str], with_tests: bool) -> list[str]:
    """The command that builds `dates` (None: whole tables), of all models or of those that are named."""
    what = ["--full-refresh"] if dates is None else ["--vars", json.dumps({"dates": list(dates)})]
    only = ["--select", *selected, "--indirect-selection", "cautious"] if selected else []
    without = [] if with_tests else ["--exclude-resource-type", "test"]
    return ["build", *what, "--exclude-resource-type", "unit_test", *without, *only]


def named(manifest: Manifest, context: dg.AssetExecutionContext) -> list[str]:
    """dbt's full names of what a run selects."""
    names = {key.path[-1] for key in context.selected_asset_keys}
    return sorted(".".join(node["fqn"]) for node in manifest["nodes"].values() if node["name"] in names)


def count_rows(warehouse: Warehouse, outcome: Outcome, manifest: Manifest) -> Mapping[str, int]:
    """The rows of each table that dbt built; a view's would cost its query."""
    tables = [
        node
        for unique_id, node in manifest["nodes"].items()
        if unique_id in outcome.succeeded()
        and node["resource_type"] != "test"
        and node["config"]["materialized"] != "view"
    ]
    if not tables:
        return {}
    sql = " union all ".join(f"select '{t['unique_id']}', count(*) from {t['schema']}.{t['alias']}" for t in tables)
    return {str(unique_id): int(str(rows)) for unique_id, rows in warehouse.query(sql)}
