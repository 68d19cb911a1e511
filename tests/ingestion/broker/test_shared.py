from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion.broker import Broker, Chunk, Record, Topic, open_broker
from ingestion.broker.shared import only, taker
from ingestion.errors import UnknownTopic
from tests.platform import event, record

CARTS = "events.carts"
TYPES = ("cart_viewed", "product_added")
TOPIC = Topic(CARTS, "id", (0,), TYPES)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Broker]:
    log = open_broker(f"embedded://{tmp_path}/log.sqlite", partitions=1, shared={CARTS: TYPES})
    log.ensure_topics(["events.cart_viewed", "events.product_added", "events.rejected"])
    yield log
    log.close()


@pytest.mark.parametrize("event_type", TYPES)
def test_an_event_is_its_types(event_type: str) -> None:
    assert taker(record(event(event_type)).value, TYPES) == event_type


FOREIGN = record(event("order_completed")).value
UNNAMED = (b"{}", b'{"event_type":5}', b'{"event_type":null}', b'{"event_type":"\xc3\xa4"}')


@pytest.mark.parametrize(
    "value", [b"", b"junk", b"\xff\xfe", b"[" * 100_000, b'{"event_type":"cart', FOREIGN, *UNNAMED]
)
def test_what_is_nobodys_is_the_firsts(value: bytes) -> None:
    assert taker(value, TYPES) == "cart_viewed"


def test_what_an_event_says_of_others_does_not_count() -> None:
    said = event("product_added", name='"event_type":"cart_viewed"')
    said |= {"event_id": '","event_type":"cart_viewed', "context": {"event_type": "cart_viewed"}}
    assert taker(record(said).value, TYPES) == "product_added"


def test_every_record_is_exactly_one_types() -> None:
    values = [record(event(name, n)).value for n in range(3) for name in (*TYPES, "order_completed")] + [b"", b"junk"]
    whole = Chunk(0, range(len(values)), range(len(values)), values, len(values))
    parts = [only(name, TOPIC, whole) for name in TYPES]
    assert sorted(offset for part in parts for offset in part.offsets) == list(whole.offsets)
    assert [part.next_offset for part in parts] == [11, 11]
    assert [values[offset] for offset in parts[1].offsets] == parts[1].values


def test_a_topic_of_one_type_is_all_its_own() -> None:
    whole = Chunk(0, (0,), (0,), (b"junk",), 1)
    assert only("product_viewed", Topic("events.product_viewed", "id", (0,)), whole) is whole


def test_every_types_name_leads_to_the_topic_that_it_shares(log: Broker) -> None:
    log.publish([Record("events.cart_viewed", b"k", b"1"), Record("events.product_added", b"k", b"2")])
    log.publish([Record("events.rejected", b"k", b"3")])
    shared = log.topic("events.product_added")
    assert (shared.name, shared.shared_by) == (CARTS, TYPES)
    assert shared == log.topic("events.cart_viewed") == log.topic(CARTS)
    assert log.read("events.cart_viewed", 0, 0, 10, 100).values == (b"1", b"2")
    assert log.bounds("events.product_added")[0].end == 2
    rejected = log.topic("events.rejected")
    assert (rejected.name, rejected.shared_by, log.bounds("events.rejected")[0].end) == ("events.rejected", (), 1)


def test_members_share_a_topic_once(log: Broker) -> None:
    assert log.share("lander", ["events.cart_viewed", "events.product_added"]) == {CARTS: [0]}


def test_the_topics_of_the_single_types_are_not_made(log: Broker, tmp_path: Path) -> None:
    alone = open_broker(f"embedded://{tmp_path}/log.sqlite")
    with pytest.raises(UnknownTopic):
        alone.topic("events.cart_viewed")
    alone.close()
