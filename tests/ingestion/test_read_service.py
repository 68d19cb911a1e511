import asyncio
import base64
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette

from ingestion.errors import ViewsUnavailable
from ingestion.keys import KeyFile, Keyring
from ingestion.read_service import ReadService
from ingestion.views import Row, ViewStore
from ingestion.views.registry import fact_view
from ingestion.views.sqlite import SQLiteViews
from tests.ingestion.views.landing import bring, landed, landed_each, later, stored
from tests.platform import NOON

Ask = Callable[..., httpx.Response]


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ViewStore]:
    store = SQLiteViews(tmp_path / "views.db", clock=NOON.timestamp)
    yield store
    store.close()


@pytest.fixture
def ask(store: ViewStore, keys: KeyFile) -> Ask:
    """Asks the service for a path, with a read key unless the headers say otherwise."""
    key = keys.add("backend", "read")
    app = ReadService(store, Keyring(keys, scope="read"), lambda: NOON).app()
    return lambda path, headers=None: get(app, path, {"X-Read-Key": key} if headers is None else headers)


def get(app: Starlette, path: str, headers: dict[str, str]) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://views") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


def fill(store: ViewStore, count: int = 5) -> None:
    events = [stored(event_id=f"e{n}", occurred_at=later(seconds=n)) for n in range(count)]
    bring(store, fact_view("user_activity"), landed(*events))


def test_a_visitors_activity_comes_newest_first(ask: Ask, store: ViewStore) -> None:
    fill(store)
    answer = ask("/v1/views/user_activity/u1")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    said = answer.json()
    assert (said["view"], said["key"], said["next"]) == ("user_activity", "user:u1", None)
    assert [row["event_id"] for row in said["rows"]] == ["e4", "e3", "e2", "e1", "e0"]


def test_pages_follow_each_other(ask: Ask, store: ViewStore) -> None:
    fill(store)
    found, page = [], ""
    while True:
        said = ask(f"/v1/views/user_activity/u1?limit=2&page={page}").json()
        found += [row["event_id"] for row in said["rows"]]
        page = said["next"]
        if page is None:
            break
    assert found == ["e4", "e3", "e2", "e1", "e0"]


def test_an_open_cart_is_folded(ask: Ask, store: ViewStore) -> None:
    added = stored("product_added", "e1", quantity=2, name="Kettle"), stored("product_removed", "e2")
    bring(store, fact_view("cart_events"), landed_each(added))
    said = ask("/v1/views/open_cart/u1").json()
    assert [(line["product_id"], line["quantity"]) for line in said["lines"]] == [("p1", 1)]
    assert said["touched_at"] == "2026-05-01T12:30:00.000000Z"


def fill_counters(store: ViewStore, product: str = "p1") -> None:
    """A view at eleven of each of the fourteen days to NOON's, and one more a day later."""
    for back in range(-1, 14):
        day = NOON.date() - timedelta(days=back)
        item = {"hour": f"{day}T11:00:00Z", "views": 1, "adds": 2, "purchases": 0}
        store.replace("product_counters", f"{product}/{day}", 1, [Row(f"{product}/{day}", "11", 1, item)])


def test_counters_are_those_of_the_last_days_with_their_totals(ask: Ask, store: ViewStore) -> None:
    fill_counters(store)
    said = ask("/v1/views/product_counters/p1").json()
    assert (said["key"], said["from"], said["to"], said["next"]) == ("p1", "2026-04-25", "2026-05-01", "2026-04-24")
    assert said["totals"] == {"views": 7, "adds": 14, "purchases": 0}
    assert [row["hour"] for row in said["rows"]][:2] == ["2026-05-01T11:00:00Z", "2026-04-30T11:00:00Z"]
    assert said["rows"][0] == {"hour": "2026-05-01T11:00:00Z", "views": 1, "adds": 2, "purchases": 0}


def test_counters_go_back_day_by_day(ask: Ask, store: ViewStore) -> None:
    fill_counters(store, "a/b ä")
    found, page = [], "2026-05-02"
    for _ in range(4):
        said = ask(f"/v1/views/product_counters/{quote('a/b ä', safe='')}?limit=4&page={page}").json()
        found += [row["hour"][:10] for row in said["rows"]]
        page = said["next"]
    assert found == [str(NOON.date() - timedelta(days=back)) for back in range(-1, 14)]
    assert ask("/v1/views/product_counters/p1?limit=31&page=2015-01-20").json()["next"] is None


@pytest.mark.parametrize("user", ["ä 🛒", "a/b", "a%2Fb", "a?b#c", "..", "user:x", "anonymous:x", " "])
def test_odd_users_are_found(ask: Ask, store: ViewStore, user: str) -> None:
    bring(store, fact_view("user_activity"), landed(stored(user_id=user), stored(event_id="other")))
    said = ask(f"/v1/views/user_activity/{quote(f'user:{user}', safe='')}").json()
    assert (said["key"], [row["event_id"] for row in said["rows"]]) == (f"user:{user}", ["e1"])


def test_an_installation_is_asked_for_by_name(ask: Ask, store: ViewStore) -> None:
    bring(store, fact_view("user_activity"), landed(stored(user_id=None, anonymous_id="u1")))
    assert ask("/v1/views/user_activity/u1").json()["rows"] == []
    assert len(ask("/v1/views/user_activity/anonymous:u1").json()["rows"]) == 1


def test_nobodys_rows_are_no_error(ask: Ask) -> None:
    assert ask("/v1/views/user_activity/nobody").json() == {
        "view": "user_activity", "key": "user:nobody", "rows": [], "next": None,
    }  # fmt: skip
    assert ask("/v1/views/open_cart/nobody").json()["lines"] == []


@pytest.mark.parametrize(
    ("path", "status", "code", "word"),
    [
        ("/v1/views/nothing/u1", 404, "unknown_view", "user_activity, cart_events, open_cart"),
        ("/v1/views/user_activity.claims/u1", 404, "unknown_view", "user_activity"),
        ("/v1/views/product_counters/p1?limit=0", 400, "invalid_request", "1 to 31 days"),
        ("/v1/views/product_counters/p1?limit=32", 400, "invalid_request", "1 to 31 days"),
        ("/v1/views/product_counters/p1?page=2014-12-31", 400, "invalid_request", "a date like"),
        ("/v1/views/product_counters/p1?page=May", 400, "invalid_request", "a date like"),
        ("/v1/views/user_activity/u1?limit=0", 400, "invalid_request", "1 to 1000"),
        ("/v1/views/user_activity/u1?limit=1001", 400, "invalid_request", "1 to 1000"),
        ("/v1/views/user_activity/u1?limit=-1", 400, "invalid_request", "'-1'"),
        ("/v1/views/user_activity/u1?limit=²", 400, "invalid_request", "limit"),
        ("/v1/views/user_activity/u1?limit=" + "9" * 5_000, 400, "invalid_request", "limit"),
        ("/v1/views/user_activity/u1?page=!", 400, "invalid_request", "page token"),
        ("/v1/views/user_activity/", 400, "invalid_request", "key"),
        ("/v1/views/user_activity/" + "x" * 2_100, 400, "invalid_request", "key"),
        ("/v1/nothing", 404, "not_found", "Not Found"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(ask: Ask, path: str, status: int, code: str, word: str) -> None:
    answer = ask(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert word in answer.json()["message"]


def test_a_write_key_opens_nothing(ask: Ask, keys: KeyFile) -> None:
    for headers in (
        {}, {"X-Read-Key": ""}, {"X-Read-Key": "hr_guess"}, {"X-Read-Key": keys.add("web")},
        {"X-Write-Key": keys.add("web")}, {"Authorization": "Basic !"}, {"Authorization": "Bearer x"},
    ):  # fmt: skip
        for path in ("/v1/views/user_activity/u1", "/v1/views/nothing/u1", "/v1/views"):
            answer = ask(path, headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
            assert "keys add --read" in answer.json()["message"]


def test_a_read_key_may_be_a_basic_user_name_and_sends_nothing(ask: Ask, keys: KeyFile) -> None:
    key = keys.add("other", "read")
    ring = Keyring(keys, scope="read")
    assert (ring.source_of(key), Keyring(keys).source_of(key)) == ("other", None)
    basic = base64.b64encode(f"{key}:".encode()).decode()
    app = ReadService(NoStore(), ring).app()  # type: ignore[arg-type]
    assert get(app, "/v1/views", {"Authorization": f"Basic {basic}"}).status_code == 200


class NoStore:
    """A store that does not answer."""

    def read(self, *arguments: object) -> None:
        raise ViewsUnavailable("the views /there did not answer")


def test_a_store_that_does_not_answer_is_503_and_says_when_to_come_again(keys: KeyFile) -> None:
    key = keys.add("backend", "read")
    app = ReadService(NoStore(), Keyring(keys, scope="read")).app()  # type: ignore[arg-type]
    for path in ("/v1/views/user_activity/u1", "/ready"):
        answer = get(app, path, {"X-Read-Key": key})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["code"] == "store_unavailable"
    assert get(app, "/health", {}).status_code == 200


def test_it_is_ready_when_the_store_answers(ask: Ask) -> None:
    assert ask("/ready", {}).json() == {"status": "ready"}
    assert ask("/v1/views").json() == {"views": ["user_activity", "cart_events", "open_cart", "product_counters"]}
