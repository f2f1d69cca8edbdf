"""The walls of the house: who may import whom, what lies where, and what an import costs."""

import ast
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("engine", "graph_passes", "models")
SOURCES = [ROOT / "__init__.py", ROOT / "cli.py"]
SOURCES += sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HEAVY = ("torch", "onnxruntime", "PIL", "rich", "click", "cmap", "onnx_graphsurgeon", "scipy")
MOST_LINES = 400

# What each part may import of the package itself; everybody may have the errors in __init__.py.
MAY_IMPORT = {
    "cli.py": {"engine", "models"},
    "engine": {"engine", "graph_passes", "models"},
    "graph_passes": {"graph_passes"},
    "models": {"models"},
}
# The files that may import a library; nobody else may.
HOMES = {
    "onnxruntime": {"engine/session.py"},
    "PIL": {"engine/images.py", "engine/lettering.py", "engine/pictures.py"},
    "filelock": {"engine/journal.py"},
    "cmap": {"engine/pictures.py"},
    "click": {"cli.py", "engine/terminal.py"},
    "rich": {"engine/terminal.py"},
    "scipy": {name for name in NAMES if name.startswith("engine/metrics/")},
    "quantus": set(),
    "torch": set(),
    "captum": set(),
    "matplotlib": set(),
}


def imports(path, everything=False):
    """Every module that a file imports anywhere, but for type checkers alone (full names).

    Inside the package imports are relative, so that static tools follow them.
    """
    inside = not path.is_relative_to(ROOT / "tests")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set()
    for node in ast.walk(tree):
        guard = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if guard and not everything:
            skipped.update(id(inner) for statement in node.body for inner in ast.walk(statement))
    found = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                folders = ("onnxplain", *path.parent.relative_to(ROOT).parts)
                above = folders[: len(folders) - node.level + 1]
                module = ".".join(filter(None, (*above, module)))
            else:
                assert not (inside and module.split(".")[0] == "onnxplain"), f"{path}: {module}"
            found.append(module)
            found += [f"{module}.{alias.name}" for alias in node.names]
    return found


def part_of(name):
    return name.split("/")[0]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "__init__.py"])
def test_imports_go_one_way(name):
    parts = {
        module.split(".")[1]
        for module in imports(ROOT / name, everything=True)
        if module.startswith("onnxplain.")
    }
    inner = parts & {"cli", *FOLDERS}
    assert inner <= MAY_IMPORT[part_of(name)]


@pytest.mark.parametrize("name", NAMES)
def test_libraries_stay_at_home(name):
    libraries = {module.split(".")[0] for module in imports(ROOT / name)}
    strangers = {lib for lib in libraries & set(HOMES) if name not in HOMES[lib]}
    assert not strangers


def test_graph_passes_know_onnx_and_numpy_only():
    allowed = {"onnx", "onnx_graphsurgeon", "numpy", "onnxplain", *sys.stdlib_module_names}
    files = [path for path in SOURCES if path.is_relative_to(ROOT / "graph_passes")]
    found = {module.split(".")[0] for path in files for module in imports(path, everything=True)}
    assert found <= allowed


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_top_level_is_the_design():
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} == {
        *FOLDERS,
        "tests",
        "__init__.py",
        "cli.py",
        "pyproject.toml",
        "py.typed",
        "README.md",
        "LICENSE",
    }


def test_build_and_type_checkers_see_every_package():
    folders = {path.parent.relative_to(ROOT) for path in SOURCES}
    packages = {".".join(("onnxplain", *folder.parts)) for folder in folders}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(settings["tool"]["setuptools"]["packages"]) == packages
    for name in ("__init__.py", "cli.py", "py.typed", *FOLDERS):
        assert (ROOT / ".types" / "onnxplain" / name).exists()


def test_import_is_light():
    script = (
        "import json, sys, time, numpy, onnx\n"
        "began = time.perf_counter()\n"
        "import onnxplain\n"
        "print(json.dumps([time.perf_counter() - began, sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    seconds, modules = json.loads(done.stdout)
    print(f"import onnxplain: {seconds:.3f} s beyond numpy and onnx")
    assert "onnxplain" in modules
    assert not set(modules) & set(HEAVY)


def test_wheel_holds_the_demo_and_the_type_marker(tmp_path):
    copy = tmp_path / "copy"
    # A build leaves folders of its own in the source tree.
    for name in (*FOLDERS, "__init__.py", "cli.py", "py.typed", "pyproject.toml", "README.md"):
        _copy(ROOT / name, copy / name)
    _copy(ROOT / "LICENSE", copy / "LICENSE")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(tmp_path), str(copy)], check=True)
    (wheel,) = tmp_path.glob("onnxplain-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"onnxplain/{name}" for name in NAMES} | {"onnxplain/py.typed"}
    demo = {f"onnxplain/models/demo/{path.name}" for path in (ROOT / "models/demo").iterdir()}
    assert expected | demo <= names
    assert not [name for name in names if "tests/" in name or name.startswith("engine/")]


def _copy(source, target):
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
