"""Who knows what an input is: nobody but inputs/, pictures/ and what reads it off the graph."""

from __future__ import annotations

import ast
import re

from support.folders import ROOT

from onnxplain.engine.inputs import kinds

# Files that tell axes of an input or an output from the graph, or say that they assume them.
_MAY = (
    *("engine/inputs/", "engine/pictures/", "engine/targets/"),
    *("graph_passes/select/", "models/card.py", "models/assumed_card.py"),
    "models/sources/",
)
_BY_RANK = [
    # A rank that stands for "picture", and the axes of one.
    r"\bndim\s*[!=]=\s*[345]\b",
    r"len\([\w.]*shape[\w.]*\)\s*[!=]=\s*[345]\b",
    r"\(1, 2, 3\)",
    # Lengths that are taken for channels.
    r"\(1, 3, 4\)|\(1, 3\)",
    r"channel_axis\s*-\s*1",
]


def sources():
    for folder in ("engine", "graph_passes", "models"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_nobody_else_decides_which_axis_holds_channels():
    offenders = [
        f"{name}:{number}: {line.strip()}"
        for name, text in sources()
        if not name.startswith(_MAY)
        for number, line in enumerate(text.splitlines(), start=1)
        if any(re.search(pattern, line) for pattern in _BY_RANK)
    ]
    # Of weights, and of tensors that ONNX Runtime has a layout of its own for: no inputs.
    others = "graph_passes/finish/", "graph_passes/backward/"
    offenders = [one for one in offenders if not one.startswith(others)]
    assert not offenders, "\n".join(offenders)


def test_nobody_else_opens_pictures():
    """Not for annotations either: pictures/ has a name for what they are."""
    offenders = []
    for name, text in sources():
        if name.startswith(("engine/inputs/", "engine/pictures/")):
            continue
        for node in ast.walk(ast.parse(text)):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            offenders += [f"{name}: {m}" for m in modules if m.split(".")[0] == "PIL"]
    assert not offenders, "\n".join(offenders)


def test_nobody_else_asks_for_a_kind_by_name():
    """Outside its file a kind is what it says of itself; a card that names one is data."""
    names = "|".join(kinds())
    pattern = re.compile(rf"[!=]=\s*['\"]({names})['\"]|find_kind\(['\"]({names})['\"]")
    offenders = [
        f"{name}:{number}: {line.strip()}"
        for name, text in sources()
        if name.startswith("engine/") and not name.startswith("engine/inputs/")
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not offenders, "\n".join(offenders)


def test_what_it_looks_for_is_found():
    """The patterns find what stood there before."""
    before = [
        "axis = card.channel_axis - 1 if attribution.ndim == 4 else None",
        "axes = [axis for axis in (1, 2, 3) if axis != channel_axis]",
        "return card is not None and len(source.start.shape) == 4",
        "_CHANNELS = (1, 3, 4)",
    ]
    assert all(any(re.search(p, line) for p in _BY_RANK) for line in before)
