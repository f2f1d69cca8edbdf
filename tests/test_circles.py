"""No two files of the house import each other, by whatever way round, not even for types alone."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from support.folders import ROOT

# The public names of __init__.py are there for callers; what all files have of it are the errors.
FILES = [ROOT / "cli.py"]
FILES += sorted(p for f in ("engine", "graph_passes", "models") for p in (ROOT / f).rglob("*.py"))


def imported(path: Path) -> set[Path]:
    """The files of the house that a file imports anywhere: above, inside functions, for types."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1]
            module = folder.joinpath(*(node.module or "").split("."))
            names = [module / f"{alias.name}.py" for alias in node.names]
            whole = [module.with_suffix(".py"), module / "__init__.py"]
            inside = [name for name in names if name.is_file()]
            if len(inside) < len(names):
                inside += [one for one in whole if one.is_file()][:1]
            found.update(inside)
    return found - {path, ROOT / "__init__.py"}


def circle_in(imports: dict[Path, set[Path]]) -> list[str]:
    """The files of one circle, each imported by the next; empty where there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return [path.relative_to(ROOT).as_posix() for path in error.args[1]]
    return []


def test_no_files_import_each_other():
    imports = {path: imported(path) for path in FILES}
    assert sum(map(len, imports.values())) > 1000
    assert circle_in(imports) == []


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ("engine/comparing/drift.py", "engine/reports/drift_page.py"),
        ("engine/evaluating/evaluation.py", "engine/reports/evaluation_page.py"),
        ("engine/explanation/explanation.py", "engine/explaining/explainer.py"),
    ],
)
def test_an_import_the_other_way_would_be_told(lower, upper):
    imports = {path: imported(path) for path in FILES}
    imports[ROOT / lower] |= {ROOT / upper}
    assert {lower, upper} <= set(circle_in(imports))
