"""A page as HTML: one file that needs nothing else, and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.text import counted, shown, shown_json
from ..files.writing import utf8, write_whole
from ..pictures.embedded import Draw, fitted, overlaid, photo, scale_bar
from .page import Page, Shown
from .words import cite_of, how_to_read, title_of

if TYPE_CHECKING:
    # 0.07 s, which every command would pay for.
    from jinja2 import Environment
    from markupsafe import Markup

REPORT_FILE = "report.html"
# Bytes of a page at most.
MOST_BYTES = 5_000_000
# Images whose maps are shown at most; every number is in the JSON files beside the page.
MOST_IMAGES = 200
_HERE = Path(__file__).parent


def write_report(page: Page, folder: str | os.PathLike[str]) -> str:
    """Write a page as report.html into a folder; returns its name.

    Raises:
        OSError: it cannot be written.
    """
    content = report_html(page)
    write_whole(Path(folder) / REPORT_FILE, lambda file: file.write(content))
    return REPORT_FILE


def report_html(page: Page, most: int = MOST_BYTES) -> bytes:
    """A page as HTML in UTF-8.

    Its pictures are as large as the bytes allow, once the rest is known. Where not even the
    smallest fit, there are fewer images, which the page says.

    Args:
        page: what it shows.
        most: bytes, at most, as long as there is more than one image.
    """
    page = page.of_first(MOST_IMAGES)
    while True:
        room = most - len(_rendered(page, None))
        draws = [d for one in page.images for d in (photo(one.photo), *_layers(one))]
        pictures = fitted(draws, room)
        if pictures is not None:
            return _rendered(page, pictures)
        if len(page.images) <= 1:
            return _rendered(page.of_first(0), [])
        page = page.of_first(len(page.images) * 2 // 3)


def _layers(image: Shown) -> list[Draw]:
    return [overlaid(one.heatmap, image.photo) for view in image.views for one in view.maps]


def _rendered(page: Page, pictures: Sequence[str] | None) -> bytes:
    """The page with its pictures in their order; None: without, to be measured."""
    from markupsafe import Markup

    numbers = count()

    def picture() -> str:
        return "" if pictures is None else pictures[next(numbers)]

    style, script = (
        Markup((_HERE / f"report.{kind}").read_text("utf-8")) for kind in ("css", "js")
    )
    text = (
        _environment()
        .get_template("report.html")
        .render(
            page=page,
            picture=picture,
            style=style,
            script=script,
            style_hash=_hash_of(style),
            script_hash=_hash_of(script),
            bars={False: scale_bar(False), True: scale_bar(True)},
            how_to_read=how_to_read,
            title_of=title_of,
            cite_of=cite_of,
            svg=_inline,
            counted=counted,
        )
    )
    return utf8(text)


def _inline(svg: str) -> Markup:
    """A drawing of ours as an element of the page, where it needs no name space."""
    from markupsafe import Markup

    return Markup(svg.replace(' xmlns="http://www.w3.org/2000/svg"', "", 1))


def _hash_of(text: str) -> str:
    """What a Content-Security-Policy calls a text by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    """Every value is text, and escaped; control characters and turned writing show as escapes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_function"] = _dumped
    return made


def _finalized(value: Any) -> Any:
    from markupsafe import Markup

    return value if isinstance(value, Markup) or not isinstance(value, str) else shown(value)


def _dumped(value: Any, **_: Any) -> str:
    return shown_json(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
