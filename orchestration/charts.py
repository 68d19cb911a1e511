"""Pictures of funnels and days: SVG to stand in a page, PNG for Dagster.

matplotlib takes a second to import: import this module where something is drawn. Its figures are used without pyplot,
so nothing global is kept. In SVG, text stays text and colours become CSS variables of the page, light or dark.
"""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from orchestration.funnels import Funnel, FunnelDay, Query, read_funnels, share
from orchestration.marts import read_as_of
from orchestration.numbers import DASH, as_count, as_percent, as_short_date

INK, MUTED, LINE, PAPER = "#1c1f24", "#5f6672", "#d9dce1", "#fdfdfe"
ENTRY, STEPS = "#8b93a1", ("#0072b2", "#d55e00", "#009e73", "#a3618f")
"""The first step is grey; the last has the first of Okabe and Ito's colours, which colour-blind readers tell apart."""
VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", PAPER: "paper", ENTRY: "entry"} | {
    c: f"step-{n}" for n, c in enumerate(STEPS)
}
WIDTH, ROW, LABEL_GAP, LONGEST_LABEL = 440, 56, 0.24, 14
PNG_COLOURS = 24
NOT_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def funnel_chart(funnel: Funnel) -> str:
    """A bar per step: who reached it, and lighter who may still."""
    with _drawing(funnel.funnel_id):
        figure, axes = _canvas(WIDTH, ROW * len(funnel.steps))
        for number, step in enumerate(funnel.steps, 1):
            top, may = ROW * (number - 1), funnel.may_reach(number)
            scale = WIDTH / max(funnel.entered, 1)
            axes.text(0, top + 16, step.name, color=INK, size=14, weight="bold")
            said = f"{as_count(step.visitors)} · {as_percent(share(step.visitors, funnel.entered))}"
            said += f" · {as_count(may)} more may come" if may else ""
            axes.text(WIDTH, top + 16, said, color=MUTED if may else INK, size=13, ha="right")
            colour = _colour(funnel, number)
            axes.barh(top + 36, WIDTH, height=22, color=LINE, alpha=0.35)
            axes.barh(top + 36, step.visitors * scale, height=22, color=colour)
            axes.barh(top + 36, may * scale, left=step.visitors * scale, height=22, color=colour, alpha=0.25)
        label = ", ".join(f"{step.name} {as_count(step.visitors)}" for step in funnel.steps)
        return _svg(figure, f"Visitors per step: {label}")


def conversion_chart(funnel: Funnel, first: date, last: date) -> str:
    """A line per step after the first: by date of entry, the share that reached it."""
    with _drawing(f"{funnel.funnel_id} by day"):
        figure = Figure((WIDTH / 72, 196 / 72), dpi=72)
        _draw_conversion(figure.add_axes((0.09, 0.12, 0.7, 0.78)), funnel, first, last)
        return _svg(figure, "Share of the visitors who entered on a date that reached a step")


def day_bars(name: str, values: Sequence[float | None], running: bool) -> str:
    """A small bar per date, the highest of full height; lighter the last, where that date is not over."""
    with _drawing(name):
        figure, axes = _canvas(220, 36)
        top = max([value for value in values if value], default=1)
        slot = 220 / max(len(values), 1)
        for place, value in enumerate(values):
            height = (value or 0) / top * 34
            faded = 0.4 if running and place == len(values) - 1 else 1
            left, width = place * slot, min(slot * 0.8, 24)
            axes.bar(left, height, bottom=36 - height, width=width, align="edge", color=STEPS[0], alpha=faded)
        return _svg(figure, f"{name} by day")


def funnel_markdown(query: Query, days: int = 14) -> str:
    """Each funnel's conversion on the last `days` dates before the data's end, as a table and a picture in Markdown."""
    as_of = read_as_of(query)
    if as_of is None:
        return "No event has reached the models yet."
    last = as_of.date()
    first = last - timedelta(days=days - 1)
    funnels = [funnel for funnel in read_funnels(query, first, last, as_of) if funnel.days]
    if not funnels:
        return f"Nobody entered a funnel from {first} to {last}."
    by_day = [{of_day.day: of_day for of_day in funnel.days} for funnel in funnels]
    lines = ["| date | " + " | ".join(_cell(funnel.funnel_id) for funnel in funnels) + " |"]
    lines.append("|---" + "|--:" * len(funnels) + "|")
    dates = [last - timedelta(days=n) for n in range(days)]
    lines += [f"| {day} | " + " | ".join(_day_cell(known.get(day)) for known in by_day) + " |" for day in dates]
    picture = base64.b64encode(_png(funnels, first, last)).decode()
    note = "Visitors by date of entry: entered → converted. \\* Not final yet: windows have not ended."
    return "\n".join([f"![Conversion by day](data:image/png;base64,{picture})", "", *lines, "", note])


def _day_cell(day: FunnelDay | None) -> str:
    if day is None:
        return DASH
    converted = f"{as_count(day.visitors[0])} → {as_count(day.visitors[-1])}"
    mark = "" if day.is_final else " \\*"
    return f"{converted} · {as_percent(day.conversion(len(day.visitors)))}{mark}"


def _cell(words: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", words)


def _png(funnels: Sequence[Funnel], first: date, last: date) -> bytes:
    """A panel per funnel, in two columns."""
    rows = (len(funnels) + 1) // 2
    with _drawing("png"):
        figure = Figure((2 * WIDTH / 72, rows * 170 / 72), dpi=84, facecolor=PAPER)
        for place, funnel in enumerate(funnels):
            bottom = 1 - (place // 2 + 1) / rows
            axes = figure.add_axes((0.045 + place % 2 / 2, bottom + 0.15 / rows, 0.34, 0.63 / rows))
            _draw_conversion(axes, funnel, first, last)
            axes.set_title(funnel.funnel_id.replace("_", " "), color=INK, size=13, loc="left", pad=16)
        raster = FigureCanvasAgg(figure)
        raster.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(raster.buffer_rgba())  # type: ignore[no-untyped-call]
    picture = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").quantize(PNG_COLOURS).save(picture, "png", optimize=True)
    return picture.getvalue()


def _draw_conversion(axes: Axes, funnel: Funnel, first: date, last: date) -> None:
    dates = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    known = {day.day: day for day in funnel.days}
    running = [place for place, day in enumerate(dates) if day in known and not known[day].is_final]
    first_running = running[0] if running else len(dates)
    ends: list[tuple[float, str, str]] = []
    top = 0.0
    for number in range(2, len(funnel.steps) + 1):
        shares = [known[day].conversion(number) if day in known else None for day in dates]
        _draw_line(axes, shares, first_running, _colour(funnel, number))
        if said := [value for value in shares if value is not None]:
            ends.append((said[-1], funnel.steps[number - 1].name, _colour(funnel, number)))
            top = max(top, *said)
    _set_scales(axes, dates, top or 1.0)
    if running:
        axes.axvspan(first_running - 0.5, len(dates) - 0.5, color=LINE, alpha=0.4, linewidth=0)
        axes.text(len(dates) - 0.5, axes.get_ylim()[1], "not final yet ", color=MUTED, size=11, ha="right", va="bottom")
    _label_ends(axes, ends, len(dates))


def _draw_line(axes: Axes, shares: Sequence[float | None], first_running: int, colour: str) -> None:
    """Solid where it is final, dotted with hollow points where it is not; dates without an entry are left out."""
    points = [(place, value) for place, value in enumerate(shares) if value is not None]
    final = [point for point in points if point[0] < first_running]
    running = [point for point in points if point[0] >= first_running]
    axes.plot(*_columns(final), color=colour, linewidth=2, marker="o" if len(final) < 3 else None, markersize=4)
    axes.plot(*_columns(final[-1:] + running), color=colour, linewidth=1.5, linestyle=(0, (1, 1.6)))
    axes.plot(
        *_columns(running), color=colour, linewidth=0, marker="o", markersize=4, markerfacecolor=PAPER, clip_on=False
    )


def _colour(funnel: Funnel, number: int) -> str:
    return ENTRY if number == 1 else STEPS[(len(funnel.steps) - number) % len(STEPS)]


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [place for place, _ in points], [value for _, value in points]


def _set_scales(axes: Axes, dates: Sequence[date], top: float) -> None:
    ticks = [float(tick) for tick in MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(0, top) if tick <= 1]
    axes.set_ylim(0, max(top * 1.04, ticks[-1] if ticks[-1] <= top * 1.2 else 0))
    axes.set_yticks([tick for tick in ticks if tick <= axes.get_ylim()[1]])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value * 100:.3g}%")
    every = max(1, -(-len(dates) // 5))
    places = range(0, len(dates), every)
    axes.set_xticks(list(places), [as_short_date(dates[place]) for place in places])
    axes.set_xlim(-0.5, len(dates) - 0.5)
    axes.tick_params(length=0, pad=6, colors=MUTED, labelsize=11)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.patch.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], dates: int) -> None:
    """Each line's name and last value beside its end, moved apart where they would meet."""
    height = axes.get_ylim()[1]
    lowest = 0.0
    for value, name, colour in sorted(ends):
        place = max(value, lowest)
        lowest = place + LABEL_GAP * height
        short = name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…"
        said = f"{short}\n{as_percent(value)}"
        axes.text(dates - 0.2, place, said, color=colour, size=12, va="center", linespacing=1.15)


def _canvas(width: int, height: int) -> tuple[Figure, Axes]:
    """Axes without anything, measured in pixels from the upper left corner."""
    figure = Figure((width / 72, height / 72), dpi=72)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure, axes


@contextmanager
def _drawing(name: str) -> Iterator[None]:
    """The same picture for the same numbers, ids of its own, and no dollar sign that turns into a formula."""
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}
    with mpl.rc_context(settings):
        yield


def _svg(figure: Figure, label: str) -> str:
    """The figure as an element of a page: no size, fonts, styles or names of its own but those that it refers to."""
    picture = io.StringIO()
    figure.savefig(picture, format="svg", transparent=True, metadata=NOT_METADATA)
    svg = picture.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="(?!([mpCh][0-9a-f]{10})")[^"]*"', "", svg)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r"font: (?:(\w+) )?([\d.]+px) [^;\"]*", r"font-weight: \1; font-size: \2", svg)
    svg = re.sub(r"<svg [^>]*(viewBox=\"[^\"]*\")[^>]*>", rf'<svg \1 role="img" aria-label="{escape(label)}">', svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return re.sub(r"\s*\n\s*", " ", svg)
