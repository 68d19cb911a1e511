"""The checker sees what it is there to see: a good run is clean, and each planted fault is named."""

import pytest

from tests.proof.checker import Answers, Place, Row, judge_answers, judge_places, judge_tables, read_answers, taker

PLACES = [Place("topic", 0, offset) for offset in range(4)]
APPENDED = dict.fromkeys(PLACES, b"{}")


def rows(*offsets: int) -> list[Row]:
    return [Row("product_viewed", Place("topic", 0, offset), f"e{offset}", "product_viewed") for offset in offsets]


def places(*offsets: int) -> set[Place]:
    return {Place("topic", 0, offset) for offset in offsets}


def accepted(*offsets: int) -> dict[str, Answers]:
    return {f"e{offset}": Answers(accepted=1) for offset in offsets}


def test_a_run_with_everything_once_is_clean() -> None:
    assert judge_answers(accepted(0, 1, 2, 3), rows(0, 1, 2, 3)) == []
    assert judge_places(APPENDED, rows(0, 1, 2, 3), set(), set(), set()) == []


@pytest.mark.parametrize(
    ("answers", "there", "violation"),
    [
        (accepted(0, 1), rows(0), "event e1 was accepted 1 times and is there 0 times"),
        (accepted(0), rows(0, 0), "event e0 can be there 1 times and is there 2 times"),
        ({"e0": Answers(rejected=1)}, rows(0), "event e0 can be there 0 times and is there 1 times"),
        (accepted(), rows(0), "event e0 was never sent"),
        (
            accepted(0),
            [Row("order_completed", PLACES[0], "e0", "product_viewed")],
            "event e0 of type product_viewed is in raw.order_completed",
        ),
    ],
)
def test_a_fault_in_the_answers_is_named(answers: dict[str, Answers], there: list[Row], violation: str) -> None:
    assert judge_answers(answers, there) == [violation]


def test_an_event_without_an_answer_may_be_there_once_or_not() -> None:
    unknown = {"e0": Answers(unknown=1)}
    assert judge_answers(unknown, []) == []
    assert judge_answers(unknown, rows(0)) == []
    assert judge_answers(unknown, rows(0, 0)) != []


def test_a_repeated_event_is_there_as_often_as_it_was_accepted() -> None:
    assert judge_answers({"e0": Answers(accepted=2)}, rows(0, 0)) == []
    assert judge_answers({"e0": Answers(accepted=2)}, rows(0)) != []


@pytest.mark.parametrize(
    ("there", "unread", "destroyed", "violation"),
    [
        (rows(0, 1, 3), set(), set(), f"{PLACES[2]} is missing and not named unread"),
        (rows(0, 1, 2, 2, 3), set(), set(), f"{PLACES[2]} is there 2 times"),
        (rows(0, 1, 2, 3, 9), set(), set(), f"{Place('topic', 0, 9)} is there but was never in the log"),
        (rows(1, 2, 3), places(0), set(), f"{PLACES[0]} is named unread but was there to be read"),
        (rows(0, 1, 2, 3), places(0), places(0), f"{PLACES[0]} is there and named unread"),
        (rows(1, 2, 3), set(), places(0), f"{PLACES[0]} is missing and not named unread"),
    ],
)
def test_a_fault_in_the_places_is_named(
    there: list[Row], unread: set[Place], destroyed: set[Place], violation: str
) -> None:
    assert judge_places(APPENDED, there, unread, destroyed, set()) == [violation]


def test_records_that_retention_took_are_excused_when_they_are_named() -> None:
    assert judge_places(APPENDED, rows(2, 3), places(0, 1), places(0, 1), set()) == []


def test_a_dead_topic_may_miss_its_end_but_no_middle() -> None:
    assert judge_places(APPENDED, rows(0, 1), set(), set(), {"topic"}) == []
    assert judge_places(APPENDED, rows(0, 2), set(), set(), {"topic"}) == [
        f"{PLACES[1]} is missing and not named unread"
    ]


def test_a_record_in_the_table_of_another_type_is_named() -> None:
    assert judge_tables(rows(0, 1), lambda place: "product_viewed") == []
    assert judge_tables(rows(0), lambda place: None) == []
    assert judge_tables(rows(0), lambda place: "cart_viewed") == [
        f"{PLACES[0]} is in raw.product_viewed and is for cart_viewed"
    ]


def test_a_record_is_for_the_type_that_it_says_or_for_the_first() -> None:
    types = ("product_viewed", "cart_viewed")
    assert taker(b'{"event_id":"e","event_type":"cart_viewed"}', types) == "cart_viewed"
    for value in (b"", b"junk", b"{}", b'{"event_type":"order_completed"}', b"\xff"):
        assert taker(value, types) == "product_viewed"


def test_answers_are_counted_by_event() -> None:
    lines = [
        '{"event_id": "a", "answer": "unknown"}',
        '{"event_id": "a", "answer": "accepted"}',
        '{"answer": "rejected"}',
    ]
    assert read_answers(lines) == {"a": Answers(accepted=1, unknown=1)}
