"""What only a real process and real connections show."""

import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest

from ingestion.broker.embedded import EmbeddedBroker
from ingestion.keys import KeyFile
from tests.ingestion.door import MIB, code_of, event, outcomes

EVENT = json.dumps(event()).encode()


class Process:
    """`headrace collect` in a folder of its own."""

    def __init__(self, home: Path, **settings: int) -> None:
        self.home = home
        self.key = KeyFile(home / "keys.json").add("web")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {f"HEADRACE_{name.upper()}": str(value) for name, value in settings.items()}
        environment |= {"HEADRACE_HOME": str(home), "HEADRACE_PORT": str(self.port)}
        self.errors = home / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ingestion", "collect"], env={**os.environ, **environment}, stderr=errors
            )

    def wait_until_ready(self) -> None:
        for _ in range(300):
            try:
                if httpx.get(f"{self.url}/ready").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(self.errors.read_text())

    def post(self, content: bytes, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"{self.url}/v1/events", content=content, headers={"X-Write-Key": self.key, **named})

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            yield connection

    def head(self, *headers: str, key: str = "", path: str = "/v1/events") -> bytes:
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"X-Write-Key: {key or self.key}", *headers, "", ""]
        return "\r\n".join(lines).encode()

    def stored(self) -> int:
        """How many records its log holds."""
        log = EmbeddedBroker(self.home / "log.sqlite")
        try:
            bounds = [log.bounds(f"events.{name}").values() for name in ("product_viewed", "rejected")]
            return sum(partition.end for partitions in bounds for partition in partitions)
        finally:
            log.close()

    def refuses_connections(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) != 0

    def inflight(self) -> float:
        found = re.search(r"^headrace_inflight_bytes (.*)$", httpx.get(f"{self.url}/metrics").text, re.MULTILINE)
        assert found
        return float(found[1])

    def peak_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def running(home: Path, **settings: int) -> Iterator[Process]:
    process = Process(home, **settings)
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.process.kill()
        process.process.wait()


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(tmp_path_factory.mktemp("collector"), body_timeout_ms=500) as process:
        yield process


def answer_of(connection: socket.socket) -> tuple[int, str]:
    """Status and body of the next answer on a connection."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.read().decode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def eventually(reached: Callable[[], bool]) -> bool:
    for _ in range(200):
        if reached():
            return True
        time.sleep(0.02)
    return False


def test_a_chunked_body_without_a_length_is_accepted(collector: Process) -> None:
    with collector.connected() as connection:
        connection.sendall(collector.head("Transfer-Encoding: chunked"))
        for byte in range(0, len(EVENT), 10):
            connection.sendall(chunk(EVENT[byte : byte + 10]))
        connection.sendall(chunk(b""))
        status, body = answer_of(connection)
    assert (status, json.loads(body)["accepted"]) == (200, 1)


@pytest.mark.parametrize(("more", "expected"), [(-1, 200), (0, 200), (1, 413)])
def test_a_chunked_body_is_limited_as_it_comes(collector: Process, more: int, expected: int) -> None:
    body = EVENT + b" " * (MIB + more - len(EVENT))
    with collector.connected() as connection:
        connection.sendall(collector.head("Transfer-Encoding: chunked"))
        for start in range(0, len(body), 65_536):
            connection.sendall(chunk(body[start : start + 65_536]))
        connection.sendall(chunk(b""))
        assert answer_of(connection)[0] == expected


def test_an_endless_body_is_answered_before_its_end(collector: Process) -> None:
    with collector.connected() as connection:
        connection.sendall(collector.head("Transfer-Encoding: chunked"))
        for _ in range(17):
            connection.sendall(chunk(b" " * 65_536))
        status, body = answer_of(connection)
    assert (status, json.loads(body)["code"]) == (413, "body_too_large")


def test_a_length_beyond_the_limit_is_answered_before_a_byte_is_sent(collector: Process) -> None:
    with collector.connected() as connection:
        connection.sendall(collector.head(f"Content-Length: {MIB + 1}"))
        status, body = answer_of(connection)
    assert (status, json.loads(body)["code"]) == (413, "body_too_large")


def test_a_slow_body_is_408_and_its_connection_is_closed(collector: Process) -> None:
    with collector.connected() as connection:
        connection.sendall(collector.head(f"Content-Length: {len(EVENT)}") + EVENT[:5])
        status, body = answer_of(connection)
        assert (status, json.loads(body)["code"]) == (408, "body_timeout")
        connection.settimeout(2)  # long before an idle connection is closed
        assert connection.recv(1) == b""
    assert collector.inflight() == 0


def test_of_a_request_that_is_cut_nothing_is_stored(collector: Process) -> None:
    before = collector.stored()
    body = json.dumps([event("a"), event("b")]).encode()
    for headers, part in (
        (f"Content-Length: {len(body)}", body[:-1]),
        ("Transfer-Encoding: chunked", chunk(body)),
        ("Transfer-Encoding: chunked", chunk(body) + b"5\r\nab"),
    ):
        with collector.connected() as connection:
            connection.sendall(collector.head(headers) + part)
    assert eventually(lambda: collector.inflight() == 0)
    assert collector.stored() == before
    assert outcomes(collector.post(EVENT)) == ["accepted"]


def test_a_client_that_does_not_wait_for_the_answer_harms_nobody(collector: Process) -> None:
    before = collector.stored()
    with collector.connected() as connection:
        connection.sendall(collector.head(f"Content-Length: {len(EVENT)}") + EVENT)
    assert eventually(lambda: collector.stored() == before + 1)
    assert collector.inflight() == 0


def test_a_bomb_of_64_mib_takes_no_64_mib(collector: Process) -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    collector.post(EVENT)
    before = collector.peak_mib()
    assert code_of(collector.post(bomb, Content_Encoding="gzip")) == (413, "body_too_large")
    assert code_of(collector.post(bomb, Content_Encoding="gzip", X_Write_Key="hr_guess"))[0] == 401
    assert collector.peak_mib() - before < 32
    assert collector.inflight() == 0


def test_many_hostile_bodies_at_once_stay_within_memory_and_leave_others_served(collector: Process) -> None:
    hostile = [
        b"[" + b"," * 4_000_000,
        b'["' + b'\\"' * 2_000_000,
        b'["' + b"a" * 4_000_000 + b'",NaN]',
        b"[" * 4_000_000,
    ]
    before = collector.peak_mib()
    for body in hostile:
        assert collector.post(gzip.compress(body), Content_Encoding="gzip").status_code in (200, 400, 413)
    assert collector.peak_mib() - before < 64
    assert outcomes(collector.post(EVENT)) == ["accepted"]


def test_slow_clients_do_not_keep_others_waiting(collector: Process) -> None:
    slow = [socket.create_connection(("127.0.0.1", collector.port)) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(collector.head("Content-Length: 1000") + b"{")
        began = time.monotonic()
        assert outcomes(collector.post(EVENT)) == ["accepted"]
        assert time.monotonic() - began < 2.0
    finally:
        for connection in slow:
            connection.close()


def test_the_body_of_a_stranger_is_not_read_as_the_next_request(collector: Process) -> None:
    smuggled = collector.head(f"Content-Length: {len(EVENT)}") + EVENT
    before = collector.stored()
    with collector.connected() as connection:
        connection.sendall(collector.head(f"Content-Length: {len(smuggled)}", key="hr_guess") + smuggled)
        assert answer_of(connection)[0] == 401
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer_of(connection) == (200, '{"status":"ok"}')
    assert collector.stored() == before


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5, 6",),
        ("Content-Length: +5",),
        ("Content-Length: -5",),
        ("Content-Length: \xb2",),
        ("Content-Length: " + "9" * 5_000,),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding : chunked",),
        ("X: a\x00b", "Content-Length: 0"),
    ],
)
def test_a_length_that_two_servers_could_read_differently_is_refused(
    collector: Process, headers: tuple[str, ...]
) -> None:
    before = collector.stored()
    with collector.connected() as connection:
        connection.sendall(collector.head(*headers) + chunk(EVENT) + chunk(b""))
        assert answer_of(connection)[0] == 400
        assert connection.recv(1) == b""
    assert collector.stored() == before


def test_several_requests_share_a_connection(collector: Process) -> None:
    request = collector.head(f"Content-Length: {len(EVENT)}") + EVENT
    with collector.connected() as connection:
        for _ in range(3):
            connection.sendall(request)
            assert answer_of(connection)[0] == 200


def test_a_key_in_the_query_is_not_logged(collector: Process) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    path = f"/v1/events?write_key={collector.key}"
    for headers in ((f"Content-Length: {len(EVENT)}",), (*upgrade, f"Content-Length: {len(EVENT)}")):
        with collector.connected() as connection:
            connection.sendall(collector.head(*headers, key="hr_guess", path=path) + EVENT)
            answer_of(connection)
    assert httpx.post(collector.url + path, content=EVENT).status_code == 200
    assert collector.key not in collector.errors.read_text()


def test_at_sigterm_what_has_begun_is_answered_and_nothing_new_is_taken(tmp_path: Path) -> None:
    with running(tmp_path, commit_interval_ms=200) as collector:
        with collector.connected() as half, collector.connected() as whole:
            half.sendall(collector.head(f"Content-Length: {len(EVENT)}") + EVENT[:5])
            whole.sendall(collector.head(f"Content-Length: {len(EVENT)}") + EVENT)
            assert eventually(lambda: collector.inflight() >= 5)
            collector.process.send_signal(signal.SIGTERM)
            assert answer_of(whole)[0] == 200
            assert eventually(collector.refuses_connections)
            half.sendall(EVENT[5:])
            assert answer_of(half)[0] == 200
        assert collector.process.wait(20) in (0, -signal.SIGTERM)  # uvicorn ends itself by the signal that it got
        assert collector.stored() == 2
        assert "Traceback" not in collector.errors.read_text()


def test_a_collector_with_a_broken_key_file_does_not_start_and_names_it(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.process.kill()
    process.process.wait()
    (tmp_path / "keys.json").write_text("{")
    environment = {**os.environ, "HEADRACE_HOME": str(tmp_path), "HEADRACE_PORT": str(process.port)}
    ended = subprocess.run(
        [sys.executable, "-m", "ingestion", "collect"], env=environment, capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"headrace: {tmp_path}/keys.json holds no keys")
    assert "Traceback" not in ended.stderr
