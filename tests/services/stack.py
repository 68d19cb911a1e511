"""The engines of production beneath Headrace, without Docker; `make stack` runs the platform on them for a person.

What they hold ends with them, so the warehouse and Dagster's state begin anew each time too.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.services.dynamodb import DynamoDB, dynamodb_local
from tests.services.jars import Unavailable
from tests.services.kafka import Kafka, kafka_cluster
from tests.services.s3 import S3, s3_proxy

HOME = Path("headrace-data/stack")
HEADRACE = Path(sys.executable).with_name("headrace")


@dataclass(frozen=True)
class Stack:
    """Servers of which a deployment has the topics, a bucket and tables with a prefix of its own."""

    kafka: Kafka
    s3: S3
    dynamodb: DynamoDB
    name: str = field(default_factory=lambda: f"headrace-{uuid.uuid4()}")

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings of every process."""
        return {
            "HEADRACE_BROKER": f"kafka://{self.kafka.bootstrap_servers}",
            "HEADRACE_KAFKA_CREATE_TOPICS": "true",
            "HEADRACE_LAKE": f"s3://{self.name}/lake",
            "HEADRACE_VIEWS": f"dynamodb://{self.s3.endpoint.environment['AWS_REGION']}/{self.name}",
            **self.s3.endpoint.environment,
            **self.dynamodb.endpoint.environment,
        }


@contextmanager
def running_stack() -> Iterator[Stack]:
    """All three servers and a bucket, until the end of the block. Raises Unavailable."""
    with ExitStack() as servers:
        kafka, s3 = servers.enter_context(kafka_cluster()), servers.enter_context(s3_proxy())
        stack = Stack(kafka, s3, servers.enter_context(dynamodb_local()))
        stack.s3.create_bucket(stack.name)
        yield stack


def run(home: Path) -> int:
    """Run `headrace up` on the engines until Ctrl-C."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    print("starting Kafka, S3Proxy and DynamoDB Local")
    with running_stack() as stack:
        settings = {**stack.environment, "HEADRACE_HOME": str(home.resolve())}
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
        (home / "environment").write_text(exports)
        print(f"running; in another terminal, `source {home}/environment` before any headrace command")
        environment = {**os.environ, **settings}
        subprocess.run([HEADRACE, "views", "apply"], env=environment, check=True)
        platform = subprocess.Popen([HEADRACE, "up"], env=environment)
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # the terminal tells the platform too, which ends before its engines
        signal.signal(signal.SIGTERM, lambda *_: platform.terminate())
        return platform.wait()


if __name__ == "__main__":
    try:
        sys.exit(run(HOME))
    except Unavailable as error:
        sys.exit(f"{error}; see README, For operators")
