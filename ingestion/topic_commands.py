"""`headrace topics …`: what the cluster shall be, what it is, and the step between."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from ingestion.errors import ConfigurationError
from ingestion.settings import Settings, read_settings
from ingestion.topics import Declaration, Plan, difference, read_declaration

if TYPE_CHECKING:
    from ingestion.broker.kafka.control import Control


@click.group("topics")
def topics_group() -> None:
    """The topics of a Kafka cluster: declared in one file, planned, applied."""


@topics_group.command("plan")
def topics_plan() -> None:
    """Print what `apply` would change. Exit code 1: something of it is refused."""
    with _control() as (control, declared):
        plan = difference(declared, control.state())
    print_plan(plan)
    if plan.refused:
        raise SystemExit(1)


@topics_group.command("apply")
def topics_apply() -> None:
    """Bring the cluster to what is declared; nothing is done where a part of it is refused."""
    with _control() as (control, declared):
        plan = difference(declared, control.state())
        print_plan(plan)
        control.apply(plan)


def print_plan(plan: Plan) -> None:
    """A line for each step: + what is made, ~ what changes, - what is taken back, ! what is refused."""
    for line in [*_topic_lines(plan), *_right_lines(plan)]:
        click.echo(line)
    if plan.is_empty and not plan.refused:
        click.echo("The cluster is as declared.")


def _topic_lines(plan: Plan) -> Iterator[str]:
    for spec in plan.create:
        owner = f", owner {spec.owner}" if spec.owner else ""
        shared = f", for {', '.join(spec.event_types)}" if spec.event_types else ""
        yield f"+ {spec.name}: {spec.partitions} partitions, {spec.replication} replicas{owner}{shared}"
        yield from (f"    {name}={value}" for name, value in spec.configs.items())
    for topic, (before, after) in plan.partitions.items():
        yield f"~ {topic}: partitions {before} -> {after}"
    for topic, changed in plan.configs.items():
        yield from (f"~ {topic}: {name} {old or '(none)'} -> {new}" for name, (old, new) in changed.items())


def _right_lines(plan: Plan) -> Iterator[str]:
    yield from (f"+ {grant}" for grant in plan.grant)
    yield from (f"- {grant}" for grant in plan.revoke)
    yield from (f"! {refused}" for refused in plan.refused)
    yield from (f"  {note}" for note in plan.notes)


@contextmanager
def _control() -> "Iterator[tuple[Control, Declaration]]":
    settings: Settings = read_settings()
    scheme, _, servers = settings.broker_url.partition("://")
    if scheme != "kafka":
        raise ConfigurationError(f"HEADRACE_BROKER is {settings.broker_url!r}: it makes its topics by itself")
    declared = read_declaration(settings.topics)
    from ingestion.broker.kafka.connection import Connection
    from ingestion.broker.kafka.control import Control

    with closing(Control(Connection(servers, settings.kafka))) as control:
        yield control, declared
