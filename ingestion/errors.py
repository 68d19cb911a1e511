"""The errors that Headrace raises on purpose.

    HeadraceError
    ├── TransientError         the same call may succeed later
    │   ├── BrokerUnavailable      the log did not take or give records; nothing is known to be stored
    │   ├── LakeConflict           another lander moved the table on: read the positions again
    │   ├── LakeUnavailable        the lake's storage did not answer; whether it stored the commit is not known
    │   ├── ViewsUnavailable       the store of the views did not answer; nothing is known to be stored
    │   ├── WarehouseBusy          another process holds the warehouse
    │   └── WarehouseUnavailable   the warehouse did not answer; whether it stored the load is not known
    └── PermanentError         somebody has to change something
        ├── ConfigurationError     a setting, a key or a file is wrong
        ├── UnknownTopic           the log has no topic of this name
        ├── ItemRefused            a row, a page token or a limit is nothing that a view's store can take
        ├── UnknownView            there is no view of this name
        ├── OffsetOutOfRange       the log does not hold this position
        ├── LakeHistoryGone        the lake no longer lists a commit that was not loaded yet
        ├── ModelsNotBuilt         the warehouse lacks a model that is to be read
        └── ReloadRefused          the lake no longer holds what the ledger names

A message names the thing, the value and the next step.
"""


class HeadraceError(Exception):
    """Anything that Headrace reports."""


class TransientError(HeadraceError):
    """The same call may succeed later."""


class PermanentError(HeadraceError):
    """Somebody has to change something first."""


class BrokerUnavailable(TransientError):
    """The log did not answer; whether it stored the records is not known."""


class LakeConflict(TransientError):
    """Another writer moved the table on since it was read."""


class LakeUnavailable(TransientError):
    """The lake's storage did not answer; whether it stored the commit is not known."""


class ViewsUnavailable(TransientError):
    """The store of the views did not answer; whether it stored the rows is not known."""


class WarehouseBusy(TransientError):
    """Another process holds the warehouse."""


class WarehouseUnavailable(TransientError):
    """The warehouse did not answer; whether it stored the load is not known."""


class ConfigurationError(PermanentError):
    """A setting, a key or a file is wrong."""


class UnknownTopic(PermanentError):
    """The log has no topic of this name."""


class ItemRefused(PermanentError):
    """A row, a page token or a limit is nothing that a view's store can take."""


class UnknownView(PermanentError):
    """There is no view of this name."""


class OffsetOutOfRange(PermanentError):
    """The log holds `start` (inclusive) to `end` (exclusive), and the position asked for is outside."""

    def __init__(self, topic: str, partition: int, offset: int, start: int, end: int) -> None:
        super().__init__(f"{topic}/{partition} holds offsets {start} to {end}, not {offset}")
        self.start, self.end = start, end


class LakeHistoryGone(PermanentError):
    """The lake cleaned away a log entry that was still to be loaded."""


class ModelsNotBuilt(PermanentError):
    """The warehouse lacks a model that is to be read."""


class ReloadRefused(PermanentError):
    """The lake no longer holds what the ledger names, so a reload would lose rows."""
