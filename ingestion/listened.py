"""The hop from the log into the views: how far the listeners of a view have come, as their group noted it.

A view for which no listener has ever read is not behind: Dagster fills it from the lake.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ingestion.broker import Bounds, Broker, Topic
from ingestion.errors import OffsetOutOfRange
from ingestion.tables import event_table
from ingestion.views.facts import View


def group(view: View) -> str:
    """The consumer group of a view's listeners."""
    return f"listener.{view.name}"


def heard_together(view: View, event_type: str, topic: Topic) -> Sequence[str]:
    """The view's event types that share `topic`, which are heard with the first of them; none for the others."""
    together = [name for name in view.event_types if name in (topic.shared_by or (event_type,))]
    return together if together[0] == event_type else ()


@dataclass(frozen=True)
class Listened:
    """How far a view is in one of its topics: what each partition holds, and from where on it waits."""

    view: str
    topic: str
    held: Mapping[int, Bounds]
    passed: Mapping[int, int]
    """Where the listener noted that it would read on; nothing for a partition of which it read nothing yet."""

    @property
    def appended(self) -> int:
        """Records that the topic was ever given."""
        return sum(bounds.end for bounds in self.held.values())

    @property
    def waiting(self) -> Mapping[int, Bounds]:
        """What the listener has still to read of the log; from the start again where the log lost what it had read."""
        reached = {partition: self.passed.get(partition, 0) for partition in self.held}
        return {
            partition: replace(held, start=reached[partition]) if held.start <= reached[partition] <= held.end else held
            for partition, held in self.held.items()
        }

    @property
    def pending(self) -> int:
        """Records that wait for the listener."""
        return sum(bounds.end - bounds.start for bounds in self.waiting.values())

    @property
    def problems(self) -> Iterator[str]:
        """What the listener cannot read any more, and what it had read that the log has no longer."""
        for partition, bounds in self.held.items():
            reached, where = self.passed.get(partition, 0), f"{self.topic}/{partition}"
            if reached < bounds.start:
                yield (
                    f"retention took offsets {reached} to {bounds.start - 1} of {where} before the listener of"
                    f" {self.view} read them; replay the view from the lake"
                )
            elif reached > bounds.end:
                yield (
                    f"{where} ends at {bounds.end}, but the listener of {self.view} had read it up to {reached}: the"
                    " log lost records; it is read again from its start"
                )


def read_listened(broker: Broker, view: View) -> list[Listened]:
    """How far `view` is in each of its topics; nothing where no listener has begun. UnknownTopic as with the log."""
    found = []
    for event_type in view.event_types:
        topic = broker.topic(event_table(event_type).topic)
        if not heard_together(view, event_type, topic):
            continue
        passed = broker.positions(group(view), topic)
        held = broker.bounds(topic.name)  # after the positions: what comes meanwhile must not look lost
        found.append(Listened(view.name, topic.name, held, passed))
    return found if any(each.passed for each in found) else []


def oldest_waiting(broker: Broker, listened: Listened) -> int | None:
    """When the first record that waits was appended, in microseconds since 1970."""
    times: list[int] = []
    for partition, bounds in listened.waiting.items():
        if bounds.start < bounds.end:
            with suppress(OffsetOutOfRange):  # retention was faster
                times += broker.read(listened.topic, partition, bounds.start, 1, 1).timestamps
    return min(times, default=None)
