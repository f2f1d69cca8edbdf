"""The README and the pages in docs/ keep their promises: their code runs, their files exist."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from support.folders import ROOT

import onnxplain
from onnxplain.cli import cli
from onnxplain.models.own_card import PRESETS
from onnxplain.models.shipped import demo_model

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").glob("*.md"))
# Lines of a README that people finish.
MOST_LINES = 140


def blocks(path: Path, mark: str = "") -> list[str]:
    """The Python in a page; with a mark, what stands behind it."""
    return re.findall(mark + r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def run_here(path: Path) -> list[str]:
    """The Python in a page that runs with nothing but what the tests have."""
    return blocks(path, r"<!-- tested -->\n")


def ran(script: str, folder: Path) -> str:
    """What a script of its own prints."""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python_runs(tmp_path):
    (block,) = blocks(README)
    assert len(block.splitlines()) <= 10
    said = ran(block, tmp_path)
    assert said.startswith("espresso 0.9") and "Top(index=967, label='espresso'" in said
    assert said.endswith("(1, 7, 7) (1, 1000)\n") or said.endswith("(1, 224, 224) (1, 1000)\n")
    assert (tmp_path / "espresso.png").is_file()


@pytest.mark.parametrize("page", [p for p in PAGES if run_here(p)], ids=lambda page: page.name)
def test_the_pages_python_runs(page, tmp_path):
    said = ran("\n".join(run_here(page)), tmp_path)
    told = re.findall(r"print\([^\n]*\)  # (\[\[.*\]\])$", "\n".join(run_here(page)), re.MULTILINE)
    assert all(numbers in said for numbers in told)


def test_the_pages_that_run_are_known():
    assert [page.name for page in PAGES if run_here(page)] == [
        "cards.md",
        "deploy.md",
        "export.md",
        "recipes.md",
    ]


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_python_is_python_and_names_what_there_is(page):
    for block in blocks(page):
        tree = ast.parse(block)
        for one in ast.walk(tree):
            ours = isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name)
            if ours and one.value.id == "onnxplain":
                assert hasattr(onnxplain, one.attr), one.attr


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_files_exist(page):
    for name in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / name).is_file(), name


def test_every_page_is_reached():
    """From the README, from the start page, and in the site's own menu."""
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    start = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert f"- {page.name}\n" in menu
        if page.name != "index.md":
            assert f"]({page.name})" in start
            assert page.name == "coverage.md" or f"](docs/{page.name})" in TEXT


def test_the_readme_is_short():
    lines = TEXT.splitlines()
    assert len(lines) <= MOST_LINES
    broken = [
        line for line in lines if len(line) > 120 and not re.match(r"\||python3|\[|and a", line)
    ]
    assert not broken


def test_the_readme_names_every_command():
    told = re.findall(r"^\| `onnxplain ([a-z]+)", TEXT, re.MULTILINE)
    assert sorted(told) == sorted(cli.commands)


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_commands_and_options_exist(page):
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"\bonnxplain ([a-z]+ [^\n`#|]*)", text):
        name, *words = line.split()
        if name not in cli.commands:
            continue
        command = cli.commands[name]
        params = command.get_params(click.Context(command))
        known = {o for p in params if isinstance(p, click.Option) for o in p.opts}
        for word in words:
            if word.startswith("-"):
                assert word.split("=")[0] in known | {"--help"}, (name, word)


def test_the_set_up_is_what_ci_runs():
    for end in ("onnxplain demo", "pytest -n 2"):
        assert len(re.findall(rf"^python3 -m venv .*{end}$", TEXT, re.MULTILINE)) == 1


def test_the_presets_are_named():
    told = re.search(r"Pass a preset \((.*?)\)", TEXT.replace("\n", " "))
    assert told is not None and re.findall(r"`(\w+)`", told[1]) == list(PRESETS)


def test_the_card_is_the_demo_models():
    page = (ROOT / "docs" / "cards.md").read_text(encoding="utf-8")
    (card,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    shipped = demo_model().with_suffix(".json").read_text(encoding="utf-8")
    assert "".join(card.split()) == "".join(shipped.split())


def test_the_card_names_every_key():
    page = (ROOT / "docs" / "cards.md").read_text(encoding="utf-8")
    keys = set(json.loads(demo_model().with_suffix(".json").read_text(encoding="utf-8")))
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))))
    assert keys | {"probability"} <= told


def docs_script() -> ModuleType:
    """docs/make.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_make", ROOT / "docs" / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_made_texts_are_fresh():
    """Else: python docs/make.py text."""
    for path, text in docs_script().made_texts().items():
        assert path.read_text(encoding="utf-8") == text, path.name


def test_pictures_are_made_by_the_script():
    source = (ROOT / "docs" / "make.py").read_text(encoding="utf-8")
    for picture in (ROOT / "docs" / "images").iterdir():
        assert f'"{picture.name}"' in source


def test_the_version_is_one():
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'\nversion = "{onnxplain.__version__}"\n' in settings
    assert f"\nversion: {onnxplain.__version__}\n" in citation
