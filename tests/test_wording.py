"""What people read: one thing is "1 image", two are "2 images", and nothing is "image(s)"."""

import ast
import re
from pathlib import Path

import pytest

import onnxplain
from onnxplain.models.text import counted

ROOT = Path(onnxplain.__file__).parent
FOLDERS = ("engine", "graph_passes", "models")
FILES = [
    *(ROOT / name for name in ("__init__.py", "cli.py")),
    *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))),
]
TEMPLATES = [
    path
    for folder in FOLDERS
    for kind in ("html", "js", "css", "svg")
    for path in sorted((ROOT / folder).rglob(f"*.{kind}"))
]
# What is no plural after a number or name, and what stands behind numbers that are never one.
_NO_PLURALS = frozenset(
    re.findall(
        r"\w+",
        "is was has does as its this thus less knows moves cuts pads joins calls states refers "
        "depends differs works makes takes needs compares explains always misses computes holds "
        "goes cannot",
    )
)
# Limits and sizes, all above one.
_NEVER_ONE = re.compile(
    r"([A-Z_]+|.*\.MAX_\w+|sigma|most|first|fixed|[abc]|width|size\[1\]|len\((readers|weighing)\))$"
)
# Values that are words, and those that are never one.
_WORDS = re.compile(r"(these\(.*|where|of|row\['method'\]|len\(able\))$")
_BEHIND = re.compile(r" (?:[a-z]+ )?([a-z]+s)\b")


def fixed_plurals(source):
    """Where an f-string's value stands before a noun whose plural is fixed: line and text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, text in zip(node.values, node.values[1:], strict=False):
            if not (isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant)):
                continue
            noun = _BEHIND.match(str(text.value))
            if noun is None or not _is_number(value):
                continue
            words = noun[0].split()
            if not _NO_PLURALS.intersection(words):
                found.append((node.lineno, f"{ast.unparse(value.value)}{noun[0]}"))
    return found


def _is_number(value):
    """Whether it may be the number 1: an integer, as far as its form says."""
    said = ast.unparse(value.value)
    if value.conversion != -1 or _NEVER_ONE.match(said) or _WORDS.match(said):
        return False
    form = "" if value.format_spec is None else ast.unparse(value.format_spec)
    return not re.search(r"[feg%]'$", form)


def test_counted():
    nouns = ("image", "class", "entry", "box", "more row", "axis", "pass")
    assert [counted(1, noun) for noun in nouns] == [f"1 {noun}" for noun in nouns]
    assert [counted(n) for n in (0, 2, 11)] == ["0 images", "2 images", "11 images"]
    words = "images classes entries boxes more-rows axes passes".replace("-", " ")
    assert " ".join(counted(3, noun)[2:] for noun in nouns) == words


def test_the_test_sees_what_it_should():
    seen = 'f"{n} images" f"{len(x)} more rows here" f"{n:,} entries"'
    assert len(fixed_plurals(seen)) == 3
    unseen = 'f"{name!r} images" f"{MOST:,} nodes" f"{name} is" f"{rate:.1f} images" f"{n} image"'
    assert fixed_plurals(unseen) == []


@pytest.mark.parametrize("what", ["s in brackets", "fixed plurals", "endings by hand"])
def test_one_and_many(what):
    offenders = []
    for path in [*FILES, *TEMPLATES]:
        source = path.read_text(encoding="utf-8")
        if what == "s in brackets":
            found = [(0, text) for text in re.findall(r"[a-z]{3,}\(e?s\)", source)]
            found = [one for one in found if path.suffix != ".py" or _in_text(source, one[1])]
        elif what == "fixed plurals":
            found = fixed_plurals(source) if path.suffix == ".py" else []
        else:
            hand = re.findall(r"['\"]e?s['\"] if |else ['\"]e?s['\"]", source)
            found = [(0, text) for text in hand if path.name != "text.py"]
        offenders += [f"{path.relative_to(ROOT)}:{line}: {text}" for line, text in found]
    assert not offenders


def _in_text(source, found):
    """Whether it stands in a string, and is no call."""
    strings = (n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant))
    return any(isinstance(text, str) and found in text for text in strings)
