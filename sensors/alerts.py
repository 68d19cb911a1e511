"""Posts what is wrong to a webhook, once for as long as it lasts; what ended and comes back is posted again.

The cursor names what was posted, and what the webhook did not take is not in it: it goes out at the next tick. Nothing
is posted where the daemon itself is down; `headrace status` in a cron job tells that, by its exit code.
"""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import dagster as dg

from ingestion.settings import read_settings
from sensors.conditions import Condition, read_conditions

INTERVAL_SECONDS = 30
SHOWN, SHOWN_CHARACTERS = 10, 600
TIMEOUT_SECONDS, MAX_PROBLEMS = 5.0, 2
Post = Callable[[dict[str, Any]], str | None]
"""Posts a body; what went wrong, or None."""


@dataclass(frozen=True)
class Alert:
    """What is new of one subject."""

    subject: str
    conditions: tuple[Condition, ...]

    def body(self) -> dict[str, Any]:
        """What is posted; chat services show `text`, programs read the rest."""
        shown = [_line(condition) for condition in self.conditions[:SHOWN]]
        more = [f"… and {len(self.conditions) - SHOWN} more: headrace status"] if len(self.conditions) > SHOWN else []
        return {
            "text": "\n".join([f"Headrace: {self.subject}", *shown, *more]),
            "subject": self.subject,
            "severity": self.conditions[0].severity,
            "conditions": [asdict(condition) for condition in self.conditions],
        }


def decide(conditions: Sequence[Condition], posted: Collection[str]) -> list[Alert]:
    """One alert per subject, of what is wrong and was not posted yet."""
    new = sorted((c for c in conditions if c.key not in posted), key=lambda c: c.key)
    return [Alert(subject, tuple(some)) for subject, some in groupby(new, lambda c: c.subject)]


def deliver(alerts: Sequence[Alert], post: Post) -> tuple[set[str], str | None]:
    """Post the alerts; the keys that are posted, and what went wrong. One that is refused does not hold up the others,
    and a webhook that is down does not hold up the tick: the second problem ends it."""
    posted: set[str] = set()
    problems: list[str] = []
    for alert in alerts:
        if problem := post(alert.body()):
            problems.append(problem)
        else:
            posted |= {condition.key for condition in alert.conditions}
        if len(problems) == MAX_PROBLEMS:
            break
    return posted, "; ".join(problems) or None


def post_json(url: str) -> Post:
    """Posts JSON to a URL, which answers 2xx where it took it."""
    import httpx  # of use to those who have a webhook

    def post(body: dict[str, Any]) -> str | None:
        try:
            answer = httpx.post(url, json=body, timeout=TIMEOUT_SECONDS)
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        return None if answer.is_success else f"it answers {answer.status_code}"

    return post


@dg.sensor(minimum_interval_seconds=INTERVAL_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Posts failed runs, red checks and tables that are too old to HEADRACE_ALERT_WEBHOOK."""
    url = read_settings().alert_webhook
    if not url or context.repository_def is None:
        return dg.SkipReason("HEADRACE_ALERT_WEBHOOK is not set")
    conditions = read_conditions(context.instance, context.repository_def, datetime.now(UTC))
    before = set(json.loads(context.cursor or "[]")).intersection(condition.key for condition in conditions)
    posted, problem = deliver(decide(conditions, before), post_json(url))
    context.update_cursor(json.dumps(sorted(before | posted)))
    if problem:
        context.log.warning("HEADRACE_ALERT_WEBHOOK: %s; what is not posted waits for the next tick", problem)
        return dg.SkipReason(f"the webhook did not take an alert: {problem}")
    return dg.SkipReason(f"{len(conditions)} things are wrong, {len(posted)} of them are new and posted")


def _line(condition: Condition) -> str:
    name = f"{condition.name}: " if condition.name else ""
    said = f"{name}{condition.said} {condition.todo}".strip()
    return f"• {said if len(said) <= SHOWN_CHARACTERS else said[:SHOWN_CHARACTERS] + '…'}"
