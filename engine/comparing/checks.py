"""Whether a changed file passes: what `--fail-under` and `--fail-on-flip` judge, and JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...models.text import counted, shown
from .changes import Changes, MapDrift

# What is judged where no method was named.
JUDGED = ("grad-cam",)
_SUITE = "onnxplain compare"
# Of what failed, so much is named on one line.
_MOST_NAMED = 5


class Check(NamedTuple):
    """One thing that is judged of one other file.

    Attributes:
        model: the other file.
        name: a method, "flips" or "images".
        passed: whether it passed; None: it was not judged.
        text: what was found: "0.986 < 0.995".
    """

    model: str
    name: str
    passed: bool | None
    text: str


def checks_of(
    found: Changes,
    fail_under: float | None = None,
    fail_on_flip: bool = False,
    methods: Sequence[str] | None = None,
) -> list[Check]:
    """What is judged of a drift: each method by each other file, flips, and failed images.

    Args:
        found: the numbers of a `Drift`.
        fail_under: the mean agreement that the methods named need; None: no map is judged.
        fail_on_flip: whether a changed top class fails.
        methods: those to judge; None: those that were named, or Grad-CAM.
    """
    judged = tuple(methods or found.judged or JUDGED)
    checks = []
    for model in found.others:
        for method in dict.fromkeys([*judged, *found.methods]):
            limit = fail_under if method in judged else None
            if limit is not None or method in found.methods:
                checks.append(_method(found, model, method, limit))
        checks.append(_flips(found, model, fail_on_flip))
    if found.failed:
        names = _named([Path(one["image"]).name for one in found.failed])
        checks += [Check(m, "images", False, f"not compared: {names}") for m in found.others]
    return checks


def agreement_of(one: MapDrift) -> float:
    """Spearman's correlation of two maps; where it is not defined, 1 for equal ones and else 0.

    It is not defined where a map is the same everywhere, as an empty one is.
    """
    if not np.isnan(one.spearman):
        return one.spearman
    return 1.0 if one.relative_difference == 0 else 0.0


def _method(found: Changes, model: str, method: str, limit: float | None) -> Check:
    values = [agreement_of(m) for m in found.maps if (m.model, m.method) == (model, method)]
    if not values:
        return Check(model, method, False, f"not compared: {found.left_out.get(method, 'no map')}")
    mean = float(np.mean(values))
    if limit is None:
        return Check(model, method, None, f"{mean:.3f}")
    sign = ">=" if mean >= limit else "<"
    own, wanted = apart(mean, limit)
    return Check(model, method, mean >= limit, f"{own} {sign} {wanted}")


def apart(a: float, b: float) -> tuple[str, str]:
    """Two numbers as texts with three decimals, or as many more as it takes to tell them apart."""
    for digits in range(3, 17):
        texts = f"{a:.{digits}f}", f"{b:.{digits}f}"
        if a == b or texts[0] != texts[1]:
            return texts
    return repr(a), repr(b)


def _flips(found: Changes, model: str, judged: bool) -> Check:
    flips = [one for one in found.flips if one.model == model]
    of = sum(one.model == model for one in found.scores)
    text = f"the top class changed for {len(flips)} of {counted(of)}"
    if flips:
        text += f" ({_named([Path(one.image).name for one in flips])})"
    return Check(model, "flips", not flips if judged else None, text)


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join([*names[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])


def check_lines(checks: Sequence[Check]) -> list[str]:
    """A line for each check that was judged: "FAIL grad-cam 0.986 < 0.995"."""
    several = len({one.model for one in checks}) > 1
    lines = []
    for one in checks:
        if one.passed is not None:
            where = f" ({Path(one.model).name})" if several else ""
            lines.append(f"{'PASS' if one.passed else 'FAIL'} {one.name} {one.text}{where}")
    return lines


def junit_xml(checks: Sequence[Check]) -> bytes:
    """The checks as JUnit XML: a test case each; what was not judged is skipped."""
    counts = {
        "tests": len(checks),
        "failures": sum(one.passed is False and one.name != "images" for one in checks),
        "errors": sum(one.passed is False and one.name == "images" for one in checks),
        "skipped": sum(one.passed is None for one in checks),
    }
    numbers = {name: str(count) for name, count in counts.items()}
    root = ElementTree.Element("testsuites", {"name": _SUITE, **numbers})
    suite = ElementTree.SubElement(root, "testsuite", {"name": _SUITE, **numbers})
    for one in checks:
        names = {"classname": _in_xml(Path(one.model).name), "name": one.name}
        case = ElementTree.SubElement(suite, "testcase", names)
        text = _in_xml(one.text)
        if one.passed is None:
            ElementTree.SubElement(case, "skipped", {"message": f"not judged: {text}"})
        elif not one.passed:
            kind = "error" if one.name == "images" else "failure"
            said = {"message": text, "type": one.name}
            ElementTree.SubElement(case, kind, said).text = text
        else:
            ElementTree.SubElement(case, "system-out").text = text
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _in_xml(text: str) -> str:
    """The text without what no XML file may hold."""
    return shown(text).replace("\ufffe", r"\ufffe").replace("\uffff", r"\uffff")
