"""What readers see of a warehouse while others write it, and what writers notice of readers: nothing."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from ingestion.errors import ConfigurationError, PermanentError, TransientError
from ingestion.warehouse import read
from tests.platform import Platform

COUNT = "select count(*) as rows from raw.product_viewed"
HOLD_ON = """
import duckdb, sys
db = duckdb.connect(sys.argv[1], read_only=True)
print("open", flush=True)
sys.stdin.readline()
print(db.execute(sys.argv[2]).fetchone()[0])
"""


def arrive(platform: Platform, events: int = 3) -> None:
    platform.publish("product_viewed", events)
    platform.land()
    platform.load()


def rows(platform: Platform) -> int:
    return int(read(platform.warehouse, COUNT)["rows"][0].as_py())


def test_readers_see_what_was_published_last(platform: Platform) -> None:
    arrive(platform)
    platform.warehouse.publish()
    arrive(platform)
    assert rows(platform) == 3
    platform.warehouse.publish()
    assert rows(platform) == 6


def test_before_anything_is_published_a_reader_is_told_what_to_do(platform: Platform) -> None:
    with pytest.raises(ConfigurationError, match="headrace build"):
        read(platform.warehouse, COUNT)


def test_a_query_that_fails_says_why(platform: Platform) -> None:
    platform.warehouse.publish()
    with pytest.raises(PermanentError, match="no_such_table"):
        read(platform.warehouse, "from no_such_table")


def test_a_reader_that_holds_on_holds_up_nobody_and_keeps_what_it_saw(platform: Platform) -> None:
    arrive(platform)
    platform.warehouse.publish()
    command = [sys.executable, "-c", HOLD_ON, str(platform.warehouse.copy), COUNT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        arrive(platform)
        platform.warehouse.publish()
        out, _ = reader.communicate("\n", timeout=60)
    assert out == "3\n"
    assert rows(platform) == 6
    assert platform.audit().status == 0


def test_views_of_the_copy_read_the_copy(platform: Platform) -> None:
    arrive(platform)
    with duckdb.connect(str(platform.warehouse.path)) as db:
        db.execute("create view views as select * from warehouse.raw.product_viewed")
    platform.warehouse.publish()
    assert read(platform.warehouse, "select count(*) as n from views")["n"].to_pylist() == [3]


def test_nobody_writes_while_the_copy_is_made(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process could not open the file then; in this one, a load would have to wait for its turn."""
    arrive(platform)
    opened: list[str] = []
    run = subprocess.run

    def copy_while_another_process_asks(command: list[str], **options: object) -> object:
        asked = run([sys.executable, "-c", f"import duckdb; duckdb.connect({str(platform.warehouse.path)!r})"],
                    capture_output=True, text=True, check=False)  # fmt: skip
        opened.append(asked.stderr)
        return run(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr("ingestion.warehouse.duckdb.subprocess.run", copy_while_another_process_asks)
    platform.warehouse.publish()
    assert "Could not set lock" in opened[0]
    monkeypatch.undo()
    still_locked = subprocess.run(
        [sys.executable, "-c", f"import duckdb; duckdb.connect({str(platform.warehouse.path)!r})"], check=False
    )
    assert still_locked.returncode == 0, "it is free again afterwards"


def test_a_copy_that_cannot_be_made_leaves_the_last_one(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive(platform)
    platform.warehouse.publish()
    arrive(platform)
    monkeypatch.setenv("PATH", str(failing_cp(platform.path)))
    with pytest.raises(TransientError, match="No space left"):
        platform.warehouse.publish()
    assert rows(platform) == 3
    assert list(platform.warehouse.copy.parent.iterdir()) == [platform.warehouse.copy]


def failing_cp(path: Path) -> Path:
    """A folder with a `cp` that writes half a file and finds the disk full."""
    folder = path / "bin"
    folder.mkdir()
    (folder / "cp").write_text('#!/bin/sh\necho half > "$2"\necho "cp: No space left on device" >&2\nexit 1\n')
    (folder / "cp").chmod(0o755)
    return folder


def numbers(platform: Platform) -> tuple[int, dict[str, int]]:
    """The number of the publication, and that of the last one that shows a build of each date."""
    (number,) = read(platform.warehouse, "select loads from headrace.load_lock")["loads"].to_pylist()
    noted = read(platform.warehouse, "select event_date, max(load_seq) as number from headrace.published group by 1")
    return number, {str(row["event_date"]): row["number"] for row in noted.to_pylist()}


def test_every_publication_has_a_number_of_its_own_and_names_the_dates_built_for_it(platform: Platform) -> None:
    platform.warehouse.publish(["2026-05-01", "2026-05-02"])
    first, noted = numbers(platform)
    assert noted == {"2026-05-01": first, "2026-05-02": first}
    platform.warehouse.publish(["2026-05-02"])
    second, noted = numbers(platform)
    assert second > first, "though nothing was loaded or built meanwhile"
    assert noted == {"2026-05-01": first, "2026-05-02": second}
    assert platform.warehouse.staleness().published == second
    platform.warehouse.publish()
    assert numbers(platform)[0] > second and platform.warehouse.staleness().published == second
    assert len(platform.warehouse.query("from headrace.published")) == 2, "what is no news any more is forgotten"


def test_a_publication_that_failed_showed_nothing(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.warehouse.publish(["2026-05-01"])
    before = platform.warehouse.staleness().published
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(failing_cp(platform.path)))
        with pytest.raises(TransientError):
            platform.warehouse.publish(["2026-05-01", "2026-05-02"])
    assert platform.warehouse.staleness().published == before
    platform.warehouse.publish()
    assert numbers(platform)[1] == {"2026-05-01": before}


def test_one_snapshot_sees_one_publication(platform: Platform) -> None:
    arrive(platform)
    platform.warehouse.publish()
    with platform.warehouse.snapshot() as query:
        arrive(platform)
        platform.warehouse.publish()
        assert query(COUNT)["rows"].to_pylist() == [3]
    assert rows(platform) == 6
