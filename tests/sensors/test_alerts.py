import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.alerts import SHOWN, Alert, alerts, decide, deliver
from sensors.conditions import Condition
from tests.sensors.shop import Shop


class Webhook:
    """A real server that keeps what it was sent, and answers with the statuses that a test put there, then 200."""

    def __init__(self, statuses: list[int]) -> None:
        self.bodies: list[dict[str, Any]] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status = statuses.pop(0) if statuses else 200
                if status == 200:
                    webhook.bodies.append(body)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"


@contextmanager
def webhook(monkeypatch: pytest.MonkeyPatch, *statuses: int) -> Iterator[Webhook]:
    hook = Webhook(list(statuses))
    thread = threading.Thread(target=hook.server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("HEADRACE_ALERT_WEBHOOK", hook.url)
    try:
        yield hook
    finally:
        hook.server.shutdown()
        hook.server.server_close()
        thread.join()


class Ticks:
    """The sensor as the daemon evaluates it: every tick is a new process's, and only the cursor is kept."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.cursor: str | None = None

    def tick(self) -> str:
        """Evaluate once; what the tick says."""
        context = dg.build_sensor_context(
            self.shop.instance, cursor=self.cursor, repository_def=self.shop.repository, sensor_name="alerts"
        )
        said = alerts(context)
        assert isinstance(said, dg.SkipReason)
        self.cursor = context.cursor
        return said.skip_message or ""


def test_what_is_wrong_is_posted_once_and_again_when_it_comes_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = Ticks(shop)
    with webhook(monkeypatch) as hook:
        ticks.tick()
        assert hook.bodies == []
        shop.load(failure="a file is missing; restore it")
        for _ in range(3):
            ticks.tick()
        (body,) = hook.bodies
        assert body["text"].startswith("Headrace: load_raw failed\n• carts: a file is missing; restore it (run ")
        assert (body["subject"], body["severity"]) == ("load_raw failed", "error")
        shop.load()
        ticks.tick()
        shop.load(failure="a file is missing; restore it")
        ticks.tick()
        assert len(hook.bodies) == 2


def test_runs_checks_and_warnings_are_posted_each_by_itself(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.load(failure="the disk is full")
    shop.check(dg.AssetCheckSeverity.WARN)
    with webhook(monkeypatch) as hook:
        Ticks(shop).tick()
    assert [(body["subject"], body["severity"]) for body in hook.bodies] == [
        ("a check warns", "warning"),
        ("load_raw failed", "error"),
    ]


def test_a_webhook_that_is_down_loses_nothing_and_breaks_no_tick(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = Ticks(shop)
    shop.load(failure="the disk is full")
    monkeypatch.setenv("HEADRACE_ALERT_WEBHOOK", "http://127.0.0.1:9/hook")  # nobody listens there
    assert "did not take" in ticks.tick()
    with webhook(monkeypatch, 500) as hook:
        assert "it answers 500" in ticks.tick()
        assert hook.bodies == []
        ticks.tick()
        ticks.tick()
        assert len(hook.bodies) == 1


def test_an_alert_that_is_refused_holds_up_no_other(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = Ticks(shop)
    shop.load(failure="the disk is full")
    shop.check(dg.AssetCheckSeverity.ERROR)
    with webhook(monkeypatch, 413) as hook:
        ticks.tick()
        assert [body["subject"] for body in hook.bodies] == ["load_raw failed"]
        ticks.tick()
        assert [body["subject"] for body in hook.bodies] == ["load_raw failed", "a check is red"]


def test_without_a_webhook_nothing_is_forgotten_until_there_is_one(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = Ticks(shop)
    shop.load(failure="the disk is full")
    monkeypatch.delenv("HEADRACE_ALERT_WEBHOOK", raising=False)
    assert "is not set" in ticks.tick()
    with webhook(monkeypatch) as hook:
        ticks.tick()
        assert len(hook.bodies) == 1


def test_a_text_is_short_and_the_body_is_whole() -> None:
    many = tuple(Condition("checks", f"check {n:03d}", "x" * 5_000, "") for n in range(200))
    body = Alert("a check is red", many).body()
    assert len(body["text"]) < 10_000 and f"… and {200 - SHOWN} more" in body["text"]
    assert len(body["conditions"]) == 200


CONDITIONS = st.lists(
    st.builds(Condition, st.sampled_from(["runs", "checks"]), st.sampled_from("abcd"), st.just("said"), st.just("do")),
    unique_by=lambda condition: condition.key,
)


@given(st.lists(st.tuples(CONDITIONS, st.booleans()), max_size=8))
def test_each_spell_of_a_condition_is_posted_once_as_soon_as_the_webhook_takes_it(
    ticks: list[tuple[list[Condition], bool]],
) -> None:
    posted: set[str] = set()
    for conditions, is_up in ticks:
        now = {condition.key for condition in conditions}
        taken: list[str] = []

        def post(body: dict[str, Any], is_up: bool = is_up, taken: list[str] = taken) -> str | None:
            taken += [f"{c['subject']}: {c['name']}" for c in body["conditions"]] if is_up else []
            return None if is_up else "it answers 500"

        posted &= now
        new, problem = deliver(decide(conditions, posted), post)
        assert sorted(taken) == sorted(new) == (sorted(now - posted) if is_up else [])
        assert (problem is None) == (is_up or not now - posted)
        posted |= new
