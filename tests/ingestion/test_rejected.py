from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pytest

from ingestion import events, tables
from ingestion.contracts import native
from ingestion.contracts.json_text import ContentError
from ingestion.contracts.native import Limits, Reception, map_body, reject_body
from ingestion.errors import LakeConflict
from ingestion.events import EVENT_TYPES, Properties, Rejection, text
from ingestion.rejected import Replayed, replay
from ingestion.steps import run
from ingestion.tables import REJECTED_TABLE, event_table
from tests.conftest import MakePlatform
from tests.platform import Platform, rejection, steps_until

VIEWS = event_table("product_viewed")
RECEIVED = datetime(2026, 4, 30, 8, 0, 1, tzinfo=UTC)
RECEPTION = Reception("shop", RECEIVED)
LIMITS = Limits()
DEVICE = {"event_type": "gift_wrapped", "user_id": "u", "properties": {"ribbon": "red"}}


class GiftWrapped(Properties, frozen=True, kw_only=True):
    """A shopper had a gift wrapped."""

    ribbon: Annotated[str, text(32, "colour of the ribbon")]


@pytest.fixture
def platform(make_platform: MakePlatform) -> Platform:
    return make_platform(REJECTED_TABLE, VIEWS)


@pytest.fixture
def register() -> Iterator[Callable[[], None]]:
    """Makes `gift_wrapped` an event type, for as long as the test runs."""

    def add() -> None:
        EVENT_TYPES["gift_wrapped"] = GiftWrapped

    yield add
    EVENT_TYPES.pop("gift_wrapped", None)
    events.fields.cache_clear()
    native.native_type.cache_clear()
    tables.event_table.cache_clear()


def receive(platform: Platform, body: Any) -> None:
    """What the collector does with a body: events and rejections go to the log, and are landed."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    results: list[Any]
    try:
        results = map_body(raw, RECEPTION, LIMITS)
    except ContentError as error:
        results = [reject_body(error, raw, RECEPTION)]
    kept = [msgspec.json.encode(result) for result in results if isinstance(result, Rejection)]
    platform.publish("rejected", list(kept))
    platform.land()


def gifts(platform: Platform) -> list[dict[str, Any]]:
    """Every event that is in the topic of the new type."""
    topic = "events.gift_wrapped"
    chunks = [platform.broker.read(topic, partition, 0, 1_000, 1 << 30) for partition in platform.broker.bounds(topic)]
    found = [msgspec.json.decode(value) for chunk in chunks for value in chunk.values]
    return sorted(found, key=lambda event: str(event["event_id"]))


def replayed(platform: Platform, code: str | None = None, again: bool = False) -> Replayed:
    return run(replay(platform.broker, platform.lake, LIMITS, code, again), lambda _: None)


def test_a_replay_without_rejections_does_nothing(platform: Platform) -> None:
    assert replayed(platform) == Replayed()


def test_what_was_rejected_before_a_fix_is_sent_once_after_it(platform: Platform, register: Callable[[], None]) -> None:
    batch = [{"event_id": f"g{n}", **DEVICE} for n in range(3)]
    receive(platform, {"sent_at": "2026-04-30T08:00:00Z", "batch": batch})
    assert (replayed(platform).still_rejected, replayed(platform).sent) == (3, 0)
    register()
    assert replayed(platform).sent == 3
    assert [event["event_id"] for event in gifts(platform)] == ["g0", "g1", "g2"]
    second = replayed(platform)
    assert (second.sent, second.claimed_before) == (0, 3)
    assert len(gifts(platform)) == 3


def test_a_replayed_event_keeps_when_it_was_received_and_sent(platform: Platform, register: Callable[[], None]) -> None:
    late = {"event_id": "late", **DEVICE, "occurred_at": "2026-04-30T05:00:00Z"}
    receive(platform, {"sent_at": "2026-04-30T06:00:00Z", "batch": [late]})
    register()
    platform.now = platform.now.replace(day=9)
    replayed(platform)
    (event,) = gifts(platform)
    assert (event["received_at"], event["sent_at"]) == ("2026-04-30T08:00:01Z", "2026-04-30T06:00:00Z")
    assert (event["device_occurred_at"], event["occurred_at"]) == ("2026-04-30T05:00:00Z", "2026-04-30T07:00:00Z")
    assert event["source"] == "shop"


def test_a_body_that_was_refused_as_a_whole_is_replayed_with_all_its_events(
    platform: Platform, register: Callable[[], None]
) -> None:
    batch = [{"event_id": f"g{n}", **DEVICE} for n in range(4)]
    body = msgspec.json.encode({"sent_at": "2026-04-30T06:00:00Z", "batch": batch})
    refusal = reject_body(ContentError("not_events", "once refused"), body, RECEPTION)
    platform.publish("rejected", [msgspec.json.encode(refusal)])
    platform.land()
    register()
    assert replayed(platform).sent == 4
    assert {event["sent_at"] for event in gifts(platform)} == {"2026-04-30T06:00:00Z"}


def test_of_a_refused_body_what_is_still_wrong_is_rejected_on_its_own(
    platform: Platform, register: Callable[[], None]
) -> None:
    body = msgspec.json.encode([{"event_id": "g", **DEVICE}, {"event_id": "x", "event_type": "unknown"}])
    platform.publish("rejected", [msgspec.json.encode(reject_body(ContentError("not_events", ""), body, RECEPTION))])
    platform.land()
    register()
    replayed(platform)
    assert [event["event_id"] for event in gifts(platform)] == ["g"]
    assert platform.land().rows == 1
    assert (replayed(platform).sent, replayed(platform).still_rejected) == (0, 1)


def test_what_is_still_wrong_stays_for_the_next_replay(platform: Platform, register: Callable[[], None]) -> None:
    receive(platform, [{"event_id": "g", **DEVICE}, {"event_id": "x", "event_type": "unknown"}, 7])
    receive(platform, b"no JSON")
    register()
    outcome = replayed(platform)
    assert (outcome.sent, outcome.still_rejected) == (1, 3)
    assert replayed(platform).still_rejected == 3


def test_what_was_longer_than_what_was_kept_is_counted(platform: Platform, register: Callable[[], None]) -> None:
    receive(platform, {"event_id": "g", **DEVICE, "context": {"x": "y" * 17_000}})
    register()
    outcome = replayed(platform)
    assert (outcome.sent, outcome.cut, outcome.still_rejected) == (0, 1, 0)


def test_what_was_no_utf_8_is_kept_and_looked_at_again(platform: Platform) -> None:
    receive(platform, b'[{"event_id":"\xff"}]')
    assert replayed(platform).still_rejected == 1


def test_a_replay_may_be_of_one_code_only(platform: Platform, register: Callable[[], None]) -> None:
    receive(platform, [{"event_id": "g", **DEVICE}])
    register()
    assert replayed(platform, code="invalid_json") == Replayed()
    assert replayed(platform, code="unknown_event_type").sent == 1


def test_a_record_that_is_no_rejection_is_passed_over(platform: Platform, register: Callable[[], None]) -> None:
    platform.publish("rejected", [b"broken", rejection(1, b"still no event")])
    receive(platform, [{"event_id": "g", **DEVICE}])
    register()
    assert (replayed(platform).sent, replayed(platform).still_rejected) == (1, 1)


def test_of_two_replays_at_once_one_conflicts_and_sends_nothing(
    platform: Platform, register: Callable[[], None]
) -> None:
    receive(platform, [{"event_id": f"g{n}", **DEVICE} for n in range(3)])
    register()
    first = replay(platform.broker, platform.lake, LIMITS)
    second_began = _before_claiming(platform, first)
    with pytest.raises(LakeConflict):
        run(second_began, lambda _: None)
    run(first, lambda _: None)
    assert len(gifts(platform)) == 3
    assert replayed(platform).claimed_before == 3


def _before_claiming(platform: Platform, first: Iterator[str]) -> Any:
    """A replay that has looked at the claims before `first` made its own, and goes on after it."""

    class ClaimsLater(type(platform.broker)):  # type: ignore[misc]
        def __init__(self) -> None:
            self.__dict__ = platform.broker.__dict__

        def ensure_topics(self, names: Any) -> None:
            super().ensure_topics(names)
            steps_until(first, "replay.claimed")

    return replay(ClaimsLater(), platform.lake, LIMITS)


def test_a_replay_killed_after_its_claim_sends_nothing_twice_and_again_sends_it(
    platform: Platform, register: Callable[[], None]
) -> None:
    receive(platform, [{"event_id": "g", **DEVICE}])
    register()
    steps_until(replay(platform.broker, platform.lake, LIMITS), "replay.claimed")
    assert (replayed(platform).sent, replayed(platform).claimed_before, gifts(platform)) == (0, 1, [])
    assert replayed(platform, again=True).sent == 1
    assert len(gifts(platform)) == 1


def test_what_a_replay_sent_lands_loads_and_balances(
    make_platform: MakePlatform, platform: Platform, register: Callable[[], None]
) -> None:
    receive(platform, [{"event_id": "g", **DEVICE}])
    register()
    replayed(platform)
    later = make_platform(REJECTED_TABLE, event_table("gift_wrapped"))
    later.land()
    later.load()
    assert later.warehouse.query("select event_id, ribbon from raw.gift_wrapped") == [("g", "red")]
    assert later.audit().status == 0
