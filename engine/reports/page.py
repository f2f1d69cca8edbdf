"""What a report shows, whatever it is of: images with maps, tables, figures, sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..pictures.heatmap import Heatmap, scale_texts
from ..pictures.overlay import scale_words
from .words import found_in_map, title_of

if TYPE_CHECKING:
    from ..pictures.heatmap import Picture


# Maps side by side, at most.
_MOST_COLUMNS = 4
# The longer side of what is drawn of a photo, before style sheets limit it.
_DRAWN = 4000
# Images from which on there is a contact sheet of all of them.
_SHEET = 6


class Cell(NamedTuple):
    """A number of a table that says how good it is, too.

    Attributes:
        text: the number; more: what stands small behind it, such as its interval.
        level: "good", "fair" or "poor", by which it is coloured and marked; "": it is not judged.
        said: the level in words, for those who do not see it.
    """

    text: str
    more: str = ""
    level: str = ""
    said: str = ""

    @property
    def mark(self) -> str:
        """A sign for the level, which tells it without any colour."""
        return MARKS.get(self.level, "")


MARKS = {"good": "▲", "fair": "△", "poor": "▽"}


class Table(NamedTuple):
    """A table.

    Attributes:
        caption: what it says.
        heads: of the columns.
        rows: texts or `Cell`s; the first of each is the row's head.
        notes: sentences below it.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = ()


def without_empty(table: Table, empty: str = "-") -> Table:
    """The same without the columns that say nothing in any row."""
    kept = [k for k in range(len(table.heads)) if any(row[k] != empty for row in table.rows)]
    rows = [[row[k] for k in kept] for row in table.rows]
    return table._replace(heads=[table.heads[k] for k in kept], rows=rows)


def one_for_all(table: Table, head: str) -> Table:
    """The same with a column that says one thing in all rows as a sentence below it."""
    place = list(table.heads).index(head) if head in table.heads else 0
    values = {row[place] for row in table.rows}
    if not place or len(values) != 1:
        return table
    rows = [[*row[:place], *row[place + 1 :]] for row in table.rows]
    heads = [*table.heads[:place], *table.heads[place + 1 :]]
    return table._replace(heads=heads, rows=rows, notes=[*table.notes, f"{head}: {values.pop()}."])


class Figure(NamedTuple):
    """A drawing.

    Attributes:
        caption: what it shows.
        alt: what is seen in it, in words.
        svg: an SVG element that is our own, in which all foreign text is escaped.
    """

    caption: str
    alt: str
    svg: str


class Bar(NamedTuple):
    """One of the top classes.

    Attributes:
        name: of the class; value: its probability or score, in words.
        part: 0..1, how long its bar is.
        asked: whether it is explained here.
    """

    name: str
    value: str
    part: float
    asked: bool


@dataclass(frozen=True)
class Map:
    """One map over a photo.

    Attributes:
        method: its name.
        heatmap: ready to be drawn.
        subject: what it explains, behind the method's title: "for 'tabby'".
        lines: what stands below it.
        difference: whether it is one between two maps.
        variant: what is other than in the first maps: "against white".
    """

    method: str
    heatmap: Heatmap
    subject: str
    lines: Sequence[str] = ()
    difference: bool = False
    variant: str = ""

    @property
    def title(self) -> str:
        """The method's, and what is other than usual."""
        own = title_of(self.method)
        return f"{own}, {self.variant}" if self.variant else own

    @property
    def alt(self) -> str:
        """What it is, and what it says."""
        return f"{title_of(self.method)} {self.subject}: {self.found}"

    @property
    def found(self) -> str:
        """What the map says."""
        return found_in_map(self.heatmap, self.method, self.difference)

    @property
    def scale(self) -> tuple[str, str, str]:
        """The numbers at the ends and in the middle of the colours, with what they mean."""
        words = ("less", "more") if self.difference else scale_words(self.heatmap, self.method)
        return scale_texts(self.heatmap, words)


@dataclass(frozen=True)
class View:
    """The maps of one image for one class, or by one model.

    Attributes:
        name: the class or the model; more: its score and so on.
        maps: by one method each.
        box: x0, y0, x1, y1 of what is explained, as parts of the photo's sides; or None.
    """

    name: str
    more: str
    maps: Sequence[Map]
    box: Sequence[float] | None = None

    @property
    def columns(self) -> int:
        """How many of its maps stand side by side where there is room: full rows."""
        count = len(self.maps)
        if count <= _MOST_COLUMNS:
            return max(count, 1)
        return next((k for k in (3, 4) if count % k == 0), 3)


@dataclass(frozen=True)
class Shown:
    """One image.

    Attributes:
        path: its name.
        photo: what the model saw of it.
        views: its maps.
        answer: what the model answered, on one line; may be empty.
        bars: the top classes; may be empty.
        bars_are: what their numbers are.
        tops: further lists of top classes, each with its heading: of other models.
        facts: (name, value) pairs.
        margin: by how much the best class leads the second, in parts of 1; None: not known.
        close: whether that is a close call.
    """

    path: str
    photo: Picture
    views: Sequence[View]
    answer: str = ""
    bars: Sequence[Bar] = ()
    bars_are: str = ""
    tops: Sequence[tuple[str, Sequence[Bar]]] = ()
    facts: Sequence[tuple[str, str]] = ()
    margin: float | None = None
    close: bool = False

    @property
    def drawn(self) -> tuple[int, int]:
        """A size of the photo's shape, larger than any place for it, which style sheets limit."""
        width, height = self.photo.size
        scale = _DRAWN / max(width, height)
        return max(round(width * scale), 1), max(round(height * scale), 1)

    @property
    def print_rows(self) -> int:
        """Rows of maps, three a row, that are to go on one sheet of paper: 1 to 4 (or more)."""
        return min(sum(-(-len(view.maps) // 3) for view in self.views), 4)

    @property
    def name(self) -> str:
        """Of the file, without its folders."""
        return Path(self.path).name or self.path


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: its heading; lead: sentences below it.
        verdict: the answer, in a sentence or a few; key: the table that it rests on.
        findings: what the numbers say, in sentences; findings_are: their heading.
        sheet: whether many images have a contact sheet, the closest calls first.
        images: with their maps.
        views_are: what the views of an image are: "Class" or "Model".
        all_views: whether all of them are shown at first, or the first one.
        methods: names, of those that are spoken of.
        tables, figures: what was measured; last: tables behind them.
        settings: tables of every setting, hash and version.
        notes: what was left out and why.
        failed: (image, error) pairs.
        data: all of it for programs, as JSON knows it.
        images_left_out: how many more images there are than are shown.
    """

    title: str
    lead: Sequence[str]
    verdict: Sequence[str] = ()
    key: Table | None = None
    findings: Sequence[str] = ()
    findings_are: str = "Findings"
    sheet: bool = False
    images: Sequence[Shown] = ()
    views_are: str = "Class"
    all_views: bool = False
    methods: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    last: Sequence[Table] = ()
    settings: Sequence[Table] = ()
    notes: Sequence[str] = ()
    failed: Sequence[tuple[str, str]] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    images_left_out: int = 0

    @property
    def methods_shown(self) -> list[str]:
        """The methods that any image has a map of, in their order."""
        maps = (m for one in self.images for view in one.views for m in view.maps)
        return list(dict.fromkeys(one.method for one in maps))

    @property
    def contact_sheet(self) -> list[tuple[int, Shown]]:
        """The images by number, the closest call first; empty where there are few of them."""
        if not self.sheet or len(self.images) < _SHEET:
            return []
        numbered = list(enumerate(self.images, start=1))
        return sorted(numbered, key=lambda one: 2.0 if one[1].margin is None else one[1].margin)

    @property
    def most_views(self) -> int:
        """How many views an image has at most."""
        return max((len(one.views) for one in self.images), default=0)

    @property
    def failures(self) -> Table:
        """What failed, as a table."""
        return Table("Images that failed", ["Image", "Reason"], self.failed)

    def of_first(self, count: int) -> Page:
        """The same with so many images at most."""
        left_out = self.images_left_out + max(len(self.images) - count, 0)
        return replace(self, images=self.images[:count], images_left_out=left_out)


def failed_pairs(failed: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """What failed, as a report shows it."""
    return [(one["image"], one["error"]) for one in failed]
