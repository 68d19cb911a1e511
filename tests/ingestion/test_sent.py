import json

import pytest

from ingestion.errors import ConfigurationError
from ingestion.sent import SentBalance, check_sent
from tests.platform import Platform, event

Answers = list[tuple[str | None, str | None, str]]


@pytest.fixture
def loaded(platform: Platform) -> Platform:
    """Rows of events 0 to 3, two of event 2 and three of event 3."""
    platform.publish("product_viewed", [event("product_viewed", number) for number in (0, 1, 2, 2, 3, 3, 3)])
    platform.land()
    platform.load()
    return platform


def view(number: int, answer: str) -> tuple[str, str, str]:
    return f"product_viewed-{number}", "product_viewed", answer


def check(platform: Platform, answers: Answers) -> SentBalance:
    path = platform.path / "sent.jsonl"
    lines = [{"event_id": i, "event_type": t, "attempt": 1, "answer": answer} for i, t, answer in answers]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return check_sent(path, platform.warehouse)


def test_accepted_events_that_are_there_are_whole(loaded: Platform) -> None:
    sent = check(loaded, [view(0, "accepted"), view(1, "accepted")])
    assert (sent.events, sent.accepted, sent.copies, sent.is_whole) == (2, 2, 0, True)


def test_an_accepted_event_without_a_row_is_missing(loaded: Platform) -> None:
    sent = check(loaded, [view(0, "accepted"), view(9, "accepted")])
    assert (sent.missing, sent.is_whole) == (["product_viewed-9"], False)


def test_an_event_accepted_twice_needs_two_rows_and_counts_as_one_copy(loaded: Platform) -> None:
    sent = check(loaded, [view(2, "accepted"), view(2, "accepted")])
    assert (sent.events, sent.accepted, sent.copies, sent.is_whole) == (1, 1, 1, True)
    sent = check(loaded, [view(0, "accepted"), view(0, "accepted")])
    assert sent.missing == ["product_viewed-0"]


def test_more_rows_than_answers_are_doubled(loaded: Platform) -> None:
    sent = check(loaded, [view(2, "accepted"), view(3, "accepted"), view(3, "unknown")])
    assert sent.doubled == ["product_viewed-2", "product_viewed-3"]


@pytest.mark.parametrize("number", [0, 9])
def test_an_event_without_an_answer_may_be_there_or_not(loaded: Platform, number: int) -> None:
    sent = check(loaded, [view(number, "unknown")])
    assert (sent.accepted, sent.is_whole) == (0, True)


def test_an_answer_that_was_lost_and_then_accepted_allows_one_copy(loaded: Platform) -> None:
    for number in (0, 2):
        assert check(loaded, [view(number, "unknown"), view(number, "accepted")]).is_whole


def test_a_rejected_event_that_is_there_is_unexpected(loaded: Platform) -> None:
    sent = check(loaded, [view(0, "rejected"), view(9, "rejected"), view(8, "refused")])
    assert (sent.unexpected, sent.doubled, sent.missing) == (["product_viewed-0"], [], [])


def test_refused_events_and_those_without_an_id_say_nothing(loaded: Platform) -> None:
    sent = check(loaded, [view(9, "refused"), (None, "product_viewed", "rejected"), ("a", None, "rejected")])
    assert (sent.events, sent.is_whole) == (0, True)


def test_an_event_of_an_unknown_type_is_missing_only_where_it_was_accepted(loaded: Platform) -> None:
    sent = check(loaded, [("a", "no_such_type", "rejected"), ("b", "no_such_type", "accepted")])
    assert (sent.missing, sent.unexpected) == (["b"], [])


def test_an_event_of_a_table_that_was_never_loaded_is_missing(loaded: Platform) -> None:
    assert check(loaded, [("a", "cart_viewed", "accepted")]).missing == ["a"]


@pytest.mark.parametrize("line", [b"{", b'{"event_id":1}', b"\xff", b'{"event_id":"\xff"}', b""])
def test_a_line_that_is_no_attempt_is_named(loaded: Platform, line: bytes) -> None:
    path = loaded.path / "sent.jsonl"
    good = b'{"event_id":"a","event_type":"b","attempt":1,"answer":"rejected"}\n'
    path.write_bytes(good + line + b"\n" + good)
    with pytest.raises(ConfigurationError, match=r"sent\.jsonl, line 2"):
        check_sent(path, loaded.warehouse)
