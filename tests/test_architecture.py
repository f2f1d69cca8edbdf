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

from onnxplain.engine.page.writing_page import STATIC

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
    "yaml",
)
MOST_LINES = 400
MOST_OF_A_FUNCTION = 60

# Every folder, from what is asked by all to what asks all: imports go back in this list, never on.
# Everybody may have the errors in __init__.py.
ORDER = (
    "models",
    "models/sources",
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
    "engine/records",
    "engine/inputs",
    "engine/checking",
    "engine",
    "engine/explanation",
    "engine/export",
    "engine/explaining",
    "engine/metrics",
    "engine/evaluating",
    "engine/comparing",
    "engine/reports",
    "engine/page",
    "engine/jobs",
    "engine/jobs/batch",
    "engine/commandline",
    ".",
)
# The files that may import a library; nobody else may.
HOMES = {
    "onnxruntime": {
        "engine/running/process.py",
        "engine/running/optimised.py",
        "engine/running/session.py",
    },
    "PIL": {n for n in NAMES if n.startswith(("engine/inputs/", "engine/pictures/"))},
    "filelock": {"engine/records/lock.py"},
    "pyarrow": {f"engine/jobs/batch/{name}.py" for name in ("tables", "shards", "ray")},
    "ray": {"engine/jobs/batch/ray.py"},
    "yaml": {"models/sources/place.py"},
    "cmap": {"engine/pictures/heatmap.py", "engine/pictures/matrix_svg.py"},
    "click": {"cli.py", *(n for n in NAMES if n.startswith("engine/commandline/"))},
    "jinja2": {"engine/reports/html.py"},
    "markupsafe": {"engine/reports/html.py"},
    "rich": {"engine/commandline/terminal.py"},
    "scipy": {name for name in NAMES if name.startswith(("engine/metrics/", "engine/comparing/"))}
    | {"engine/targets/dense.py", "engine/pictures/outlines.py", "engine/inputs/audio.py"},
    "pydicom": set(),
    "tokenizers": set(),
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


# The engine knows methods by their records; these commands are about one method by name.
OF_ONE_METHOD = {"engine/jobs/trace.py": "deeplift"}


@each([name for name in NAMES if name.startswith("engine/") or name == "cli.py"])
def test_the_engine_knows_no_method(name):
    inside = "onnxplain.graph_passes.methods."
    used = {m.removeprefix(inside).split(".")[0] for m in imports(ROOT / name) if inside in m}
    files = {path.stem for path in (ROOT / "graph_passes/methods").glob("*.py")}
    # What papers say of methods is data, as their records are.
    assert used & files <= {"method", "literature", OF_ONE_METHOD.get(name)}


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
    page = {f"onnxplain/engine/reports/report.{kind}" for kind in ("html", "css", "js")}
    page |= {f"onnxplain/engine/page/{name}" for name in STATIC}
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


# What is true of an operator stands in its row of graph_passes/graph/operators.py. These files name
# several themselves: what is said there is about exactly these, and asked nowhere else.
NAMES_OPERATORS = {
    "graph_passes/graph/evaluated.py": "how much work each operator is: a formula for each",
    "graph_passes/prepare/reading.py": "what did not change between two opsets",
    "graph_passes/prepare/finite.py": "what an infinite weight spoils, contrib operators with it",
    "graph_passes/prepare/optionals.py": "the operators that it takes out",
    "graph_passes/prepare/decompositions/recurrent.py": "gates and activations of three operators",
    "graph_passes/prepare/decompositions/selection.py": "the conditions that it writes as numbers",
    "graph_passes/prepare/decompositions/specification.py": "those that ONNX itself writes out",
    "graph_passes/select/ending.py": "the three forms of a clip",
    "models/meaning.py": "what reads strings",
    "engine/running/answers.py": "how formulae of a probability end",
    "engine/metrics/randomised_weights.py": "whose constants are no weights",
}


@each([name for name in NAMES if name not in NAMES_OPERATORS])
def test_facts_of_operators_stand_in_one_table(name):
    named = {line: found for line, found in sets_of_operators(name).items() if len(found) > 2}
    assert not named


def test_no_file_is_let_off_without_need():
    without = [name for name in NAMES_OPERATORS if not sets_of_operators(name)]
    assert not without


def sets_of_operators(name):
    """Lines of the sets, tuples and lists of a file that name several operators -> these.

    Dictionaries and registrations that give a function for each operator are none.
    """
    known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    found = {}
    registered = {
        id(call.args[0])
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "dict.fromkeys"
    }
    for node in ast.walk(tree):
        if id(node) in registered:
            continue
        if isinstance(node, ast.Set | ast.Tuple | ast.List):
            parts = [e.value if isinstance(e, ast.Starred) else e for e in node.elts]
            inner = [e for p in parts for e in (p.elts if isinstance(p, ast.Tuple) else [p])]
            values = [e.value for e in inner if isinstance(e, ast.Constant) and e.value in known]
        elif isinstance(node, ast.Dict) and all(isinstance(v, ast.Constant) for v in node.values):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            values = [key for key in keys if key in known]
        else:
            continue
        if len(values) > 1:
            found[node.lineno] = max(values, found.get(node.lineno, []), key=len)
    return found
