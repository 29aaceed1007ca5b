"""Figures as SVG text, byte for byte the same for the same records; what all of them share."""

from __future__ import annotations

import html
import io
import itertools
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from experiments.report.arms import Arm
from experiments.report.sanitize import clean

mpl.rcdefaults()  # nobody's matplotlibrc, of a home or of the current folder, changes a report

LOG_FROM = 20  # largest over smallest value from which on a scale is logarithmic
WIDTH = 6.8  # inches: the text of a page, and two columns of a paper
SMALL = 8  # points: the smallest text
# Okabe-Ito colours with at least 3:1 contrast on white; from six series on: small multiples, not more colours.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
NEUTRAL = "#555555"
LOST = "#B2182B"  # red: a trial that diverged or failed, whatever its framework
Colours = Mapping[str, str]  # framework -> colour
NO_COLOURS: Colours = MappingProxyType({})  # known: each framework gets the next one
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
MARKERS = ("o", "^", "D", "v", "P")  # the square is kept for runs that stopped early
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tandem",
    "text.parse_math": False,
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.titlesize": 9,
    "axes.facecolor": "white",
    "figure.facecolor": "white",
    "figure.titlesize": 10,
    "savefig.facecolor": "white",
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.06,
}


@contextmanager
def styled() -> Iterator[None]:
    """Our look, without the warnings about letters that the font lacks: an SVG's reader has other fonts."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support .* natively")
        yield


def freeze_layout(figure: Figure) -> Figure:
    """The figure with its layout done once, so that drawing it again, as SVG or PNG, changes nothing."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    return figure


def panels_of(figure: Figure) -> list[dict[str, Any]]:
    """Where each panel lies in the SVG, in its units, and the values at its edges; [] where no series bears a mark.

    Series bear them as ids: mean, part, band or mark, then panel, key and number ("mean-0-2-5"); what stands for key 2
    in the legend, "key-2-line" and "key-2-text".
    """
    if not any(line.get_gid() for axes in figure.axes for line in axes.lines):
        return []
    width, height = (72 * float(inches) for inches in figure.get_size_inches())
    found = []
    for axes in figure.axes:
        place = axes.get_position()
        box = (place.x0 * width, height - place.y1 * height, place.x1 * width, height - place.y0 * height)
        limits = {name: [float(each) for each in getattr(axes, f"get_{name}lim")()] for name in ("x", "y")}
        said = {"box": [round(float(each), 4) for each in box], "across": axes.get_xlabel()}
        found.append(said | {"log": axes.get_yscale() == "log"} | limits)
    return found


def to_svg(figure: Figure, *, name: str = "", title: str = "", description: str = "") -> str:
    """The figure as an <svg> element that may stand in a page beside others.

    Args:
        figure: What to draw.
        name: Goes before every id, so that ids are unique in a page.
        title: What a screen reader says, as <title id="name-title">; left out where empty.
        description: The same at length, as <desc id="name-desc">.
    """
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    prefix = re.sub(r"[^\w.-]", "-", name) + "-" if name else ""
    seen: set[str] = set()
    text = re.sub(r"<[^<>]+>", lambda tag: _once(_prefixed(tag[0], prefix), seen), text)
    said = "".join(
        f'<{tag} id="{prefix}{what}">{html.escape(clean(words, 10_000))}</{tag}>'
        for tag, what, words in (("title", "title", title), ("desc", "desc", description))
        if words
    )
    opening = text.index(">") + 1
    return f"{text[:opening]}{said}{text[opening:]}"


def _prefixed(tag: str, prefix: str) -> str:
    return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{prefix}", tag)


def _once(tag: str, seen: set[str]) -> str:
    """The tag without its id where the id was seen before: matplotlib defines equal markers twice under one id."""
    match = re.search(r' id="([^"]*)"', tag)
    if match is None:
        return tag
    is_new = match[1] not in seen
    seen.add(match[1])
    return tag if is_new else tag.replace(match[0], "", 1)


def save_png(figure: Figure, path: Path) -> None:
    """The figure as a picture, 150 dots per inch; letters that the font lacks are boxes."""
    with styled():
        figure.savefig(path, format="png", dpi=150, metadata={"Software": None})


def looks(arms: Sequence[Arm], colours: Colours = NO_COLOURS) -> Mapping[str, dict[str, Any]]:
    """Arm -> colour by framework, dash and marker by what else differs."""
    colours = colours_of((arm.framework for arm in arms), colours)
    rests = sorted({arm.rest for arm in arms})
    return {arm.name: look(colours[arm.framework], rests.index(arm.rest)) for arm in arms}


def look(colour: str, number: int) -> dict[str, Any]:
    """Colour, and dash and marker by the number of what else differs."""
    return {
        "color": colour,
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def width_of(number: int, *, n: int) -> float:
    """Points of line `number` of n; the lower is the broader, so that lines that lie on each other are all seen."""
    return 1.4 + (n - 1 - number) * min(1.2, 3.2 / n)


def colours_of(frameworks: Iterable[str], known: Colours = NO_COLOURS) -> dict[str, str]:
    """A colour for each framework: the one that is known, else the next that none of the known ones has."""
    free = itertools.cycle([colour for colour in COLOURS if colour not in known.values()] or [NEUTRAL])
    return {name: known[name] if name in known else next(free) for name in dict.fromkeys(frameworks)}


def plain_log(axis: Axis, *, subs: Sequence[float] = (1, 2, 5)) -> None:
    """Plain numbers on a logarithmic axis: matplotlib's own ticks are formulas, which names must not be."""
    axis.set_major_locator(LogLocator(subs=subs, numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
