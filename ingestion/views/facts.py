"""Views of facts: one immutable row per event, written so that every event counts once (DESIGN §4).

Copies of an event may say different times, so they are different rows; which of them counts hangs on the others: one
does not where a copy that was received before it lies on its event date or on a neighbouring one. So every record is
first *claimed* under what copies share, then the claims are read, and copies that do not count become tombstones,
which nothing brings back. Once another record has been seen a copy can only stop counting, so any order ends equal;
of two writers at once, the one that claims last sees both.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ingestion.errors import ItemRefused
from ingestion.steps import Steps
from ingestion.views import MAX_PAGE, MAX_VERSION, Item, Page, Row, ViewStore, page_token
from ingestion.views.landed import DAY_US, LandedEvent
from ingestion.views.products import Products

SEPARATOR = "\x1f"
DAY_SECONDS = 86_400
CLAIM_OUTLIVES_DAYS = 2
"""A claim is needed as long as a row of a neighbouring date can be read."""
PROBLEMS_TOLD = 20


@dataclass(frozen=True)
class Lookups:
    """The other sources that views join with, as they are now."""

    products: Products = field(default_factory=Products)


@dataclass(frozen=True)
class View:
    """Which events a view is made of, and the rows that one event becomes: a function of the event and the lookups.

    The rows' keys and sorts come from the event alone. `days` is how long after its event date a row is kept.
    """

    name: str
    event_types: tuple[str, ...]
    rows: Callable[[LandedEvent, Lookups], list[Row]]
    days: int | None = None

    @property
    def claims(self) -> str:
        """Where the store keeps who claimed to be which event."""
        return f"{self.name}.claims"


@dataclass
class Written:
    """What became of events: rows that count, copies that do not, and what was left out and why; and how many rows of
    the view are others than before."""

    rows: int = 0
    copies: int = 0
    left_out: int = 0
    changed: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, more: "Written") -> None:
        """Count what another piece of work did."""
        self.rows, self.copies = self.rows + more.rows, self.copies + more.copies
        self.left_out, self.changed = self.left_out + more.left_out, self.changed + more.changed
        self.problems = [*self.problems, *more.problems][:PROBLEMS_TOLD]

    def leave_out(self, problem: str) -> None:
        """Note that something is not in the view."""
        self.left_out += 1
        self.problems = [*self.problems, problem][:PROBLEMS_TOLD]


def fact(event: LandedEvent, key: str, item: Item, version: int, days: int | None) -> Row:
    """The row of an event under `key`: in the order of occurred_at, then event id, then which copy it is."""
    sort = SEPARATOR.join((event.occurred_at, event.event_id, event.place))
    return Row(key, sort, version, item, _expiry(event, days))


def write(store: ViewStore, view: View, events: Sequence[LandedEvent], lookups: Lookups) -> Steps[Written]:
    """Bring `events` into the view: however often, in whatever order and by however many at once, the same rows."""
    written = Written()
    made = list(_made(view, events, lookups, written))
    claims = [_claim(view, event, rows) for event, rows in made]
    store.upsert(view.claims, claims)
    yield "facts.claimed"
    lost = _lost(store, view, claims)
    yield "facts.judged"
    own = [row for _, rows in made for row in rows]
    counting = [row for row in own if (row.key, row.sort) not in lost]
    written.rows, written.copies = len(counting), len(own) - len(counting)
    _upsert(store, view, [*counting, *lost.values()], written)
    yield "facts.written"
    return written


def _made(
    view: View, events: Iterable[LandedEvent], lookups: Lookups, written: Written
) -> Iterator[tuple[LandedEvent, list[Row]]]:
    for event in events:
        try:
            yield event, view.rows(event, lookups)
        except Exception as error:  # one event that a view cannot read must not keep out all that come after it
            written.leave_out(f"view {view.name}, {event.event_type} {event.event_id!r}: {error!r}")


def _claim(view: View, event: LandedEvent, rows: Sequence[Row]) -> Row:
    addresses = [[row.key, row.sort] for row in rows]
    expires_at = _expiry(event, None if view.days is None else view.days + CLAIM_OUTLIVES_DAYS)
    return Row(event.identity, f"{event.day:07}{SEPARATOR}{event.place}", 0, {"rows": addresses}, expires_at)


def _lost(store: ViewStore, view: View, own: Iterable[Row]) -> dict[tuple[str, str], Row]:
    """Tombstones, by their address, for what does not count of the claimed events and their copies."""
    days: dict[str, list[int]] = {}
    for claim in own:
        days.setdefault(claim.key, []).append(_day(claim))
    spans = {identity: (min(claimed) - 1, max(claimed) + 1) for identity, claimed in days.items()}
    asked = [(identity, page_token(f"{last + 1:07}")) for identity, (_, last) in spans.items()]
    tombstones = {}
    for (identity, (first, _)), page in zip(spans.items(), store.read_each(view.claims, asked, MAX_PAGE), strict=True):
        claims = list(_claims(store, view, identity, page, first))
        for claim in _outranked(claims) if len(claims) > 1 else ():
            for key, sort in (claim.item or {})["rows"]:
                tombstones[key, sort] = Row(key, sort, MAX_VERSION, None, claim.expires_at)
    return tombstones


def _claims(store: ViewStore, view: View, identity: str, page: Page, first: int) -> Iterator[Row]:
    """The claims of a page and of those after it, down to the day `first`."""
    while True:
        for row in page.rows:
            if _day(row) < first:
                return
            yield row
        if not page.next:
            return
        page = store.read(view.claims, identity, MAX_PAGE, page.next)


def _outranked(claims: Sequence[Row]) -> Iterator[Row]:
    """The claims of which a copy was received before, on their day or a neighbouring one."""
    earliest: dict[int, str] = {}
    for claim in claims:
        earliest[_day(claim)] = min(_place(claim), earliest.get(_day(claim), _place(claim)))
    for claim in claims:
        day = _day(claim)
        if any(near in earliest and earliest[near] < _place(claim) for near in (day - 1, day, day + 1)):
            yield claim


def _upsert(store: ViewStore, view: View, rows: Sequence[Row], written: Written) -> None:
    """Write rows; where one of them fits no store, the others go one by one."""
    try:
        written.changed += store.upsert(view.name, rows)
    except ItemRefused:
        for row in rows:
            try:
                written.changed += store.upsert(view.name, [row])
            except ItemRefused as error:
                written.rows -= 1
                written.leave_out(str(error))


def _expiry(event: LandedEvent, days: int | None) -> int | None:
    return None if days is None else (event.occurred_us // DAY_US + days) * DAY_SECONDS


def _day(claim: Row) -> int:
    return int(claim.sort.partition(SEPARATOR)[0])


def _place(claim: Row) -> str:
    return claim.sort.partition(SEPARATOR)[2]
