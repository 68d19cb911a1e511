from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ingestion.errors import ViewsUnavailable
from ingestion.listener import Listener
from ingestion.steps import run
from ingestion.tables import event_table
from ingestion.views import Item, Row, read_all
from ingestion.views import registry as known_views
from ingestion.views.facts import Lookups, View
from ingestion.views.sqlite import SQLiteViews
from orchestration import views
from orchestration.partitions import HOUR_FORMAT
from orchestration.schedules import nightly_repair
from sensors import views_behind
from sensors.attempts import RANGE_END, RANGE_START
from tests.conftest import MakePlatform
from tests.orchestration.control import Control, happened, repository

CARTS, ACTIVITY = dg.AssetKey(["views", "cart_events"]), dg.AssetKey(["views", "user_activity"])
ADDED = "product_added"


def fact_views(*days: int) -> dict[str, View]:
    """The views, as if there were one event type: to look at thirteen lake tables costs most of a test's time."""
    return {name: replace(view, event_types=(ADDED,)) for name, view in known_views.fact_views(*days).items()}


@pytest.fixture
def control(make_platform: MakePlatform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    """Dagster beside a platform of one table; it does not wait for a listener."""
    platform = make_platform(event_table(ADDED))
    monkeypatch.setenv("HEADRACE_HOME", str(platform.path))
    monkeypatch.setattr(views_behind, "fact_views", fact_views)
    monkeypatch.setattr(views, "fact_view", lambda name, *days: fact_views(*days)[name])
    monkeypatch.setattr(views_behind, "GRACE_SECONDS", -1.0)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Control(instance, platform)


def land(control: Control, events: int = 3, hours_ago: int = 0) -> None:
    """Some events, appended and landed so many hours ago."""
    platform = control.platform
    platform.now = datetime.now(UTC) - timedelta(hours=hours_ago)
    platform.publish(ADDED, [happened(platform, ADDED, platform.now) for _ in range(events)])
    platform.land()


def listen(control: Control) -> None:
    with closing(SQLiteViews(control.platform.path / "views.db")) as store:
        listener = Listener(control.platform.broker, store, list(fact_views().values()), Lookups)
        assert not run(listener.round(), lambda point: None).problems


def items(control: Control, view: str = "cart_events") -> list[Item]:
    with closing(SQLiteViews(control.platform.path / "views.db")) as store:
        return [row.item for key in sorted(store.keys(view)) for row in read_all(store, view, key) if row.item]


def repair(control: Control, first: int, last: int, *keys: dg.AssetKey) -> dg.ExecuteInProcessResult:
    """A backfill of hours, so many ago: with a single-run policy it launches this run."""
    now = datetime.now(UTC)
    tags = {
        RANGE_START: f"{now - timedelta(hours=first):{HOUR_FORMAT}}",
        RANGE_END: f"{now - timedelta(hours=last):{HOUR_FORMAT}}",
    }
    return control.execute("repair_views", dg.RunRequest(asset_selection=list(keys or (CARTS,)), tags=tags))


def said(control: Control, key: dg.AssetKey = CARTS) -> dict[str, object]:
    event = control.instance.get_latest_materialization_event(key)
    assert event is not None and event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_where_no_listener_runs_each_load_fills_the_views(control: Control) -> None:
    land(control)
    (done,) = control.run("views_behind")
    assert done.success and len(items(control)) == len(items(control, "user_activity")) == 3
    assert not control.tick("views_behind").run_requests
    land(control, events=2)
    (done,) = control.run("views_behind")
    assert (said(control)["rows"], said(control)["rows_changed"]) == (2, 2), "what was there is not read again"
    assert said(control)["lake_versions"] == {ADDED: 2}
    assert len(items(control)) == 5


def test_each_view_keeps_its_rows_as_long_as_its_setting_says(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_ACTIVITY_DAYS", "30")
    monkeypatch.setenv("HEADRACE_CART_DAYS", "7")
    land(control, events=1)
    control.run("views_behind")
    with closing(SQLiteViews(control.platform.path / "views.db")) as store:
        activity, cart = (
            row.expires_at or 0
            for view in ("user_activity", "cart_events")
            for key in store.keys(view)
            for row in read_all(store, view, key)
        )
    assert activity - cart == (30 - 7) * 86_400


def test_where_a_listener_runs_nothing_is_asked_for(control: Control) -> None:
    for _ in range(2):
        land(control)
        listen(control)
        assert not control.tick("views_behind").run_requests
    assert len(items(control)) == 6


def test_what_a_listener_may_still_bring_is_left_to_it(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    land(control)
    monkeypatch.setattr(views_behind, "GRACE_SECONDS", 60.0)
    assert not control.tick("views_behind").run_requests


def test_where_a_listener_ended_dagster_goes_on_from_there(control: Control) -> None:
    land(control)
    listen(control)
    land(control, events=2)
    (done,) = control.run("views_behind")
    assert done.success and said(control)["rows"] == 2
    assert len(items(control)) == 5


def test_a_backfill_brings_its_hours_again_and_says_what_it_changed(control: Control) -> None:
    land(control, 3, hours_ago=5)
    land(control, 2)
    listen(control)
    (control.platform.path / "views.db").unlink()
    assert repair(control, 6, 4).success
    assert (said(control)["rows"], said(control)["rows_changed"]) == (3, 3), "the last two are not in its hours"
    assert repair(control, 6, 0).success
    assert (said(control)["rows"], said(control)["rows_changed"]) == (5, 2)
    assert control.instance.get_materialized_partitions(CARTS) >= {f"{datetime.now(UTC):{HOUR_FORMAT}}"}
    assert not control.tick("views_behind").run_requests


def test_a_repair_after_a_catalogue_change_joins_again_and_says_how_many_rows_that_changed(
    control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(control)
    control.run("views_behind")
    assert said(control)["catalogue_version"] == "none"
    product = str(items(control)[0]["product_id"])
    catalogue = tmp_path / "products.csv"
    catalogue.write_text(f"product_id,title\n{product},Kettle\n")
    monkeypatch.setenv("HEADRACE_CATALOGUE", f"file://{catalogue}")
    for changed in (3, 0):
        assert repair(control, 1, 0, CARTS, ACTIVITY).success
        for key in (CARTS, ACTIVITY):
            assert (said(control, key)["rows"], said(control, key)["rows_changed"]) == (3, changed)
    joined = {item["product_id"]: item for item in items(control)}
    assert joined[product]["product"] == {"title": "Kettle"}
    assert {item["catalogue_version"] for item in joined.values()} == {said(control)["catalogue_version"]}


def test_what_a_view_could_not_take_is_shown(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(event: object, lookups: object) -> list[Row]:
        raise ValueError("no such thing")

    broken = replace(fact_views()["cart_events"], rows=breaks)
    monkeypatch.setattr(views, "fact_view", lambda name, *days: broken)
    land(control, events=1)
    assert repair(control, 0, 0).success
    assert (said(control)["rows"], said(control)["left_out"]) == (0, 1)
    assert "no such thing" in str(said(control)["problems"])


def test_a_view_that_cannot_be_written_holds_up_no_other_and_is_asked_for_again(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    upsert = SQLiteViews.upsert

    def refuses_carts(store: SQLiteViews, view: str, rows: object) -> int:
        if view.startswith("cart_events"):
            raise ViewsUnavailable("the views did not answer")
        return upsert(store, view, rows)  # type: ignore[arg-type]

    land(control)
    with monkeypatch.context() as patched:
        patched.setattr(SQLiteViews, "upsert", refuses_carts)
        (done,) = control.run("views_behind")
    assert not done.success and "cart_events: the views did not answer" in str(done.failure_data_for_node("fact_views"))
    assert len(items(control, "user_activity")) == 3
    assert not control.tick("views_behind").run_requests, "it waits a little"
    monkeypatch.setattr(views_behind, "is_due", lambda *_: True)
    (request,) = control.tick("views_behind").run_requests or ()
    assert request.asset_selection == [CARTS]


def test_a_materialisation_that_somebody_reports_hides_no_other(control: Control) -> None:
    land(control)
    control.run("views_behind")
    control.instance.report_runless_asset_event(dg.AssetMaterialization(CARTS))
    assert views_behind.read_versions(control.instance, "cart_events") == {ADDED: 1}


def test_the_nightly_repair_is_one_run_of_the_last_whole_hours() -> None:
    at = datetime(2026, 5, 3, 3, 45, tzinfo=UTC)
    request = nightly_repair(dg.build_schedule_context(scheduled_execution_time=at))
    assert isinstance(request, dg.RunRequest)
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == ("2026-05-01-03", "2026-05-03-02")


def test_views_are_below_the_lake_tables_of_their_events() -> None:
    graph = repository().asset_graph
    for name, view in known_views.fact_views().items():
        node = graph.get(dg.AssetKey(["views", name]))
        assert node.parent_keys == {dg.AssetKey(["lake", event_type]) for event_type in view.event_types}
