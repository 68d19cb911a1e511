"""Fixtures that tests of several packages share, and the rule that CI skips nothing."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from ingestion.tables import Table, event_table
from tests.platform import Platform

pytest_plugins = ["tests.services.fixtures"]

MakePlatform = Callable[..., Platform]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI runs, or whoever asks for every service, a skipped test is a failed one: nobody reads skips."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and _nothing_may_be_skipped():
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and this run must skip nothing: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself as a whole."""
    report = yield
    if report.skipped and _nothing_may_be_skipped():
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, and this run must skip nothing: {report.longrepr}"
    return report


def _nothing_may_be_skipped() -> bool:
    return os.environ.get("CI") == "true" or os.environ.get("HEADRACE_REQUIRE_SERVICES") == "1"


@pytest.fixture
def make_platform(tmp_path: Path) -> Iterator[MakePlatform]:
    """Makes a platform of some tables, in the test's folder or in one inside it."""
    with ExitStack() as stack:

        def make(*tables: Table, folder: str = ".") -> Platform:
            return stack.enter_context(closing(Platform(tmp_path / folder, tables)))

        yield make


@pytest.fixture
def views() -> Table:
    """The table that most tests land and load."""
    return event_table("product_viewed")


@pytest.fixture
def platform(make_platform: MakePlatform, views: Table) -> Platform:
    """A platform of one table, `product_viewed`."""
    return make_platform(views)
