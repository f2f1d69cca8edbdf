"""batch: many images, as rows in a folder of shards."""

from __future__ import annotations

import importlib.util
import time
from typing import TYPE_CHECKING, Any

import click

from ... import OnnxplainError
from ...models.text import counted
from .defaults import leave_out_defaults
from .options import (
    INPUT,
    LIMIT,
    MODEL,
    OUTPUT,
    PREPROCESSING,
    PROVIDER,
    SCORE,
    SHAPE,
    STRICT,
    TARGETS,
    VERSUS,
    ForMethods,
    examples,
)
from .terminal import complain, complain_of, progress_bar, say

if TYPE_CHECKING:
    from ..jobs.batch.batch import Report
    from ..jobs.batch.question import Form


@click.command(
    cls=ForMethods,
    choose="several",
    short_help="Explain many images, into Parquet files.",
    epilog=examples(
        "onnxplain batch model.onnx photos -o out -m grad-cam",
        "onnxplain batch model.onnx photos.parquet -o out -m grad-cam --grid 14x14 --resume",
        "onnxplain batch model.onnx photos -o out -m grad-cam --ray 10.0.0.1:6379",
    ),
)
@MODEL
@click.argument("source", type=click.Path())
@click.option(
    "-o", "--output-dir", "folder", required=True, metavar="OUT", help="Folder for the shards."
)
@TARGETS
@SCORE
@VERSUS
@INPUT
@click.option("--column", metavar="NAME", help="Of a table: where the images are.")
@click.option("--resume", is_flag=True, help="Go on where an earlier run into OUT has stopped.")
@click.option("--grid", metavar="HxW", help="Pool attributions to so many cells, by their mean.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="How attributions are stored.",
)
@click.option("--no-attributions", is_flag=True, help="Store scores only.")
@click.option("--pictures", is_flag=True, help="Write overlays, too, to OUT/_pictures.")
@click.option(
    "--fast-decode",
    is_flag=True,
    help="Decode JPEG files that are far larger than the input at 1/2, 1/4 or 1/8 of their size: "
    "up to 8 times as fast, but other pixels. The manifest says so.",
)
@click.option(
    "--shard",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    metavar="N",
    help="Images of a shard: so many a killed run does again.",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Processes that explain; 0: this one does it all. Default: one for each core.",
)
@click.option(
    "--decoders",
    type=click.IntRange(0),
    metavar="N",
    help="Processes that decode. Default: on a CPU those that explain decode, too.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="ONNX Runtime's in each process. Default: cores / workers.",
)
@click.option(
    "--ray",
    "address",
    is_flag=False,
    flag_value="",
    metavar="[ADDRESS]",
    help="Run on a Ray cluster: the one at ADDRESS, or a new one on this machine.",
)
@OUTPUT
@SHAPE
@PREPROCESSING
@STRICT
@PROVIDER
@LIMIT
def batch(model: str, source: str, **chosen: Any) -> int:
    """Explain what MODEL looked at in each image of SOURCE, into Parquet files in OUT.

    SOURCE is a folder with all in it, a quoted pattern, a .txt file with a path a line, or a
    Parquet or Arrow table with a column of images' bytes or paths. OUT/part-00000.parquet and so on
    have a row for each image, method and target; an image that fails is a row with its error.
    """
    _require("pyarrow", "batch")
    address = chosen.pop("address")
    if address is not None:
        return _on_ray(model, source, address, chosen)
    from ..jobs.asked import options_from
    from ..jobs.batch.batch import Running, explain_batch

    names = ("resume", "shard", "workers", "decoders", "column")
    running = Running(**{name: chosen.pop(name) for name in names})
    folder, form = chosen.pop("folder"), _form(chosen)
    with progress_bar() as tell:
        report = explain_batch(model, source, folder, options_from(chosen), form, running, tell)
    return _told(report, folder)


def _told(report: Report, folder: str) -> int:
    """Say what a batch did."""
    complain_of(report.notes)
    for text in [*report.damaged, *report.errors]:
        complain(text)
    if report.damaged and report.damages > len(report.damaged):
        more = counted(report.damages - len(report.damaged), "more image")
        complain(f"{more} with a damaged file")
    more = report.failed - len(report.errors)
    if more > 0:
        rows = counted(more, "more row" if report.errors else "row")
        complain(f"{rows} with an error: column error")
    if report.stopped is not None:
        complain(report.stopped)
    rate = report.done / report.seconds if report.seconds else 0.0
    resumed = f", {report.resumed} there before" if report.resumed else ""
    done, of = report.shards
    rows, images = counted(report.failed, "row"), counted(report.done)
    say(
        f"{folder}: {images}{resumed}, {done} of {counted(of, 'shard')}, {rows} "
        f"with an error; {report.seconds:.1f} s, {rate:.1f} images a second"
    )
    return report.status


def _form(chosen: dict[str, Any]) -> Form:
    from ..jobs.batch.question import Form, parse_grid

    grid, without = chosen.pop("grid"), chosen.pop("no_attributions")
    return Form(
        chosen.pop("dtype"),
        None if grid is None else parse_grid(grid),
        not without,
        chosen.pop("pictures"),
        chosen.pop("fast_decode"),
    )


def _on_ray(model: str, source: str, address: str, chosen: dict[str, Any]) -> int:
    """The same by Ray, which has its own names for shards, and no --resume."""
    leave_out_defaults(chosen, ("resume", "pictures"))
    for name in ("resume", "pictures"):
        if chosen[name]:
            raise click.UsageError(f"--{name} and --ray do not go together")
    _require("ray", "ray")
    from ..jobs.asked import options_from
    from ..jobs.batch.ray import explain_on_cluster

    actors, column, threads = (chosen.pop(name) for name in ("workers", "column", "threads"))
    for name in ("resume", "shard", "decoders"):
        del chosen[name]
    folder, form = chosen.pop("folder"), _form(chosen)
    options = options_from({**chosen, "threads": threads or 1})
    began = time.perf_counter()
    report = explain_on_cluster(
        model, source, folder, options, form, address, column, actors, threads or 1
    )
    report.seconds = time.perf_counter() - began
    return _told(report, folder)


def _require(library: str, extra: str) -> None:
    """Refuse to go on without a library that is not always installed."""
    if importlib.util.find_spec(library) is None:
        raise OnnxplainError(
            f"this needs {library}, which is not installed: pip install 'onnxplain[{extra}]'"
        )
