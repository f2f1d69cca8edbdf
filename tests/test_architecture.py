"""The walls of the house: who may import whom, what lies where, and what an import costs."""

import ast
import functools
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import onnx
import pytest
from support.folders import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

FOLDERS = ("engine", "graph_passes", "models")
SOURCES = [ROOT / "__init__.py", ROOT / "cli.py"]
SOURCES += sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HEAVY = (
    "torch",
    "onnxruntime",
    "PIL",
    "rich",
    "click",
    "cmap",
    "onnx_graphsurgeon",
    "scipy",
    "pyarrow",
    "ray",
    "jinja2",
)
MOST_LINES = 400
MOST_OF_A_FUNCTION = 60

# Every folder, from what is asked by all to what asks all: imports go back in this list, never on.
# Everybody may have the errors in __init__.py.
ORDER = (
    "models",
    "graph_passes/graph",
    "graph_passes/rules",
    "graph_passes/prepare/decompositions",
    "graph_passes/prepare",
    "graph_passes/select/positions",
    "graph_passes/select/rows",
    "graph_passes/select",
    "graph_passes/finish",
    "graph_passes/backward",
    "graph_passes/heads",
    "graph_passes/methods",
    "graph_passes",
    "engine/files",
    "engine/targets",
    "engine/running",
    "engine/pictures",
    "engine/inputs",
    "engine",
    "engine/reporting",
    "engine/metrics",
    "engine/evaluating",
    "engine/comparing",
    "engine/commands",
    "engine/batching",
    "engine/commandline",
    ".",
)
# The files that may import a library; nobody else may.
HOMES = {
    "onnxruntime": {
        "engine/running/memory.py",
        "engine/running/optimised.py",
        "engine/running/session.py",
    },
    "PIL": {n for n in NAMES if n.startswith(("engine/inputs/", "engine/pictures/"))},
    "filelock": {"engine/commands/journal.py", "engine/batching/shards.py"},
    "pyarrow": {"engine/batching/tables.py", "engine/batching/shards.py", "engine/batching/ray.py"},
    "ray": {"engine/batching/ray.py"},
    "cmap": {"engine/pictures/heatmap.py", "engine/pictures/matrix_svg.py"},
    "click": {"cli.py", *(n for n in NAMES if n.startswith("engine/commandline/"))},
    "jinja2": {"engine/reporting/html.py"},
    "markupsafe": {"engine/reporting/html.py"},
    "rich": {"engine/commandline/terminal.py"},
    "scipy": {name for name in NAMES if name.startswith(("engine/metrics/", "engine/comparing/"))},
    "quantus": set(),
    "torch": set(),
    "captum": set(),
    "matplotlib": set(),
}


def each(values):
    """A test of all these values, which names every one that fails."""

    def whole(check):
        @functools.wraps(check)
        def test():
            failed = []
            for value in values:
                try:
                    check(value)
                except AssertionError as error:
                    failed.append(f"{value}: {error}")
            assert not failed, "\n".join(failed)

        # Else pytest takes the value for a fixture.
        del test.__wrapped__
        return test

    return whole


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


def folder_of(module):
    """The folder of what a full name means: a package, a module, or a name inside one."""
    place = ROOT.joinpath(*module.split(".")[1:])
    while not place.is_dir():
        place = place.parent
    return place.relative_to(ROOT).as_posix()


@each([name for name in NAMES if name.count("/") or name == "cli.py"])
def test_imports_go_one_way(name):
    own = Path(name).parent.as_posix()
    used = {
        folder_of(module)
        for module in imports(ROOT / name, everything=True)
        if module.startswith("onnxplain.")
    }
    # Of these there is only the docstring.
    used -= {".", "graph_passes", own}
    assert own in ORDER and used <= set(ORDER[: ORDER.index(own)])
    assert not (own.startswith("graph_passes") and "models" in used)


@each(NAMES)
def test_libraries_stay_at_home(name):
    libraries = {module.split(".")[0] for module in imports(ROOT / name)}
    strangers = {lib for lib in libraries & set(HOMES) if name not in HOMES[lib]}
    assert not strangers


def test_graph_passes_know_onnx_and_numpy_only():
    allowed = {"onnx", "onnx_graphsurgeon", "numpy", "onnxplain", *sys.stdlib_module_names}
    files = [path for path in SOURCES if path.is_relative_to(ROOT / "graph_passes")]
    found = {module.split(".")[0] for path in files for module in imports(path, everything=True)}
    assert found <= allowed


@each(SOURCES + TESTS)
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@each(NAMES)
def test_functions_fit_a_screen(name):
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    lines = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions}
    assert not {function: count for function, count in lines.items() if count > MOST_OF_A_FUNCTION}


_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "MatMul", "Neg", "Not", "Abs"}


def test_formulas_are_written_by_operators():
    """`dy * (1 - y * y)`, not `emit.Mul(dy, emit.Sub(1, emit.Mul(y, y)))`."""
    by_name = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in (ROOT / "graph_passes").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in _ARITHMETIC
        and ast.unparse(call.func.value).split(".")[-1].strip("_") in ("emit", "op", "emitter")
    ]
    # What adds terms by a loop keeps their shape by hand.
    assert {where.split(":")[0] for where in by_name} <= {"graph_passes/graph/emitter.py"}, by_name


def test_no_three_files_of_one_name():
    names = [Path(name).name for name in NAMES if Path(name).name != "__init__.py"]
    assert not {name for name in names if names.count(name) > 2}


def test_top_level_is_the_design():
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} == {
        *FOLDERS,
        "docs",
        "tests",
        "__init__.py",
        "cli.py",
        "mkdocs.yml",
        "CITATION.cff",
        "MANIFEST.in",
        "pyproject.toml",
        "py.typed",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
    }


def test_the_source_archive_holds_what_the_repository_does():
    """By MANIFEST.in, beside what setuptools takes by itself; .types is links, which it cannot."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").split()
    by_itself = {"__init__.py", "cli.py", "py.typed", "pyproject.toml", "README.md", "LICENSE"}
    by_itself |= {*FOLDERS, "MANIFEST.in", ".types"}
    top = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert not top - by_itself - set(manifest)


def test_build_and_type_checkers_see_every_package():
    if (ROOT / "PKG-INFO").is_file():
        pytest.skip("a source archive, which has no links for type checkers")
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
    for name in ("LICENSE", "MANIFEST.in", "docs", ".github"):
        _copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(tmp_path), str(copy)], check=True)
    (wheel,) = tmp_path.glob("onnxplain-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"onnxplain/{name}" for name in NAMES} | {"onnxplain/py.typed"}
    demo = {f"onnxplain/models/demo/{path.name}" for path in (ROOT / "models/demo").iterdir()}
    page = {f"onnxplain/engine/reporting/report.{kind}" for kind in ("html", "css", "js")}
    assert expected | demo | page <= names
    strange = ("tests/", "docs/", ".github/", "MANIFEST.in")
    assert not [name for name in names if any(one in name for one in strange)]
    assert not [name for name in names if name.startswith("engine/")]


def _copy(source, target):
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


# Tables of operators that are no traits of a rule: what a pass of that name alone asks.
TABLES = {
    "graph_passes/graph/emitter.py",  # types and shapes of what is emitted; below the rules
    "graph_passes/finish/cuda_opset.py",  # what changed between opsets
    "graph_passes/heads/along.py",  # one question, asked at one place
    "graph_passes/backward/polyphase.py",  # arithmetic that treats pixels alike, beside activations
    "graph_passes/select/ending.py",  # what may follow the scores
    "graph_passes/select/feature_map.py",  # what may follow a product, and what only moves a map
    "graph_passes/select/rows/follow.py",  # what reads sizes alone
    "graph_passes/select/rows/through.py",  # one function each, registered by its operators
    "graph_passes/select/rows/counts.py",  # what computes with sizes alone
    "graph_passes/select/positions/by_operator.py",  # the same
    "graph_passes/select/class_axis.py",  # what leaves classes where they are, or moves them
    "graph_passes/select/channels.py",  # the same of an input's channels
    "graph_passes/select/geometry.py",  # what moves a picture
    "graph_passes/select/logits.py",  # what may stand in a tail
    "graph_passes/graph/evaluated.py",  # what may be evaluated, and the size of what it makes
    "graph_passes/select/typical.py",  # arithmetic of what is evaluated
    "models/meaning.py",  # what reads strings
    "engine/running/answers.py",  # what leaves classes where they are behind the scores
    "engine/metrics/randomised_weights.py",  # what hands a weight on to what reads it
}


@each([name for name in NAMES if name not in TABLES])
def test_traits_stand_at_the_rules(name):
    if name.startswith(("graph_passes/rules/", "graph_passes/prepare/")):
        return  # Rules hold traits; prepare runs before there are rules.
    known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    sets = [n for n in ast.walk(tree) if isinstance(n, ast.Set | ast.Tuple | ast.List)]
    for found in sets:
        named = [e.value for e in found.elts if isinstance(e, ast.Constant) and e.value in known]
        assert len(named) < 3, f"line {found.lineno}: {named}"
