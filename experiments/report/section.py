"""What a section of a report holds: figures with their words, tables, texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup
from matplotlib.figure import Figure

from experiments.report.figures import style
from experiments.report.tables import Table


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure with its name (stable from report to report), the finding as title, and what its marks mean.

    `folded` figures are opened by a click; `marks` name each mark of each series that is pointed at by itself.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    description: str = ""
    how_to_read: str = ""
    table: Table | None = None
    folded: bool = False
    marks: Sequence[Sequence[str]] = ()

    @cached_property
    def svg(self) -> Markup:
        """The figure for the page and for its file, drawn once; its texts were escaped when it was drawn."""
        description = self.description or self.caption
        return Markup(style.to_svg(self.figure, name=self.name, title=self.title, description=description))

    @cached_property
    def panels(self) -> str:
        """What the page's script must know to tell values from places, as JSON; "" where nothing can be pointed at."""
        panels = style.panels_of(self.figure)
        return json.dumps({"panels": panels, "marks": self.marks}) if panels else ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands below it: texts, figures, tables, commands by name, notes in small print."""

    name: str
    title: str
    texts: Sequence[str] = ()
    figures: Sequence[Drawn] = ()
    tables: Sequence[Table] = ()
    commands: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
