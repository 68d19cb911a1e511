"""A real DynamoDB Local.

It never throttles, never leaves an item unprocessed and syncs every item, so its files are in memory where there is
room; `faults.py` does what it never does.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.aws import Endpoint
from tests.services.jars import jars, tool
from tests.services.process import JVM, Server, accepts, free_ports, scratch_folder

LOOPBACK = Path(__file__).parent / "java" / "LoopbackOnly.java"


class DynamoDB(Server):
    """DynamoDB Local with its files in `folder`."""

    def __init__(self, folder: Path, jars: Path) -> None:
        [port] = free_ports(1)
        self.endpoint = Endpoint("dynamodb", port)
        classes, data, temporary = folder / "classes", folder / "data", folder / "tmp"
        for needed in (classes, data, temporary):
            needed.mkdir()
        subprocess.run([tool("javac"), "-d", str(classes), str(LOOPBACK)], check=True)
        command = [
            tool("java"), "-Xmx256m", *JVM,
            f"-Djava.nio.channels.spi.SelectorProvider={LOOPBACK.stem}",
            "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
            f"-Djava.io.tmpdir={temporary}",  # every start unpacks SQLite there, and a kill leaves it
            "-cp", f"{classes}:{jars}/*", "software.amazon.dynamodb.services.local.main.ServerRunner",
            "-sharedDb", "-dbPath", str(data), "-disableTelemetry", "-port", str(port),
        ]  # fmt: skip
        super().__init__(command, folder, self._answers)

    def _answers(self) -> None:
        accepts(self.endpoint.port)
        self.endpoint.answers("list_tables")


@contextmanager
def dynamodb_local() -> Iterator[DynamoDB]:
    """Ready until the end of the block. Raises Unavailable."""
    with scratch_folder("dynamodb", in_memory=True) as folder:
        server = DynamoDB(folder, jars("dynamodb"))
        try:
            server.start()
            yield server
        finally:
            server.close()
