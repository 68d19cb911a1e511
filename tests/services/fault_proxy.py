"""A proxy that fails as AWS does and local servers never do: for DynamoDB, S3 and whatever else speaks HTTP.

    with FaultProxy(dynamodb.endpoint, at_random(7, {Fault.THROTTLE: 0.2, Fault.LOSE_ANSWER: 0.1})) as proxy:
        client = proxy.endpoint.client()

Signatures stay valid where the body does; DynamoDB Local, whose bodies are changed here, does not look at them.
"""

import socket
import struct
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.services.aws import Endpoint
from tests.services.faults import REFUSALS, Fault, Plan, Reply, Request, calm, half, refusal

SLOW_SECONDS = 0.3
UPSTREAM_SECONDS = 60
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "date", "server", "content-length"}


class FaultProxy:
    """Between clients and the server at `target`; `plan` may be changed at any time, `counts` tells what happened."""

    def __init__(self, target: Endpoint, plan: Plan = calm) -> None:
        self.target, self.plan = target, plan
        self.counts: Counter[Fault | None] = Counter()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._http = _Server(("127.0.0.1", 0), handler)
        self.endpoint = Endpoint(target.service, self._http.server_port)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def meet(self, method: str, path: str, operation: str, body: bytes) -> Fault | None:
        """Which fault this request meets, counted."""
        with self._lock:
            number = self.counts.total()
            fault = self.plan(Request(number, method, path, operation, body))
            self.counts[fault] += 1
        return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: each answer would wait 40 ms between them
    proxy: FaultProxy

    def setup(self) -> None:
        super().setup()
        self._upstream = HTTPConnection("127.0.0.1", self.proxy.target.port, timeout=UPSTREAM_SECONDS)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        operation = self.headers.get("X-Amz-Target", self.command).rpartition(".")[2]
        fault = self.proxy.meet(self.command, self.path, operation, body)
        if fault is Fault.RESET:
            return self._reset()
        if fault is Fault.SLOW:
            time.sleep(SLOW_SECONDS)
        if fault in REFUSALS:
            return self._answer(refusal(fault, self.proxy.target.service))
        try:
            reply = half(operation, body, self._forward) if fault is Fault.HALF else self._forward(body)
        except (OSError, HTTPException):
            return self._reset()
        if fault is Fault.LOSE_ANSWER:
            return self._reset()
        return self._answer(reply)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815

    def _forward(self, body: bytes) -> Reply:
        kept = [(name, value) for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP]
        self._upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in kept:
            self._upstream.putheader(name, value)
        self._upstream.putheader("Content-Length", str(len(body)))
        self._upstream.endheaders(body)
        response: HTTPResponse = self._upstream.getresponse()
        headers = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP]
        if self.command == "HEAD":
            headers.append(("Content-Length", response.getheader("Content-Length", "0")))
        return Reply(response.status, headers, response.read())

    def _answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def _reset(self) -> None:
        """Close so that the other side sees a reset and not an orderly end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """A line per request is no news."""
