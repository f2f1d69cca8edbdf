"""explain, demo, export and serve: what the engine makes of a model."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from .defaults import is_typed, leave_out_defaults
from .options import (
    INPUT,
    LIMIT,
    MODEL,
    OUTPUT,
    PREPROCESSING,
    RUNNING,
    RUNTIME,
    SCORE,
    SHAPE,
    STRICT,
    TARGETS,
    VERSUS,
    ForMethods,
    examples,
)
from .terminal import WAIT, complain, print_json, print_lines, progress_bar, quietly, say


@click.command(
    cls=ForMethods,
    choose="several",
    epilog=examples(
        "onnxplain explain model.onnx cat.jpg dog.jpg -o out",
        "onnxplain explain model.onnx cat.jpg -m grad-cam -t 'tabby cat' -t rank2",
        "onnxplain explain model.onnx photos -r -m grad-cam --no-pictures --resume",
        "onnxplain explain model.onnx signal.npy -m deeplift --baseline 0.5",
        "onnxplain explain face.onnx anna.jpg --versus anna_2019.jpg",
    ),
)
@MODEL
@click.argument("images", nargs=-1, required=True, type=click.Path(), metavar="IMAGE...")
@click.option("-r", "--recursive", is_flag=True, help="Also take folders in folders.")
@TARGETS
@click.option("--all", "every", is_flag=True, help="Each box that a detector found, as -t all.")
@SCORE
@VERSUS
@INPUT
@OUTPUT
@SHAPE
@PREPROCESSING
@STRICT
@click.option("--no-pictures", is_flag=True, help="Write arrays and records only.")
@click.option(
    "--smooth",
    type=click.FloatRange(0),
    metavar="SIGMA",
    help="Draw the positive evidence only, blurred by so many pixels of the input.",
)
@click.option(
    "--detail",
    type=click.Choice(["regions", "pixels"]),
    default="regions",
    show_default=True,
    help="How maps with a number for each pixel are drawn: the net evidence of regions, or pixels.",
)
@click.option("--open", "open_it", is_flag=True, help="Show the first picture when all is done.")
@click.option(
    "--report", is_flag=True, help="Also write report.html: all of it as one page, to be opened."
)
@click.option(
    "--resume",
    is_flag=True,
    help="Leave out what DIR has on record, unless its files are gone or its image has changed.",
)
@RUNNING
def explain(model: str, images: tuple[str, ...], every: bool, **chosen: Any) -> int:
    """Explain what MODEL looked at in each IMAGE: a file, a folder, a quoted pattern, or - (stdin).

    A .npy file, or .npz with one array, is an input as MODEL takes it: a vector, a signal ...

    Writes a picture and an array for each image, method and target, and one results.json, to which
    later runs add. What is finished is on record at once (results.jsonl), however a run ends.
    """
    if every:
        chosen["targets"] = (*chosen["targets"], "all")
    return _explain(model, images, **chosen)


@click.command(
    cls=ForMethods,
    without=("baseline", "layer"),
    short_help="Explain the shipped model on its two photos.",
    epilog=examples("onnxplain demo", "onnxplain demo -o out --steps 200"),
)
@RUNNING
def demo(**chosen: Any) -> int:
    """Explain the shipped model on its two photos by the default methods, and draw one panel."""
    from ...models.shipped import demo_model, demo_photos

    photos = [str(path) for path in demo_photos()]
    return _explain(str(demo_model()), photos, panel="panel.png", **chosen)


def _explain(
    model: str,
    images: Sequence[str],
    *,
    folder: str,
    as_json: bool,
    quiet: bool,
    profile: bool,
    no_pictures: bool = False,
    smooth: float | None = None,
    panel: str | None = None,
    resume: bool = False,
    recursive: bool = False,
    open_it: bool = False,
    report: bool = False,
    detail: str = "regions",
    **chosen: Any,
) -> int:
    from ..jobs.asked import options_from
    from ..jobs.explain import Output, explain_files
    from ..jobs.results import closing_line, record_lines
    from ..records.record import Failure, Record
    from ..running.stopwatch import profile_rows

    def files_of(results: Sequence[Record | Failure]) -> list[str]:
        return [name for one in results if isinstance(one, Record) for name in one.files]

    def show(results: Sequence[Record | Failure]) -> None:
        records = [one for one in results if isinstance(one, Record)]
        print_lines(record_lines(records), folder, files_of(results))

    # Where nobody sees a bar, each image's lines are there as soon as it is done.
    at_once = not as_json and not quiet and not sys.stdout.isatty()
    output = Output(not no_pictures, panel, resume, recursive, smooth, report, detail)
    with quietly(quiet), progress_bar(quiet) as tell:
        done = explain_files(
            model, images, folder, options_from(chosen), tell, output, show if at_once else None
        )
    for note in done.problems if quiet else done.notes:
        complain(note)
    if as_json:
        print_json(done.records)
    elif (done.done or (report and done.resumed)) and not quiet:
        if not at_once:
            show(done.results)
        say(closing_line(folder, output))
    pictures = [panel] if panel else files_of(done.results)
    shown_first = next((f for f in pictures if f.endswith(".png")), None)
    if open_it and shown_first is not None:
        click.launch(os.path.join(folder, shown_first))
    if profile:
        for name, text in profile_rows(done.seconds):
            say(f"{name:8}{text}", error=True)
    return done.status


def sides_in(text: str) -> tuple[int, int]:
    """Height and width of "480,640".

    Raises:
        click.UsageError: it is no such text.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(part.isdecimal() and part.isascii() for part in parts):
        raise click.UsageError(f"--image-size: expected H,W as in 480,640, got {text!r}")
    return int(parts[0]), int(parts[1])


@click.command(
    cls=ForMethods,
    choose="file",
    short_help="Write prediction and explanation as one ONNX file, or as a page.",
    epilog=examples(
        "onnxplain export model.onnx -m grad-cam -o explained.onnx",
        "onnxplain export model.onnx -m deeplift -o explained.onnx --baseline white",
        "onnxplain export model.onnx -m integrated-gradients -o explained.onnx --baseline-input",
        "onnxplain export model.onnx -m grad-cam -o explained.onnx --target top1",
        "onnxplain export model.onnx -m grad-cam -m deeplift -o both.onnx",
        "onnxplain export model.onnx -m grad-cam -o explained.onnx --preprocess --picture",
        "onnxplain export model.onnx -m grad-cam -o explained.onnx --opset 17",
        "onnxplain export model.onnx -m grad-cam -o explained.onnx --static --target top1",
        "onnxplain export model.onnx -m ig -o explained.onnx --static --calibrate photos",
        "onnxplain export model.onnx -m grad-cam -m deeplift --page site",
    ),
)
@MODEL
@click.option("-o", "--output-file", "file", metavar="FILE", help="File to write.")
@click.option(
    "--page",
    metavar="DIR",
    help="Write a web page that explains photos in the browser, instead of a file. onnxplain "
    "serve shows the same page at once.",
)
@RUNTIME
@click.option("--baseline-input", is_flag=True, help="Make the baseline an input of the file.")
@click.option(
    "-t",
    "--target",
    metavar="TARGET",
    # Who sets ONNXPLAIN_TARGET for photos does not mean the file.
    allow_from_autoenv=False,
    help="Explain this for every input: top1, a class index, a label, box1 (the strongest box), or "
    "index:1,20,30. The file then has the model's own inputs. Default: an input 'target'.",
)
@click.option(
    "--preprocess",
    is_flag=True,
    help="Take a photo of any size (with --static of --image-size) as the input, uint8 [H, W, 3] "
    "in RGB: the file resizes and normalises it as the card says.",
)
@click.option(
    "--picture",
    is_flag=True,
    help="Return the overlay, too: 'picture', uint8 [N, H, W, 3].",
)
@click.option(
    "--opset",
    type=int,
    metavar="N",
    help="Write the file in this opset (11 to 26), for older runtimes. Default: 21, or MODEL's own "
    "where that is newer.",
)
@click.option(
    "--static",
    is_flag=True,
    help="Fix every length and write loops out, for OpenVINO, TensorRT, NPUs and phones. The file "
    "takes inputs of one shape: MODEL's, --shape's where it leaves one open, and one input at a "
    "time where it leaves the batch open.",
)
@click.option(
    "--image-size",
    metavar="H,W",
    callback=lambda context, option, text: None if text is None else sides_in(text),
    help="With --static --preprocess: height and width of the photos that the file takes. Default: "
    "those of the model's input.",
)
@click.option(
    "--calibrate",
    multiple=True,
    metavar="PHOTO",
    help="With --static and integrated-gradients: choose the file's fixed points so that they "
    "serve these photos, or folders of them, and say how far off they are.",
)
@OUTPUT
@SHAPE
@PREPROCESSING
@LIMIT
def export(model: str, **chosen: Any) -> int:
    """Write MODEL as one ONNX file that returns its prediction and its explanation.

    With --page: write a folder that any web server can hand out. Its page takes a photo, runs such
    files in the browser and shows answer and overlay; no photo leaves the browser.
    """
    _leave_out_defaults_of_export(chosen)
    file, page, runtime = (chosen.pop(name) for name in ("file", "page", "runtime"))
    if (file is None) == (page is None):
        raise click.UsageError("expected one of -o FILE and --page DIR")
    if page is not None:
        return _export_page(model, page, runtime, **chosen)
    if runtime is not None:
        raise click.UsageError("--runtime is for --page")
    return _export_file(model, str(file), **chosen)


def _leave_out_defaults_of_export(chosen: dict[str, Any]) -> None:
    """What the environment says of a file where a page is asked for, and the like."""
    if is_typed("page") and not is_typed("file"):
        leave_out_defaults(chosen, ("file", *_OF_A_FILE))
    elif is_typed("file"):
        leave_out_defaults(chosen, ("page",))
    if chosen["page"] is None:
        leave_out_defaults(chosen, ("runtime",))
    if is_typed("baseline_input"):
        leave_out_defaults(chosen, ("baseline",))
    elif is_typed("baseline"):
        leave_out_defaults(chosen, ("baseline_input",))
    if not chosen["static"]:
        leave_out_defaults(chosen, ("calibrate", "image_size"))
    if not chosen["preprocess"]:
        leave_out_defaults(chosen, ("image_size",))


def _export_file(model: str, file: str, **chosen: Any) -> int:
    from ..export.calibration import said_of
    from ..export.facts import facts_in
    from ..export.opsets import read_by
    from ..files.model_files import is_stdout
    from ..jobs.export import export_file

    with progress_bar(wait=WAIT) as tell:
        exported = export_file(model, file, tell=tell, **chosen)
    inputs = ", ".join(value.name for value in exported.graph.input)
    outputs = ", ".join(value.name for value in exported.graph.output)
    said = f"{file}: inputs {inputs}; outputs {outputs}; {read_by(exported)}"
    say(said, error=is_stdout(file))
    for line in said_of(facts_in(exported)):
        say(f"{file}: {line}", error=is_stdout(file))
    return 0


# What a page decides itself.
_OF_A_FILE = (
    *("baseline_input", "target", "preprocess", "picture", "opset", "static", "calibrate"),
    "image_size",
)


def _export_page(model: str, folder: str, runtime: str | None, **chosen: Any) -> int:
    from ..jobs.page import page_of_model

    given = [name for name in _OF_A_FILE if chosen.pop(name)]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"{names}: for -o FILE, not for --page")
    with progress_bar(wait=WAIT) as tell:
        made = page_of_model(model, folder, runtime=runtime, tell=tell, **chosen)
    say(f"{folder}: a page with {', '.join(made)}; serve the folder with any web server")
    return 0


@click.command(
    cls=ForMethods,
    choose="several",
    short_help="Show a page on this machine that explains photos in the browser.",
    epilog=examples(
        "onnxplain serve model.onnx --open",
        "onnxplain serve model.onnx -m grad-cam -m rise --port 9000",
        "onnxplain serve model.onnx --runtime node_modules/onnxruntime-web",
    ),
)
@MODEL
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    metavar="N",
    help="Port on 127.0.0.1; 0 takes a free one.",
)
@click.option("--open", "open_it", is_flag=True, help="Open the page in the browser.")
@RUNTIME
@OUTPUT
@SHAPE
@PREPROCESSING
@LIMIT
def serve(model: str, port: int, open_it: bool, **chosen: Any) -> int:
    """Show a page that explains photos by MODEL in the browser; Ctrl-C ends it.

    Only this machine can reach the page, at 127.0.0.1. Photos stay in the browser. The page runs on
    onnxruntime-web, which is fetched once (33 MB) from the npm registry, unless --runtime says
    where it is.
    """
    from tempfile import TemporaryDirectory

    from ..jobs.page import page_of_model
    from ..page.server import LOOPBACK, served

    with TemporaryDirectory(prefix="onnxplain-page-") as folder, served(folder, port) as server:
        with progress_bar(wait=WAIT) as tell:
            page_of_model(model, folder, tell=tell, **chosen)
        address = f"http://{LOOPBACK}:{server.server_port}/"
        say(f"{address} (Ctrl-C ends it)")
        sys.stdout.flush()
        if open_it:
            click.launch(address)
        server.serve_forever()
    return 0
