"""What is typed: pages know results, and `Any` stands for what may be anything, no more."""

from __future__ import annotations

import ast

from support.folders import ROOT

ENGINE = sorted((ROOT / "engine").rglob("*.py"))
# Arguments that may be anything, by their names, and why.
ANYTHING = {
    # Handed in by people, and checked where it arrives.
    **dict.fromkeys(("x", "image", "photo", "images_or_arrays", "paths", "path"), "an input"),
    **dict.fromkeys(("photos", "calibrate"), "several inputs, or an array of them"),
    **dict.fromkeys(("target", "one"), "a class, a tuple, a text, an array, or a list of these"),
    **dict.fromkeys(
        ("baseline", "given", "labels", "model", "seed", "versus"), "what people hand in"
    ),
    **dict.fromkeys(("attribution", "explanation"), "an explanation or an array"),
    **dict.fromkeys(("regions", "masks", "boxes", "box"), "places, in one of several forms"),
    # Read from files of other people's making, and checked there.
    **dict.fromkeys(("content", "axis", "names", "name", "source"), "read, not yet checked"),
    # Looked into by nobody between the two who know it.
    **dict.fromkeys(("thing", "result", "shapes"), "its maker's own"),
    **dict.fromkeys(("value", "values", "a", "b"), "of any type"),
    "chunk": "a library's own",
}
# What returns anything: as above.
RETURNS = {
    "_arrays", "_bar", "_finalized", "_moved", "_named", "_one_or_several",
    "_or_default", "_in_arrays", "_shapes", "_taken_apart", "convert", "get",
    "in_arrays", "known", "moved", "numbers_in", "own", "plain", "read", "restored",
}  # fmt: skip


def signatures():
    """(file, function) of all of the engine."""
    for path in ENGINE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path.relative_to(ROOT).as_posix(), node


def anything(annotation):
    return annotation is not None and ast.unparse(annotation) in ("Any", "Any | None")


def arguments(function):
    args = function.args
    return [*args.posonlyargs, *args.args, *args.kwonlyargs]


def test_any_is_what_may_be_anything():
    known = [
        f"{path}: {function.name}({argument.arg})"
        for path, function in signatures()
        for argument in arguments(function)
        if anything(argument.annotation) and argument.arg not in ANYTHING
    ]
    known += [
        f"{path}: {function.name}() -> Any"
        for path, function in signatures()
        if anything(function.returns) and function.name not in RETURNS
    ]
    assert not known


def test_no_name_is_let_off_without_need():
    names = {a.arg for _, f in signatures() for a in arguments(f) if anything(a.annotation)}
    returns = {f.name for _, f in signatures() if anything(f.returns)}
    assert (set(ANYTHING) - names, RETURNS - returns) == (set(), set())


def test_results_go_up_to_their_pages_by_one_door():
    """Pages import results, never the other way; one file looks a saved result's writers up."""
    called = [
        (path.relative_to(ROOT).as_posix(), ast.unparse(call.args[0]))
        for path in ENGINE
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func).split(".")[-1] in ("import_module", "__import__")
    ]
    up = [(path, name) for path, name in called if name.strip("'\"").startswith("..")]
    assert up == [("engine/files/pages.py", "'...reports.saving'")]


def test_no_caption_is_parsed_back():
    """What a text is made of is handed on beside it."""
    names = {"text", "caption", "keep", "title", "subtitle"}
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in ENGINE
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("strip", "lstrip", "rstrip", "removeprefix", "removesuffix")
        and (
            (isinstance(call.func.value, ast.Attribute) and call.func.value.attr in names)
            or (
                isinstance(call.func.value, ast.Call)
                and ast.unparse(call.func.value.func).endswith(("_text", "drawn_score", "texts_of"))
            )
        )
    ]
    assert not found
