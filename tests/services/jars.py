"""The servers' jars, fetched once by Maven into `.services/` of the repository, which git ignores."""

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
SERVICES = HERE.parents[1] / ".services"
FETCH_SECONDS = 280


class Unavailable(Exception):
    """This machine cannot run a server; the message names what is missing."""


def jars(server: str) -> Path:
    """The folder with the jars of `kafka`, `dynamodb` or `s3proxy`. Raises Unavailable."""
    tool("java")
    return _fetched() / server


def tool(name: str) -> str:
    """The path of a program. Raises Unavailable."""
    if (path := shutil.which(name)) is None:
        raise Unavailable(f"there is no `{name}` on this machine")
    return path


@contextmanager
def only_one(name: str) -> Iterator[Path]:
    """Work that one process does while the others wait for it, in `.services/`."""
    SERVICES.mkdir(exist_ok=True)
    with (SERVICES / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield SERVICES / name


def _fetched() -> Path:
    """The folder of the jars that these poms ask for; other poms, other folder."""
    poms = [HERE / "pom.xml", *sorted((HERE / "jars").glob("*.xml"))]
    digest = hashlib.sha256(b"".join(pom.read_bytes() for pom in poms)).hexdigest()
    with only_one(f"jars-{digest[:12]}") as folder:
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            _fetch(partial)
            partial.rename(folder)
    return folder


def _fetch(folder: Path) -> None:
    command = [tool("mvn"), "-q", "-B", "-ntp", "-f", str(HERE / "pom.xml")]
    fetch = [*command, "dependency:copy-dependencies", f"-Djars={folder}"]
    done = subprocess.run(fetch, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    if done.returncode:
        raise Unavailable(f"Maven could not fetch the servers' jars:\n{(done.stdout + done.stderr)[-2_000:]}")
