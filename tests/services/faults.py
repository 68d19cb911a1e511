"""The faults of AWS that no local server has: which request meets which, and what it is answered."""

import json
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """What may happen to a request."""

    THROTTLE = "throttle"
    """Refused: the rate is too high (S3: 503 SlowDown)."""
    ERROR = "error"
    """Answered 500, and nothing was done."""
    UNAVAILABLE = "unavailable"
    """Answered 503, and nothing was done."""
    CLOCK_SKEW = "clock skew"
    """Refused: the client's clock is wrong."""
    RESET = "reset"
    """The connection breaks before anything was done."""
    LOSE_ANSWER = "lose answer"
    """Done, and the connection breaks before the answer."""
    SLOW = "slow"
    """Done, after a while."""
    HALF = "half"
    """A batch of which one half is done and the other is left to the client; anything else is done."""


@dataclass(frozen=True)
class Request:
    """A request on its way; `operation` is DynamoDB's (`BatchWriteItem`), or the HTTP method."""

    number: int
    method: str
    path: str
    operation: str
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer on its way back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


Plan = Callable[[Request], Fault | None]
"""Which fault a request meets. It is asked by many threads at once."""


def calm(_: Request) -> Fault | None:
    """Nothing fails: the drain before the final comparison."""
    return None


def at_random(seed: int, chances: Mapping[Fault, float], operations: frozenset[str] = frozenset()) -> Plan:
    """Each fault with its chance, for the named operations or for all."""
    chance, lock = random.Random(seed), threading.Lock()
    faults, weights = [None, *chances], [1 - sum(chances.values()), *chances.values()]

    def plan(request: Request) -> Fault | None:
        if operations and request.operation not in operations:
            return None
        with lock:
            return chance.choices(faults, weights)[0]

    return plan


def first(times: int, fault: Fault, operation: str = "") -> Plan:
    """The first requests (of an operation, or of all) meet the fault, the others none."""
    left, lock = [times], threading.Lock()

    def plan(request: Request) -> Fault | None:
        with lock:
            meets = left[0] > 0 and operation in ("", request.operation)
            left[0] -= meets
            return fault if meets else None

    return plan


REFUSALS: Mapping[Fault | None, tuple[tuple[int, str], tuple[int, str]]] = {
    Fault.THROTTLE: ((400, "ProvisionedThroughputExceededException"), (503, "SlowDown")),
    Fault.ERROR: ((500, "InternalServerError"), (500, "InternalError")),
    Fault.UNAVAILABLE: ((503, "ServiceUnavailable"), (503, "ServiceUnavailable")),
    Fault.CLOCK_SKEW: ((400, "InvalidSignatureException"), (403, "RequestTimeTooSkewed")),
}
"""Status and code as DynamoDB says it, and as S3 does."""


def refusal(fault: Fault | None, service: str) -> Reply:
    """What a service answers that does not do what it was asked."""
    of_dynamodb, of_s3 = REFUSALS[fault]
    if service == "s3":
        status, code = of_s3
        xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected {fault}</Message></Error>"
        return Reply(status, [("Content-Type", "application/xml")], xml.encode())
    status, code = of_dynamodb
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": f"injected {fault}"}
    return Reply(status, [("Content-Type", "application/x-amz-json-1.0")], json.dumps(body).encode())


def half(operation: str, body: bytes, forward: Callable[[bytes], Reply]) -> Reply:
    """Half of a batch goes forward; the answer says what did not. The held-back half really is not done."""
    if operation in ("BatchWriteItem", "BatchGetItem"):
        return _half_of_items(operation, json.loads(body), forward)
    if operation == "BatchExecuteStatement":
        return _half_of_statements(json.loads(body), forward)
    return forward(body)


def _half_of_items(operation: str, request: dict[str, Any], forward: Callable[[bytes], Reply]) -> Reply:
    """The first half of each table's items is done, the rest comes back as unprocessed."""
    left = "UnprocessedItems" if operation == "BatchWriteItem" else "UnprocessedKeys"
    done: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for table, asked in request["RequestItems"].items():
        items = asked if operation == "BatchWriteItem" else asked["Keys"]
        for side, part in ((done, items[: len(items) // 2]), (rest, items[len(items) // 2 :])):
            if part:
                side[table] = part if operation == "BatchWriteItem" else {**asked, "Keys": part}
    if not done:
        return refusal(Fault.THROTTLE, "dynamodb")
    reply = forward(json.dumps({**request, "RequestItems": done}).encode())
    return _changed(reply, lambda answer: answer.setdefault(left, {}).update(rest))


def _half_of_statements(request: dict[str, Any], forward: Callable[[bytes], Reply]) -> Reply:
    """Every other statement is done, the others answer that they were throttled."""
    statements = request["Statements"]
    if len(statements) < 2:
        return refusal(Fault.THROTTLE, "dynamodb")
    reply = forward(json.dumps({**request, "Statements": statements[::2]}).encode())
    throttled = {"Error": {"Code": "ThrottlingError", "Message": "injected half"}}

    def fill(answer: dict[str, Any]) -> None:
        done = iter(answer["Responses"])
        answer["Responses"] = [throttled if number % 2 else next(done) for number in range(len(statements))]

    return _changed(reply, fill)


def _changed(reply: Reply, change: Callable[[dict[str, Any]], object]) -> Reply:
    if reply.status != 200:
        return reply
    answer = json.loads(reply.body)
    change(answer)
    headers = [(name, value) for name, value in reply.headers if name.lower() != "x-amz-crc32"]
    return Reply(reply.status, headers, json.dumps(answer).encode())
