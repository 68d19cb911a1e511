"""Real S3 servers that create an object only once, however many try: S3Proxy, and versitygw as a second opinion."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.aws import ACCESS_KEY, REGION, SECRET_KEY, Endpoint
from tests.services.jars import Unavailable, jars, only_one, tool
from tests.services.process import JVM, START_SECONDS, Server, accepts, free_ports, scratch_folder

VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
"""v1.7.0 lets several writers create one object."""
BUILD_SECONDS = 280
UNDER_WAY = re.compile(r".+-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class S3(Server):
    """An S3 server that keeps its objects as files under `data`."""

    endpoint: Endpoint
    data: Path

    def create_bucket(self, name: str) -> None:
        """A new, empty bucket."""
        self.endpoint.client().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})

    def _answers(self) -> None:
        accepts(self.endpoint.port)
        self.endpoint.answers("list_buckets")


class S3Proxy(S3):
    """S3Proxy. It holds the body of each signed PUT in memory."""

    def __init__(self, folder: Path, jars: Path) -> None:
        [port] = free_ports(1)
        self.endpoint, self.data = Endpoint("s3", port), folder / "data"
        self.data.mkdir()
        settings = {
            "s3proxy.endpoint": self.endpoint.url,
            "s3proxy.authorization": "aws-v4",
            "s3proxy.identity": ACCESS_KEY,
            "s3proxy.credential": SECRET_KEY,
            "s3proxy.v4-max-non-chunked-request-size": str(1 << 30),
            "jclouds.provider": "filesystem-nio2",
            "jclouds.filesystem.basedir": str(self.data),
        }
        file = folder / "s3proxy.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        [jar] = jars.iterdir()
        command = [tool("java"), "-Xmx512m", *JVM, "-jar", str(jar), "--properties", str(file)]
        super().__init__(command, folder, self._answers, {"LOG_LEVEL": "warn"})

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start it without the uploads that a kill left half-way: it would list them as objects for ever."""
        for path in self.data.rglob("*"):
            if UNDER_WAY.fullmatch(path.name) and path.is_file():
                path.unlink()
        super().start(timeout)


class VersityGateway(S3):
    """versitygw, ready in half a second. Needs a file system with extended attributes."""

    def __init__(self, folder: Path, program: Path) -> None:
        [port] = free_ports(1)
        self.endpoint, self.data = Endpoint("s3", port), folder / "data"
        self.data.mkdir()
        address = ["--port", f"127.0.0.1:{port}", "--region", REGION]
        command = [str(program), *address, "--keep-alive", "--quiet", "posix", str(self.data)]
        root = {"ROOT_ACCESS_KEY_ID": ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": SECRET_KEY}
        super().__init__(command, folder, self._answers, root)


@contextmanager
def s3_proxy() -> Iterator[S3]:
    """Ready until the end of the block. Raises Unavailable."""
    with scratch_folder("s3") as folder:
        yield from _running(S3Proxy(folder, jars("s3proxy")))


@contextmanager
def versity_gateway() -> Iterator[S3]:
    """Ready until the end of the block. Raises Unavailable."""
    with scratch_folder("s3") as folder:
        yield from _running(VersityGateway(folder, _versitygw()))


def _running(server: S3) -> Iterator[S3]:
    try:
        server.start()
        yield server
    finally:
        server.close()


def _versitygw() -> Path:
    """The program, built once; that takes a minute or two."""
    with only_one(f"versitygw-{VERSITYGW.rpartition('@')[2]}") as folder:
        program = folder / "versitygw"
        if not program.exists():
            build = subprocess.run(
                ["env", f"GOBIN={folder}", tool("go"), "install", VERSITYGW],
                capture_output=True,
                text=True,
                timeout=BUILD_SECONDS,
                check=False,
            )
            if build.returncode:
                raise Unavailable(f"go could not build versitygw:\n{build.stderr[-2_000:]}")
    return program
