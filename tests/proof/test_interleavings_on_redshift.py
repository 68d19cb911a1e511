"""The proof of loaders on Redshift's stand-in, with the lake in S3: the same interleavings, judged by SQL of its own.

A loader that is stopped keeps its transaction, and the lock in it, until it goes on or is killed: others wait for a
moment and give up. What locks do on a real cluster the stand-in cannot show.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import count

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import rule, run_state_machine_as_test

from ingestion.lake import Lake
from ingestion.lander import Lander, Rotation
from ingestion.loader import reload
from ingestion.steps import run
from ingestion.warehouse.redshift import RedshiftWarehouse
from ingestion.warehouse.redshift_login import RedshiftOptions
from tests.ingestion.lake.test_bucket import Connect, bucket_of, connect
from tests.proof.checker import Found
from tests.proof.redshift_rows import read_redshift
from tests.proof.test_interleavings import TYPES, Actor, Pipeline, explored, quietly
from tests.redshift.server import StandIn
from tests.services.s3 import S3

__all__ = ["connect"]

LONG = bool(os.environ.get("HEADRACE_LONG"))
RUNS, STEPS = (100, 60) if LONG else (8, 40)
WAIT_SECONDS, PATIENCE_SECONDS = 0.05, 30.0
ROLE = "arn:aws:iam::123456789012:role/headrace"
NUMBERS = count()
Turns = Sequence[tuple[int, int]]
"""Of which process, and how many steps."""
TURNS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 8)), min_size=1, max_size=5)
pytestmark = pytest.mark.timeout(3_600 if LONG else 600)


class PipelineOnRedshift(Pipeline):
    """The pipeline with its lake in S3 and its warehouse on the stand-in, each example in a database of its own."""

    def __init__(self, redshift: StandIn, bucket: str) -> None:
        super().__init__()
        self.lake_url = f"{bucket}/{next(NUMBERS)}"
        self.lake = Lake(self.lake_url)
        self.stack = ExitStack()
        self.database = self.stack.enter_context(redshift.database())
        self.warehouse = self.open_warehouse(WAIT_SECONDS)

    def open_warehouse(self, wait: float) -> RedshiftWarehouse:
        """A client of the warehouse that waits so long for the lock."""
        database = self.database
        options = RedshiftOptions(database.user, database.password, role=ROLE, tls=False, lake=self.lake_url)
        return RedshiftWarehouse(f"redshift://{database.host}:{database.port}/{database.name}", options, wait)

    @rule(turns=TURNS, killed=st.booleans())
    def two_loaders_meet(self, turns: Turns, killed: bool) -> None:
        """With something to load, and with a reload. All are killed where they stand, or end in good order."""
        self.events_are_sent(2, TYPES[0], 0)
        with closing(self.client()) as broker:
            lander = Lander(
                broker, self.lake, self.tables(False), Rotation(seconds=0), lambda: self.seconds, whole=True
            )
            run(lander.round(flush=True), quietly)
        hour = self.now.strftime("%Y-%m-%d-%H")
        again = Actor("reload", lambda: reload(self.lake, self.warehouse, self.tables(False)[0], hour))
        loaders = [*(Actor("loader", lambda: self._load(self.tables(False))) for _ in range(2)), again]
        for choice, steps in turns:
            loaders[choice].go(steps)
        for loader in loaders:
            loader.die() if killed else loader.finish()

    def found(self) -> Found:
        return read_redshift(self.database.connect, self.whose)

    def everything_drains(self) -> None:
        """The server may not have noticed yet that a loader was killed."""
        self.everybody_dies()
        self.warehouse = self.open_warehouse(PATIENCE_SECONDS)
        super().everything_drains()
        self.warehouse = self.open_warehouse(WAIT_SECONDS)

    def teardown(self) -> None:
        with self.stack:
            super().teardown()


def test_interleavings_on_redshift_and_s3_lose_and_double_nothing(redshift: StandIn, s3: S3, connect: Connect) -> None:
    connect(s3.endpoint.environment)
    redshift.s3 = s3.endpoint
    run_state_machine_as_test(
        partial(PipelineOnRedshift, redshift, bucket_of(s3)),  # type: ignore[arg-type]  # called without arguments
        settings=explored(RUNS, STEPS),
    )
