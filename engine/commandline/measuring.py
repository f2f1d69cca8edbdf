"""compare and evaluate: which map to believe, and what changed."""

from __future__ import annotations

import os
from typing import Any

import click

from .defaults import is_typed
from .options import (
    AS_JSON,
    EVALUATION,
    INPUT,
    LIMIT,
    MODEL,
    OUTPUT,
    PREPROCESSING,
    PROVIDER,
    SHAPE,
    STRICT,
    TARGET,
    VERSUS,
    ForMethods,
    examples,
)
from .terminal import complain_of, print_json, progress_bar, say

# What judges files that are held against another one.
_GATES = ("fail_under", "fail_on_flip", "junit")


@click.command(
    cls=ForMethods,
    choose="several",
    without=("seed",),
    short_help="Measure how faithful each method is on this model.",
    epilog=examples(
        "onnxplain evaluate model.onnx photos -o out",
        "onnxplain evaluate model.onnx photos -o out -m lrp --metric srg --metric road",
        "onnxplain evaluate model.onnx photos -o out --boxes boxes.json",
    ),
)
@MODEL
@click.argument("images", nargs=-1, required=True, type=click.Path(), metavar="IMAGE...")
@click.option("-o", "--output-dir", "folder", required=True, metavar="DIR", help="Where to write.")
@EVALUATION
@TARGET
@VERSUS
@INPUT
@OUTPUT
@SHAPE
@PREPROCESSING
@STRICT
@PROVIDER
@LIMIT
@AS_JSON
def evaluate(
    model: str, images: tuple[str, ...], folder: str, target: str, as_json: bool, **chosen: Any
) -> int:
    """Measure how faithful each method is on MODEL, beside a random map and an edge detector.

    Writes evaluation.json, curves.svg and report.html.
    """
    from ..files.writing import writable_folder
    from ..jobs.asked import options_from
    from ..jobs.evaluate import evaluate_files, questions_from
    from ..reports.evaluation_page import report_lines

    writable_folder(folder)
    questions, more = questions_from(chosen)
    options = options_from({**more, "targets": (target,)})
    with progress_bar() as tell:
        found = evaluate_files(model, images, options, questions, tell)
    found.save(folder)
    complain_of(found.notes)
    if as_json:
        print_json(found.to_dict()["records"])
    else:
        for line in report_lines(found, folder):
            say(line)
    return found.status


@click.command(
    cls=ForMethods,
    choose="several",
    without=("baseline",),
    short_help="Put methods side by side; or two files of a model.",
    epilog=examples(
        "onnxplain compare model.onnx cat.jpg dog.jpg -o out",
        "onnxplain compare model.onnx cat.jpg -o out -m grad-cam -m lrp -m occlusion",
        "onnxplain compare model.onnx photos -o out --against int8.onnx --fail-on-flip",
    ),
)
@MODEL
@click.argument("images", nargs=-1, required=True, type=click.Path(), metavar="IMAGE...")
@click.option("-o", "--output-dir", "folder", required=True, metavar="DIR", help="Where to write.")
@click.option(
    "--against",
    multiple=True,
    metavar="OTHER",
    help="Another file of the model: what changed from MODEL to it; repeatable.",
)
@click.option(
    "--fail-under",
    type=click.FloatRange(-1, 1),
    metavar="R",
    help="With --against: status 1 where the mean Spearman of a method's maps is lower: of each "
    "method named with -m, of Grad-CAM where none is.",
)
@click.option(
    "--fail-on-flip", is_flag=True, help="With --against: status 1 where a top class changed."
)
@click.option(
    "--junit",
    metavar="FILE",
    help="With --against: also write what passed and failed as JUnit XML, for CI.",
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="CHOICE",
    help="black, white, mean, blur or a file; the first is what maps are against, more are tried. "
    "Default: those four; of arrays, zeros.",
)
@TARGET
@VERSUS
@INPUT
@click.option("-r", "--recursive", is_flag=True, help="Also take folders in folders.")
@OUTPUT
@SHAPE
@PREPROCESSING
@STRICT
@PROVIDER
@LIMIT
@AS_JSON
def compare(
    model: str,
    images: tuple[str, ...],
    folder: str,
    against: tuple[str, ...],
    fail_under: float | None,
    fail_on_flip: bool,
    junit: str | None,
    as_json: bool,
    **chosen: Any,
) -> int:
    """Put what methods say of MODEL side by side, and measure what the literature says of them.

    With --against: what changed from MODEL to other files of it. Writes report.html, panel.png,
    panel.svg, table.md and comparison.json.
    """
    from ..comparing.drift import Drift
    from ..files.writing import writable_folder
    from ..jobs.compared import compare_as_asked

    if not against:
        typed = next((name for name in _GATES if is_typed(name)), None)
        if typed is not None:
            raise click.UsageError(f"--{typed.replace('_', '-')} goes with --against")
        fail_under, fail_on_flip, junit = None, False, None
    writable_folder(folder)
    if junit is not None:
        writable_folder(os.path.dirname(junit) or os.curdir)
        if os.path.isdir(junit):
            raise click.UsageError(f"--junit: expected a file, got the folder {junit!r}")
    with progress_bar() as tell:
        found = compare_as_asked(model, images, {**chosen, "against": against}, tell)
    found.save(folder)
    complain_of(found.notes)
    if as_json:
        print_json(found.to_dict())
    else:
        for line in found.lines(folder):
            say(line)
    if not isinstance(found, Drift):
        return found.status
    for line in found.verdict_lines(fail_under, fail_on_flip):
        say(line, error=as_json)
    if junit is not None:
        found.save_junit(junit, fail_under, fail_on_flip)
    return found.verdict(fail_under, fail_on_flip)
