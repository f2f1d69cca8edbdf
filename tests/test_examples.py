"""Every public name, and every public method of what it returns, has an example that runs."""

import doctest
import inspect

import numpy as np
import pytest
from support.digits import digit, write_model, write_photo

import onnxplain

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


def public():
    """Each public thing by its dotted name."""
    for name in onnxplain.__all__:
        thing = getattr(onnxplain, name)
        yield name, thing
        if not inspect.isclass(thing) or issubclass(thing, Exception):
            continue
        for member, value in inspect.getmembers_static(thing):
            own = getattr(value, "__func__", value)
            if member == "__call__" or not member.startswith("_"):
                owner = next(base for base in thing.__mro__ if member in vars(base))
                if owner.__module__.startswith("onnxplain") and inspect.isfunction(own):
                    yield f"{name}.{member}", own


PUBLIC = dict(public())


def test_each_has_an_example():
    assert {"Explainer.explain", "Explainer.verify", "Explanation.top", "Drift.checks"} <= set(
        PUBLIC
    )
    assert not [name for name, thing in PUBLIC.items() if ">>> " not in (thing.__doc__ or "")]


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A folder with the files that examples name, and what they call their results."""
    folder = tmp_path_factory.mktemp("examples")
    model = write_model(folder)
    (folder / "other.onnx").write_bytes(model.read_bytes())
    (folder / "other.json").write_bytes(model.with_suffix(".json").read_bytes())
    write_photo(folder / "seven.png", 7)
    write_photo(folder / "three.png", 3)
    return folder, {"onnxplain": onnxplain, "np": np, "x": digit(7)}


def made(names, known, source):
    """What the examples of other docstrings make, as far as this one uses it."""
    makes = {
        "explainer": lambda: onnxplain.Explainer("digits.onnx"),
        "e": lambda: onnxplain.Explainer("digits.onnx").explain("seven.png"),
        "comparison": lambda: onnxplain.compare("digits.onnx", ["seven.png"], ["grad-cam"]),
        "drift": lambda: onnxplain.compare(
            "digits.onnx", ["seven.png"], ["grad-cam"], against="other.onnx"
        ),
        "evaluation": lambda: onnxplain.evaluate(
            "digits.onnx", ["seven.png"], ["deeplift"], ["deletion"]
        ),
    }
    used = {node for line in source for node in compile(line, "example", "single").co_names}
    for name, make in makes.items():
        if name in used and name not in names:
            known[name] = names[name] = make()


@pytest.mark.parametrize("name", PUBLIC)
def test_examples_run(name, known, monkeypatch):
    folder, names = known
    monkeypatch.chdir(folder)
    thing = PUBLIC[name]
    parsed = doctest.DocTestParser().get_doctest(thing.__doc__ or "", {}, name, None, None)
    assert parsed.examples
    made(names, dict(names), [example.source for example in parsed.examples])
    parsed.globs = dict(names)
    failures = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    runner.run(parsed, out=failures.append)
    assert not runner.failures, "".join(failures)
