from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import msgspec
import pytest

from ingestion.events import EVENT_TYPES, App, Device, Event
from ingestion.simulation import MISTAKES, Faults, Simulated, every, traffic

START = datetime(2026, 5, 1, 8, tzinfo=UTC)
GAP = timedelta(milliseconds=500)
NUMBER = 12_000
NO_FAULTS = Faults(repeated=0, late=0, malformed=0, wrong_clock=0)


def simulate(seed: int, number: int = NUMBER, faults: Faults | None = None) -> list[Simulated]:
    moments = every(START, GAP)
    return list(islice(traffic(seed, moments, faults) if faults else traffic(seed, moments), number))


@pytest.fixture(scope="module")
def day() -> list[Simulated]:
    return simulate(seed=7)


@pytest.fixture(scope="module")
def well_formed(day: list[Simulated]) -> list[dict[str, Any]]:
    return [sent.event for sent in day if sent.kind != "malformed"]


def occurred(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["occurred_at"])


def sent_times(day: list[Simulated], kind: str) -> Iterator[tuple[datetime, datetime]]:
    """When each event of a kind was sent, and when it says that it happened."""
    for moment, sent in zip(every(START, GAP), day, strict=False):
        if sent.kind == kind:
            yield moment, occurred(sent.event)


def test_the_same_seed_gives_the_same_events(day: list[Simulated]) -> None:
    assert simulate(seed=7) == day


def test_another_seed_gives_other_events(day: list[Simulated]) -> None:
    ids = {sent.event["event_id"] for sent in simulate(seed=8, number=500)}
    assert ids.isdisjoint({sent.event["event_id"] for sent in day} - {""})


def test_other_moments_change_times_only() -> None:
    later = list(islice(traffic(7, every(START + timedelta(days=400), GAP * 3)), 2_000))
    for here, there in zip(simulate(seed=7, number=2_000), later, strict=True):
        assert here.kind == there.kind
        assert {**here.event, "occurred_at": None} == {**there.event, "occurred_at": None}


def test_a_moment_is_taken_only_when_its_event_is_asked_for() -> None:
    taken: list[datetime] = []

    def clock() -> Iterator[datetime]:
        for moment in every(START, GAP):
            taken.append(moment)
            yield moment

    events = traffic(7, clock())
    next(events)
    next(events)
    assert len(taken) == 2


def test_all_event_types_occur(day: list[Simulated]) -> None:
    assert {sent.event["event_type"] for sent in day if sent.kind == "valid"} == set(EVENT_TYPES)


def test_faults_have_about_their_share(day: list[Simulated]) -> None:
    shares = {kind: number / NUMBER for kind, number in Counter(sent.kind for sent in day).items()}
    assert shares["repeated"] == pytest.approx(0.01, abs=0.004)
    assert shares["malformed"] == pytest.approx(0.01, abs=0.004)
    assert shares["late"] == pytest.approx(0.02, abs=0.015)
    assert 0.001 < shares["wrong_clock"] < 0.03


def test_a_share_of_nothing_gives_valid_events_only() -> None:
    assert {sent.kind for sent in simulate(seed=7, number=3_000, faults=NO_FAULTS)} == {"valid"}


@pytest.mark.parametrize("kind", ["repeated", "late", "malformed", "wrong_clock"])
def test_each_fault_can_be_had_alone(kind: str) -> None:
    faults = msgspec.structs.replace(NO_FAULTS, **{kind: 0.3})
    assert {sent.kind for sent in simulate(seed=7, number=3_000, faults=faults)} == {"valid", kind}


def test_a_repeated_event_equals_one_that_was_sent_before(day: list[Simulated]) -> None:
    before: dict[str, dict[str, Any]] = {}
    for sent in day:
        if sent.kind == "repeated":
            assert before[sent.event["event_id"]] == sent.event
        elif sent.kind != "malformed":
            before[sent.event["event_id"]] = sent.event


def test_an_id_is_given_once_unless_the_event_is_repeated(day: list[Simulated]) -> None:
    ids = Counter(sent.event["event_id"] for sent in day if sent.kind not in {"repeated", "malformed"})
    assert set(ids.values()) == {1}


def test_well_formed_events_keep_the_contract(well_formed: list[dict[str, Any]]) -> None:
    for event in well_formed:
        collected = {"contract_version": 1, "received_at": START, "source": "shop"}
        msgspec.convert({**event, **collected}, Event, strict=True)
        msgspec.convert(event["properties"], EVENT_TYPES[event["event_type"]], strict=True)
        msgspec.convert(event["app"], App, strict=True)
        msgspec.convert(event["device"], Device, strict=True)


def test_properties_carry_no_field_that_the_contract_does_not_name(well_formed: list[dict[str, Any]]) -> None:
    for event in well_formed:
        assert set(event["properties"]) <= set(EVENT_TYPES[event["event_type"]].__struct_fields__)


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_each_mistake_breaks_the_contract(mistake: dict[str, Any]) -> None:
    event = {**simulate(seed=7, number=1, faults=NO_FAULTS)[0].event, **mistake}
    collected = {"contract_version": 1, "received_at": START, "source": "shop"}
    with pytest.raises((msgspec.ValidationError, KeyError)):
        msgspec.convert(msgspec.convert({**event, **collected}, Event).properties, EVENT_TYPES[event["event_type"]])


def test_malformed_events_come_in_every_variety(day: list[Simulated]) -> None:
    spoilt = [sent.event for sent in day if sent.kind == "malformed"]
    assert all(any(mistake.items() <= event.items() for event in spoilt) for mistake in MISTAKES)


def test_a_login_is_never_taken_back_and_keeps_the_anonymous_id(well_formed: list[dict[str, Any]]) -> None:
    users: defaultdict[str, set[str | None]] = defaultdict(set)
    last_sequence: dict[str, int] = {}
    last_user: dict[str, str | None] = {}
    for event in well_formed:
        visitor = event["anonymous_id"]
        users[visitor].add(event["user_id"])
        if event["device_sequence"] > last_sequence.get(visitor, 0):
            assert last_user.get(visitor) in {None, event["user_id"]}
            last_sequence[visitor], last_user[visitor] = event["device_sequence"], event["user_id"]
    always_anonymous = sum(seen == {None} for seen in users.values())
    logged_in_later = sum(None in seen and len(seen) == 2 for seen in users.values())
    started_logged_in = sum(None not in seen for seen in users.values())
    assert always_anonymous + logged_in_later + started_logged_in == len(users)
    assert min(always_anonymous, logged_in_later, started_logged_in) > 20


def test_a_batch_mixes_visitors(day: list[Simulated]) -> None:
    assert len({sent.event["anonymous_id"] for sent in day[:100]}) > 50


def test_shoppers_come_back(well_formed: list[dict[str, Any]]) -> None:
    sessions = {event["session_id"]: event["anonymous_id"] for event in well_formed}
    assert max(Counter(sessions.values()).values()) > 1


def test_a_device_counts_its_events_and_its_clock_never_runs_backwards(day: list[Simulated]) -> None:
    events: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for sent in day:
        if sent.kind not in {"repeated", "malformed"}:
            events[sent.event["device"]["id"]].append(sent.event)
    for of_device in events.values():
        sequences = [event["device_sequence"] for event in of_device]
        times = [occurred(event) for event in of_device]
        assert sequences == sorted(set(sequences))
        assert times == sorted(times)


def test_valid_events_happened_just_before_they_were_sent(day: list[Simulated]) -> None:
    for moment, happened in sent_times(day, "valid"):
        assert timedelta() < moment - happened < timedelta(seconds=3)


def test_late_events_happened_hours_to_days_before(day: list[Simulated]) -> None:
    for moment, happened in sent_times(day, "late"):
        assert timedelta(hours=2) <= moment - happened < timedelta(days=6)


def test_broken_clocks_are_reset_or_wrong_by_hours_or_years() -> None:
    broken = simulate(seed=7, faults=msgspec.structs.replace(NO_FAULTS, wrong_clock=0.2))
    errors = [happened - moment for moment, happened in sent_times(broken, "wrong_clock")]
    assert all(abs(error) > timedelta(hours=1) for error in errors)
    assert any(error < -timedelta(days=365 * 50) for error in errors)
    assert any(error > timedelta(days=364) for error in errors)
    assert any(abs(error) < timedelta(hours=12) for error in errors)


def test_a_refund_pays_back_no_more_than_its_order(well_formed: list[dict[str, Any]]) -> None:
    orders: dict[str, float] = {}
    refunds = 0
    for event in well_formed:
        properties = event["properties"]
        if event["event_type"] == "order_completed":
            orders[properties["order_id"]] = properties["total"]
        if event["event_type"] == "order_refunded" and properties["order_id"] in orders:
            refunds += 1
            assert properties["total"] <= orders[properties["order_id"]]
    assert refunds > 5


def test_an_order_adds_up(well_formed: list[dict[str, Any]]) -> None:
    for order in (event["properties"] for event in well_formed if event["event_type"] == "order_completed"):
        goods = sum(product["price"] * product["quantity"] for product in order["products"])
        assert goods == pytest.approx(order["subtotal"] + order["discount"])
        assert order["total"] == pytest.approx(order["subtotal"] + order["tax"] + order["shipping"])
