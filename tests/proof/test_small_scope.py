"""Every point of a lander's round and of a load, times everything that may happen there: exhaustively, in small.

A process stops at a point. Then something happens. Then the process is killed, or goes on as a zombie. Then all
drains, and checker and audit must agree.
"""

from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from ingestion.lander import Lander, Rotation
from ingestion.loader import load, reload
from ingestion.steps import run
from ingestion.tables import REJECTED
from tests.proof.test_interleavings import Pipeline

VIEWS = "product_viewed"
LANDER_POINTS, LOADER_POINTS, RELOAD_POINTS = range(1, 7), range(1, 6), range(1, 6)

Happening = Callable[[Pipeline], object]


def nothing(pipeline: Pipeline) -> None:
    """The control."""


def another_lander_lands(pipeline: Pipeline) -> None:
    run(Lander(pipeline.broker, pipeline.lake, pipeline.tables(False), Rotation(seconds=0), lambda: 0.0).round(), print)


def more_events_come_and_another_lands_them(pipeline: Pipeline) -> None:
    pipeline.events_are_sent(count=3, event_type=VIEWS, visitor=1)
    another_lander_lands(pipeline)


def the_log_forgets(pipeline: Pipeline) -> None:
    pipeline.the_log_forgets_what_has_landed()


def retention_takes_half(pipeline: Pipeline) -> None:
    for partition in (0, 1):
        pipeline.retention_passes_the_landers(name=VIEWS, partition=partition, share=0.5)


def the_topic_is_recreated(pipeline: Pipeline) -> None:
    pipeline.a_topic_is_recreated(name=VIEWS)


def the_topic_is_recreated_and_longer(pipeline: Pipeline) -> None:
    pipeline.a_topic_is_recreated(name=VIEWS)
    for visitor in range(6):
        pipeline.events_are_sent(count=6, event_type=VIEWS, visitor=visitor)


def another_loader_loads(pipeline: Pipeline) -> None:
    pipeline.a_loader_starts(False)
    pipeline.actors[-1].go(30)


def the_hour_is_loaded_again(pipeline: Pipeline) -> None:
    pipeline.an_hour_is_loaded_again(hours=0, which=0)
    pipeline.actors[-1].go(10)


AT_THE_LANDER = (
    nothing,
    another_lander_lands,
    more_events_come_and_another_lands_them,
    the_log_forgets,
    retention_takes_half,
    the_topic_is_recreated,
    the_topic_is_recreated_and_longer,
)
AT_THE_LOADER = (nothing, more_events_come_and_another_lands_them, another_loader_loads, the_hour_is_loaded_again)


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    """A pipeline with some events, malformed and unfit ones among them, of which a part has landed and is loaded."""
    pipeline = Pipeline((VIEWS, REJECTED))
    for visitor in range(4):
        pipeline.events_are_sent(count=2, event_type=VIEWS, visitor=visitor)
    another_lander_lands(pipeline)
    run(load(pipeline.lake, pipeline.warehouse, pipeline.tables(False)[0]), print)
    for visitor in range(4):
        pipeline.events_are_sent(count=3, event_type=VIEWS, visitor=visitor)
    pipeline.a_malformed_event_is_sent()
    pipeline.another_producer_writes_junk(b'{"a":1}{"b":2}', VIEWS)
    yield pipeline
    pipeline.teardown()


@pytest.mark.parametrize("ending", ["is killed", "goes on"])
@pytest.mark.parametrize("happening", AT_THE_LANDER, ids=lambda happening: happening.__name__)
@pytest.mark.parametrize("point", LANDER_POINTS)
def test_a_lander_stops_at_any_point(pipeline: Pipeline, point: int, happening: Happening, ending: str) -> None:
    steps = Lander(pipeline.broker, pipeline.lake, pipeline.tables(False), Rotation(seconds=0), lambda: 0.0).round()
    assert len(list(islice(steps, point))) == point, "there is such a point"
    happening(pipeline)
    if ending == "goes on":
        list(steps)


@pytest.mark.parametrize("ending", ["is killed", "goes on"])
@pytest.mark.parametrize("happening", AT_THE_LOADER, ids=lambda happening: happening.__name__)
@pytest.mark.parametrize("point", LOADER_POINTS)
def test_a_loader_stops_at_any_point(pipeline: Pipeline, point: int, happening: Happening, ending: str) -> None:
    another_lander_lands(pipeline)
    steps = load(pipeline.lake, pipeline.warehouse, pipeline.tables(False)[0])
    assert len(list(islice(steps, point))) == point, "there is such a point"
    happening(pipeline)
    if ending == "goes on":
        list(steps)


@pytest.mark.parametrize("ending", ["is killed", "goes on"])
@pytest.mark.parametrize("happening", AT_THE_LOADER, ids=lambda happening: happening.__name__)
@pytest.mark.parametrize("point", RELOAD_POINTS)
def test_a_reload_stops_at_any_point(pipeline: Pipeline, point: int, happening: Happening, ending: str) -> None:
    hour = pipeline.now.strftime("%Y-%m-%d-%H")
    steps = reload(pipeline.lake, pipeline.warehouse, pipeline.tables(False)[0], hour)
    assert len(list(islice(steps, point))) == point, "there is such a point"
    happening(pipeline)
    if ending == "goes on":
        list(steps)


@pytest.mark.parametrize("happening", AT_THE_LANDER, ids=lambda happening: happening.__name__)
def test_a_buffer_waits_while_something_happens(pipeline: Pipeline, happening: Happening) -> None:
    lander = Lander(pipeline.broker, pipeline.lake, pipeline.tables(False), Rotation(), lambda: 0.0)
    run(lander.round(), print)
    happening(pipeline)
    pipeline.events_are_sent(count=4, event_type=VIEWS, visitor=2)
    run(lander.round(flush=True), print)
