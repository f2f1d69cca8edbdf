"""Makes what the documentation shows: tables from the code, pictures from the demo.

`python docs/make.py` writes all of it, `python docs/make.py text` leaves the pictures alone.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from PIL import Image, ImageDraw

import onnxplain
from onnxplain.cli import cli as command_line
from onnxplain.engine.pictures.heatmap import FAINT, INK, PAPER, blend, heatmap_of
from onnxplain.engine.pictures.lettering import write
from onnxplain.graph_passes.graph.operators import Fact, operators
from onnxplain.graph_passes.methods.method import Method
from onnxplain.graph_passes.prepare.decompositions.registry import ALWAYS, FOR_DEEPLIFT
from onnxplain.graph_passes.rules.registry import GRADIENTS, Family
from onnxplain.models.own_card import PRESETS
from onnxplain.models.shipped import demo_model, demo_photos

DOCS = Path(__file__).resolve().parent
ROOT, IMAGES = DOCS.parent, DOCS / "images"
BEGIN, END = "<!-- made by docs/make.py: {} -->\n", "<!-- end of {} -->\n"
COLUMNS, CELL, GAP, HEAD = 6, 190, 12, 26
# What would take minutes otherwise.
OPTIONS: dict[str, dict[str, Any]] = {
    "rise": {"samples": 1000},
    "occlusion": {"window": 32, "stride": 16},
}
_DEEPLIFT = {
    Family.LINEAR: "linear",
    Family.BILINEAR: "product",
    Family.ELEMENTWISE: "rescale",
    Family.MAXIMUM: "max-like",
    Family.COMPOSITE: "in simpler operators",
}


def table(head: str, rows: list[list[str]]) -> str:
    """A table in Markdown; `head` has its columns with | between."""
    columns = head.split(" | ")
    lines = [f"| {head} |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def methods_table() -> str:
    """Every method, from its record."""
    rows = [
        [f"`{method.name}`", method.summary, _options(method), _numbers(method), method.cite]
        for method in onnxplain.methods().values()
    ]
    return table("`-m` | What it tells | Its options | Its numbers | Paper", rows)


def _options(method: Method) -> str:
    told = [
        f"`{option.name}`" + (f" ({', '.join(option.choices)})" if option.choices else "")
        for option in method.options
    ]
    return ", ".join(told) or "none"


def _numbers(method: Method) -> str:
    place = "one for each place" if method.per_location else "one for each input element"
    sign = "positive and negative" if method.signed else "never negative"
    total = "" if method.sums_to is None else f"; they sum to {method.sums_to}"
    return f"{place}, {sign}{total}"


def presets_table() -> str:
    """What each preset does to a pixel."""
    rows = [
        [f"`{name}`", _fact(facts["scale"]), _fact(facts["mean"]), _fact(facts["std"]), channels]
        for name, facts in PRESETS.items()
        for channels in [facts.get("channels", "RGB")]
    ]
    return table("`--preset` | scale | mean | std | channels", rows)


def _fact(value: float | tuple[float, ...]) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{one:g}" for one in value)
    return f"1/{1 / value:g}" if 0 < value < 1 else f"{value:g}"


def operators_tables() -> str:
    """The operators that have a rule, and those that are rewritten first."""
    families: dict[str, list[Family]] = {}
    for (name, operand), entry in sorted(GRADIENTS.items(), key=lambda one: one[0][1] or 0):
        del operand
        families.setdefault(name, []).append(entry.family)
    rows = [
        [f"`{name}`", ", ".join(dict.fromkeys(_DEEPLIFT[one] for one in found))]
        for name, found in sorted(families.items())
    ]
    # Names of our own are of forms that passes before have marked.
    public = sorted(name for name in ALWAYS if not name.startswith("onnxplain."))
    rewritten = ", ".join(f"`{name}`" for name in public)
    apart = ", ".join(f"`{name}`" for name in sorted(FOR_DEEPLIFT))
    flat = ", ".join(f"`{name}`" for name in sorted(operators(Fact.STEP)))
    return (
        f"{len(rows)} operators have a gradient rule of their own:\n\n"
        + table("Operator | DeepLIFT's family", rows)
        + f"\n{len(public)} are written as simpler operators first (some in certain forms only): "
        + f"{rewritten}.\n\nDeepLIFT also writes these as simpler operators, where it has to: "
        + f"{apart}.\n\nPiecewise constant, so their derivative is 0: {flat}.\n"
    )


def security_page() -> str:
    """SECURITY.md, where the site can show it."""
    text = (ROOT / ".github" / "SECURITY.md").read_text(encoding="utf-8")
    return "<!-- made by docs/make.py from .github/SECURITY.md -->\n" + text


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "methods": ("methods.md", methods_table),
    "presets": ("cards.md", presets_table),
    "operators": ("operators.md", operators_tables),
}


def made_texts() -> dict[Path, str]:
    """Every page with a made part, as it should be now."""
    pages = {DOCS / "security.md": security_page()}
    for part, (name, make) in PARTS.items():
        path, begin, end = DOCS / name, BEGIN.format(part), END.format(part)
        text = pages.get(path) or path.read_text(encoding="utf-8")
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"{name}: expected the lines {begin.strip()} and {end.strip()}")
        pages[path] = f"{before}{begin}\n{make()}\n{end}{after}"
    return pages


def panel() -> None:
    """The demo's own panel."""
    with tempfile.TemporaryDirectory() as folder:
        done = CliRunner().invoke(command_line, ["demo", "-q", "-o", folder])
        if done.exit_code:
            raise SystemExit(done.output)
        with Image.open(Path(folder) / "panel.png") as picture:
            picture.convert("RGB").save(IMAGES / "panel.jpg", quality=88)


def gallery() -> None:
    """Every method on the shipped photo of a cup, in a grid."""
    photo = demo_photos()[0]
    cells = []
    for name, method in onnxplain.methods().items():
        e = onnxplain.Explainer(demo_model(), name, **OPTIONS.get(name, {})).explain(photo)
        assert e.origin is not None and e.origin.view is not None
        axis = 0 if e.attribution[0].ndim == 3 else None
        heatmap = heatmap_of(e.attribution[0], name, axis)
        cells.append((method.title, blend(e.origin.view, heatmap, (CELL, CELL))))
    rows = -(-len(cells) // COLUMNS)
    size = COLUMNS * (CELL + GAP) + GAP, rows * (CELL + GAP + HEAD) + GAP + 20
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    for place, (title, picture) in enumerate(cells):
        left = GAP + place % COLUMNS * (CELL + GAP)
        top = GAP + place // COLUMNS * (CELL + GAP + HEAD)
        write(draw, (left, top), title, 15, INK, 0.0)
        canvas.paste(picture, (left, top + HEAD))
    text = (
        "Each map has its own scale. Yellow: strength. Red and blue: for and against espresso; of "
        "gradients (deconvnet, guided, SmoothGrad): brighter or darker would raise its score."
    )
    write(draw, (GAP, size[1] - 24), text, 13, FAINT, 0.0)
    canvas.save(IMAGES / "gallery.jpg", quality=85)


def main(asked: list[str]) -> None:
    """Write the texts and, unless only those are asked for, the pictures."""
    for path, text in made_texts().items():
        path.write_text(text, encoding="utf-8", newline="\n")
    if asked != ["text"]:
        panel()
        gallery()


if __name__ == "__main__":
    main(sys.argv[1:])
