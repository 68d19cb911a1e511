"""The loops of the long-running processes: they end cleanly at SIGTERM and Ctrl-C, and go on after what passes."""

import gc
import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence

import uvicorn
from starlette.types import ASGIApp

from ingestion.broker import Broker
from ingestion.errors import HeadraceError, PermanentError, TransientError
from ingestion.lander import GROUP, Landed, Lander
from ingestion.listener import Heard, Listener
from ingestion.loader import Loaded
from ingestion.steps import Reach, run
from ingestion.tables import Table
from ingestion.views import ViewStore

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 0.25
EXPIRE_EVERY_SECONDS = 60.0
BACK_OFF_SECONDS = 2.0


def serve(app: ASGIApp, host: str, port: int) -> None:
    """Serve an app until told to end, then answer what is in flight."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # by default a batch of events sets it off several times, and finds nothing
    uvicorn.run(
        app,
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        log_config=None,
        ws="none",  # else an upgrade that nobody serves would hold its connection, where a WebSocket library is there
        timeout_graceful_shutdown=10,
    )


def land(lander: Lander, broker: Broker, retention_hours: float, reach: Reach, once: bool = False) -> None:
    """Land round after round until told to end, then land what was read; now and then let the log forget."""
    stop, expired_at = _stop_event(), 0.0
    known: list[str] = []
    while not (stop.is_set() or once):
        pause = LOOK_AGAIN_SECONDS
        try:
            landed = run(lander.round(), reach)
            known = _tell(landed, known)
            pause = 0.0 if landed.is_behind else LOOK_AGAIN_SECONDS
            if time.monotonic() - expired_at > EXPIRE_EVERY_SECONDS:
                expired_at = time.monotonic()
                broker.expire(GROUP, int((time.time() - retention_hours * 3600) * 1_000_000))
        except TransientError as error:
            log.warning("%s; trying again", error)
            pause = BACK_OFF_SECONDS
        stop.wait(pause)
    landed = run(lander.round(flush=True), reach)
    known = _tell(landed, known)
    while once and landed.read:
        landed = run(lander.round(flush=True), reach)
        known = _tell(landed, known)
    if once and landed.problems:
        raise PermanentError("; ".join(landed.problems))


def land_rest(lander: Lander, reach: Reach) -> None:
    """Land until nothing is left, for topics that are written to no more."""
    known: list[str] = []
    while True:
        landed = run(lander.round(flush=True), reach)
        known = _tell(landed, known)
        if not landed.read:
            return


def listen(listener: Listener, store: ViewStore, reach: Reach, once: bool = False) -> None:
    """Listen round after round until told to end, or until nothing is left; now and then delete what expired."""
    stop, expired_at, known, heard = _stop_event(), 0.0, list[str](), Heard()
    while not stop.is_set():
        pause = LOOK_AGAIN_SECONDS
        try:
            heard = run(listener.round(), reach)
            known = _tell_heard(heard, known)
            pause = 0.0 if heard.is_behind else LOOK_AGAIN_SECONDS
            if time.monotonic() - expired_at > EXPIRE_EVERY_SECONDS:
                expired_at = time.monotonic()
                store.expire()
        except TransientError as error:
            if once:
                raise
            log.warning("%s; trying again", error)
            pause = BACK_OFF_SECONDS
        if once and not heard.is_behind:
            break
        stop.wait(pause)
    if once and heard.problems:
        raise PermanentError("; ".join(heard.problems))


def load(load_table: Callable[[Table], Loaded], tables: Sequence[Table], every: float | None) -> None:
    """Load every table, once or again and again; what is wrong with one table does not hold up the others."""
    stop = _stop_event()
    while True:
        failed: list[HeadraceError] = []
        for table in tables:
            try:
                if (loaded := load_table(table)).rows:
                    log.info("loaded %s: %d rows of %d commits", table.name, loaded.rows, loaded.commits)
            except HeadraceError as error:
                log.warning("%s: %s", table.name, error)
                failed.append(error)
        if every is None:
            if failed:
                raise failed[0]
            return
        if stop.wait(every):
            return


def _tell(landed: Landed, known: list[str]) -> list[str]:
    """Log what a round did, and its problems when they are new; return its problems."""
    for problem in landed.problems:
        if problem not in known:
            log.warning("%s", problem)
    if landed.rows:
        log.info("landed %d rows in %d commits, %d unfit", landed.rows, landed.commits, landed.unfit)
    return landed.problems


def _tell_heard(heard: Heard, known: list[str]) -> list[str]:
    """The same of a listener's round."""
    for problem in heard.problems:
        if problem not in known:
            log.warning("%s", problem)
    if heard.read:
        log.info("heard %d records: %d rows, %d copies", heard.read, heard.written.rows, heard.written.copies)
    return heard.problems


def _stop_event() -> threading.Event:
    """Set by SIGTERM and SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
