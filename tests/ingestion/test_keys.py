import logging
import os
import re
from pathlib import Path

import pytest

from ingestion.errors import ConfigurationError
from ingestion.keys import KeyFile, Keyring


class Clock:
    """Seconds, in the test's hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "some" / "folder" / "keys.json")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_key_belongs_to_its_source(file: KeyFile, clock: Clock) -> None:
    web, app = file.add("web"), file.add("app-2")
    ring = Keyring(file, clock)
    assert [ring.source_of(key) for key in (web, app, "hr_guess", "", web[:-1])] == ["web", "app-2", None, None, None]


def test_one_source_may_have_several_keys(file: KeyFile, clock: Clock) -> None:
    keys = {file.add("web") for _ in range(3)}
    ring = Keyring(file, clock)
    assert len(keys) == 3
    assert {ring.source_of(key) for key in keys} == {"web"}


def test_a_key_is_long_enough_not_to_be_guessed(file: KeyFile) -> None:
    assert re.fullmatch(r"hr_[A-Za-z0-9_-]{43}", file.add("web"))


def test_the_file_holds_a_hash_and_nowhere_the_key(file: KeyFile) -> None:
    key = file.add("web")
    text = file.path.read_text()
    assert not [length for length in range(9, len(key)) if key[:length] in text]
    assert key[3:] not in text
    assert '"sha256"' in text


def test_only_its_owner_may_read_the_file(file: KeyFile) -> None:
    before = os.umask(0)
    try:
        key = file.add("web")
        assert file.path.stat().st_mode & 0o777 == 0o600
        file.disable(key)
        assert file.path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_a_replaced_file_leaves_nothing_behind(file: KeyFile) -> None:
    file.add("web")
    file.add("app")
    assert [path.name for path in file.path.parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("source", ["", "Web", "1st", "-web", "a b", "web\n", "é", "a" * 65, "../web"])
def test_a_source_that_is_no_name_gets_no_key(file: KeyFile, source: str) -> None:
    with pytest.raises(ConfigurationError, match="use a to z"):
        file.add(source)
    assert file.read() == []


def test_a_source_of_64_characters_is_a_name(file: KeyFile) -> None:
    file.add("a" * 64)
    assert [key.source for key in file.read()] == ["a" * 64]


def test_a_disabled_key_stops_within_a_second_without_a_restart(file: KeyFile, clock: Clock) -> None:
    old, new = file.add("web"), file.add("web")
    ring = Keyring(file, clock)
    assert ring.source_of(old) == "web"
    file.disable(old)
    clock.now += 1.0
    assert [ring.source_of(old), ring.source_of(new)] == [None, "web"]


def test_a_new_key_works_within_a_second_without_a_restart(file: KeyFile, clock: Clock) -> None:
    ring = Keyring(file, clock)
    assert ring.source_of("hr_nobody") is None
    key = file.add("web")
    clock.now += 1.0
    assert ring.source_of(key) == "web"


def test_the_file_is_looked_at_once_a_second_however_many_ask(file: KeyFile, clock: Clock) -> None:
    key = file.add("web")
    ring = Keyring(file, clock)
    ring.source_of(key)
    file.disable(key)
    clock.now += 0.9
    assert ring.source_of(key) == "web"
    clock.now += 0.1
    assert ring.source_of(key) is None


def test_a_key_is_disabled_by_its_beginning_and_keeps_its_entry(file: KeyFile) -> None:
    key = file.add("web")
    disabled = file.disable(key[:8])
    assert (disabled.source, disabled.prefix) == ("web", key[:8])
    assert disabled.disabled_at is not None
    assert file.read() == [disabled]


@pytest.mark.parametrize("prefix", ["hr_nobody", "", "x"])
def test_an_unknown_prefix_is_an_error_and_changes_nothing(file: KeyFile, prefix: str) -> None:
    file.add("web")
    before = file.path.read_bytes()
    with pytest.raises(ConfigurationError, match=f"0 enabled keys begin with {prefix!r}"):
        file.disable(prefix)
    assert file.path.read_bytes() == before


def test_a_disabled_key_cannot_be_disabled_again(file: KeyFile) -> None:
    key = file.add("web")
    file.disable(key)
    with pytest.raises(ConfigurationError, match="0 enabled keys"):
        file.disable(key)


BROKEN = {
    "empty": b"",
    "an object": b"{}",
    "half": b'[{"source":"web",',
    "a key without a hash": b'[{"source":"web","prefix":"hr_12345","created_at":"2026-01-01T00:00:00Z"}]',
    "no UTF-8": b'[{"source":"\xff"}]',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_named_and_is_not_overwritten(file: KeyFile, clock: Clock, content: bytes) -> None:
    file.add("web")
    file.path.write_bytes(content)
    for use in (file.read, lambda: file.add("app"), lambda: file.disable("hr_"), lambda: Keyring(file, clock)):
        with pytest.raises(ConfigurationError, match=re.escape(str(file.path))):
            use()
    assert file.path.read_bytes() == content


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_file_that_breaks_under_a_running_collector_disables_nobody(
    file: KeyFile, clock: Clock, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    key = file.add("web")
    ring = Keyring(file, clock)
    good = file.path.read_bytes()
    file.path.write_bytes(content)
    clock.now += 1.0
    with caplog.at_level(logging.ERROR):
        for _ in range(3):  # seconds, and it says so in each
            assert [ring.source_of(key), ring.source_of("hr_nobody")] == ["web", None]
            clock.now += 1.0
    assert [str(file.path) in record.message for record in caplog.records] == [True] * 3
    file.path.write_bytes(good)
    file.disable(key)
    clock.now += 1.0
    assert ring.source_of(key) is None


def test_without_a_file_nobody_has_a_key(file: KeyFile, clock: Clock) -> None:
    assert file.read() == []
    assert Keyring(file, clock).source_of("hr_nobody") is None


def test_a_key_opens_only_what_its_scope_names(file: KeyFile, clock: Clock) -> None:
    writing, reading = file.add("web"), file.add("backend", "read")
    for scope, opened in (("write", ["web", None]), ("read", [None, "backend"])):
        ring = Keyring(file, clock, "read" if scope == "read" else "write")
        assert [ring.source_of(key) for key in (writing, reading)] == opened


def test_keys_from_before_there_were_scopes_are_write_keys(file: KeyFile, clock: Clock) -> None:
    key = file.add("web")
    file.path.write_text(re.sub(r',\s*"scope": "write"', "", file.path.read_text()))
    assert "scope" not in file.path.read_text()
    assert Keyring(file, clock).source_of(key) == "web"
