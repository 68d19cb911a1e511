"""Checks of the raw tables: the audit's findings, and shares that should stay small. A red one says what to do."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import dagster as dg

from ingestion.audit import Balance, Finding, audit
from ingestion.tables import REJECTED, Table, all_tables
from ingestion.warehouse import Warehouse
from orchestration.view_checks import SAMPLE, check_keys
from orchestration.warehouse import POOL
from sensors.stores import Stores

MAX_DUPLICATES, MAX_UNFIT, MAX_REJECTED = 0.05, 0.01, 0.05
RECENT_HOURS = 24
SHOWN = 10


@dataclass(frozen=True)
class Bound:
    """A share of a table's latest rows that should stay small."""

    check: str
    what: str
    share: float
    todo: str


LAKE_EQUALS_RAW, CONTIGUOUS = "lake_equals_raw", "positions_contiguous"
DUPLICATES = Bound(
    "few_duplicates",
    "repeat an event",
    MAX_DUPLICATES,
    "They count once. A source that sends events again and again does not get its answers: look at its network and"
    " at the collector's 429 and 503.",
)
UNFIT = Bound(
    "few_unfit_rows",
    "fit no column",
    MAX_UNFIT,
    "select landing_error, kafka_value, kafka_value_bytes from the raw table where landing_error is not null: another"
    " program writes to this topic, or the contract in ingestion/events.py has to change.",
)
REJECTIONS = Bound(
    "few_rejected_events",
    "of all types are rejections",
    MAX_REJECTED,
    "select code, field, source, count(*) from raw.rejected group by 1, 2, 3: tell that app's developers, or change"
    " the contract, and then run: headrace rejected replay",
)
RELOAD = "Load the hour again: materialise these partitions, or run: headrace reload --table {table} --hour {hour}"
RESTORE = "The lake or the log changed behind Headrace: restore its files, then run: headrace audit --by-hour"


def check_specs() -> list[dg.AssetCheckSpec]:
    """The checks of every raw table."""
    return [
        dg.AssetCheckSpec(name, asset=["raw", table.name], description=description)
        for table in all_tables()
        for name, description in described(table).items()
    ]


def described(table: Table) -> dict[str, str]:
    """The names of a table's checks, with what they hold up."""
    return {
        LAKE_EQUALS_RAW: "Lake, ledger and raw table have the same records in every landing hour.",
        CONTIGUOUS: "The lake has every offset of the log once, up to the position that it names.",
        **{bound.check: f"At most {bound.share:.0%} of the latest rows {bound.what}." for bound in bounds(table)},
    }


def bounds(table: Table) -> list[Bound]:
    """The shares that are looked at in a table."""
    return [UNFIT, REJECTIONS] if table.name == REJECTED else [UNFIT, DUPLICATES]


@dg.multi_asset_check(name="raw_checks", specs=check_specs(), can_subset=True, pool=POOL)
def raw_checks(
    context: dg.AssetCheckExecutionContext, stores: dg.ResourceParam[Stores]
) -> Iterator[dg.AssetCheckResult]:
    """One audit of the tables whose checks are selected, where one asks for it, and a count of their latest rows."""
    wanted = context.selected_asset_check_keys
    tables = [table for table in all_tables() if dg.AssetKey(["raw", table.name]) in {key.asset_key for key in wanted}]
    balance = _audit(stores, tables) if {key.name for key in wanted} & {LAKE_EQUALS_RAW, CONTIGUOUS} else Balance()
    for table in tables:
        for result in [*judge_balance(table, balance), *judge_shares(table, stores.warehouse())]:
            if dg.AssetCheckKey(dg.AssetKey(["raw", table.name]), result.check_name or "") in wanted:
                yield result


def _audit(stores: Stores, tables: Sequence[Table]) -> Balance:
    with closing(stores.broker()) as broker:
        broker.ensure_topics([table.topic for table in tables])
        return audit(broker, stores.lake(), stores.warehouse(), tables)


def judge_balance(table: Table, balance: Balance) -> list[dg.AssetCheckResult]:
    """The audit's findings about a table, by the check that they belong to."""
    mine = [finding for finding in balance.findings if finding.table == table.name]
    load = [finding for finding in mine if "ledger" in finding.hop or finding.hop == "raw"]
    return [
        _result(table, LAKE_EQUALS_RAW, load, RELOAD),
        _result(table, CONTIGUOUS, [finding for finding in mine if finding not in load], RESTORE),
    ]


def _result(table: Table, check: str, findings: Sequence[Finding], todo: str) -> dg.AssetCheckResult:
    said = [f"{f.hop}, hour {f.landing_hour}, version {f.version}: {f.message}" for f in findings[:SHOWN]]
    hour = next((finding.landing_hour for finding in findings if finding.landing_hour), "HOUR")
    return dg.AssetCheckResult(
        asset_key=["raw", table.name],
        check_name=check,
        passed=not findings,
        description="; ".join([*said, todo.format(table=table.name, hour=hour)])
        if findings
        else "Everything is there.",
        metadata={"findings": len(findings)},
    )


def judge_shares(table: Table, warehouse: Warehouse) -> list[dg.AssetCheckResult]:
    """The shares of a table's last landing hours, beside their bounds."""
    return [judge_share(table, bound, *_count(table, bound, warehouse)) for bound in bounds(table)]


def judge_share(table: Table, bound: Bound, part: int, whole: int) -> dg.AssetCheckResult:
    """Within the bound, or a warning that says what to do."""
    share = part / whole if whole else 0.0
    said = (
        f"In the last {RECENT_HOURS} landing hours {part:,} of {whole:,} rows {bound.what} (at most {bound.share:.0%})."
    )
    passed = share <= bound.share
    return dg.AssetCheckResult(
        asset_key=["raw", table.name],
        check_name=bound.check,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=said if passed else f"{said} {bound.todo}",
        metadata={"share": share, "rows": whole},
    )


RECENT = f"""
landing_hour in (
    select landing_hour from headrace.load_ledger where landing_hour is not null
    group by landing_hour order by landing_hour desc limit {RECENT_HOURS}
)"""
IDENTITY = "source, event_id, event_type, user_id, anonymous_id, device_occurred_at"


def _count(table: Table, bound: Bound, warehouse: Warehouse) -> tuple[int, int]:
    """The part that a bound is about, and the whole."""
    if not warehouse.query(
        "select 1 from information_schema.tables where table_schema = 'raw' and table_name = ?", [table.name]
    ):
        return 0, 0
    ((part, whole),) = warehouse.query(COUNTS[bound.check].format(table=table.name))
    return int(str(part)), int(str(whole))


COUNTS = {
    UNFIT.check: f'select count(landing_error), count(*) from "raw".{{table}} where {RECENT}',
    DUPLICATES.check: f"""
        select cast(coalesce(sum(copies - 1), 0) as bigint), cast(coalesce(sum(copies), 0) as bigint)
        from (
            select count(*) as copies from "raw".{{table}}
            where {RECENT} and landing_error is null group by {IDENTITY}
        ) as events""",
    REJECTIONS.check: f"""
        select
            cast(coalesce(sum(case when table_name = '{REJECTED}' then rows else 0 end), 0) as bigint),
            cast(coalesce(sum(rows), 0) as bigint)
        from headrace.load_ledger where {RECENT}""",
}

CHECK_RAW = dg.define_asset_job(
    "check_raw", dg.AssetSelection.checks(raw_checks), description="Audits the raw tables and counts what is odd."
)
CHECK_RECENT = dg.define_asset_job(
    "check_recent",
    dg.AssetSelection.checks(
        *(
            dg.AssetCheckKey(dg.AssetKey(["raw", table.name]), bound.check)
            for table in all_tables()
            for bound in bounds(table)
        ),
        *check_keys([SAMPLE]),
    ),
    description="Looks at the latest rows of the raw tables and the views: what that costs does not grow.",
)
