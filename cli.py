"""The command line: parses, calls the engine once for each command, prints."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # `python cli.py` in a checkout: make this folder importable under the package's name.
    import importlib.util

    root = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        "onnxplain", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["onnxplain"] = package
    spec.loader.exec_module(package)
    __package__ = "onnxplain"

import io
import json
import os
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import click

from . import OnnxplainError, __version__
from .engine.commands.terminal import (
    ForMethods,
    complain,
    evaluation_options,
    limit_option,
    log_to_stderr,
    print_table,
    progress_bar,
)
from .engine.files.writing import reason_of
from .engine.running.stopping import Stopped, stopping
from .models.text import shown, shown_json

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_DEBUG = "ONNXPLAIN_DEBUG"


def _examples(*lines: str) -> str:
    """Examples for the end of a help text, one on each line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _options(*options: Callable) -> Callable:
    """Several options as one decorator, in the order of the help text."""

    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_model = click.argument("model", type=click.Path())
_card = click.option(
    "--card",
    metavar="FILE",
    help="Model card (JSON): how an image becomes the input. Default: MODEL's name with .json, or "
    "its metadata.",
)


_provider = click.option(
    "--provider",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="Where ONNX Runtime runs.",
)
_labels = click.option("--labels", metavar="FILE", help="Text file of class labels, one a line.")
_json = click.option("--json", "as_json", is_flag=True, help="Print the records as JSON.")
_running = _options(
    click.option(
        "-o",
        "--output-dir",
        "folder",
        default="explanations",
        show_default=True,
        metavar="DIR",
        help="Folder for pictures, arrays and results.json.",
    ),
    _provider,
    limit_option,
    click.option("--profile", is_flag=True, help="Say where the time went (on stderr)."),
    _json,
)


@click.group(
    help="Explain what an exported ONNX model looked at.\n\n\b\n"
    "Exit status:\n"
    "  0  all done\n"
    "  1  some images failed; the others are written\n"
    "  2  wrong usage, or a model that is unreadable or unsupported\n"
    "  128 + N  stopped by signal N (130: Ctrl-C); what was finished is on record",
    context_settings=_HELP,
    epilog=_examples(
        "onnxplain demo",
        "onnxplain explain model.onnx photo.jpg",
        "onnxplain inspect model.onnx",
        "onnxplain export model.onnx -m grad-cam -o explained.onnx",
    ),
)
@click.version_option(__version__, prog_name="onnxplain")
def cli() -> None:
    """Hold the commands."""


@cli.command(
    cls=ForMethods,
    choose="several",
    epilog=_examples(
        "onnxplain explain model.onnx cat.jpg dog.jpg -o out",
        "onnxplain explain model.onnx cat.jpg -m grad-cam -t 'tabby cat' -t top2",
        "onnxplain explain model.onnx photos -r -m grad-cam --no-pictures --resume",
    ),
)
@_model
@click.argument("images", nargs=-1, required=True, type=click.Path(), metavar="IMAGE...")
@click.option("-r", "--recursive", is_flag=True, help="Also take folders in folders.")
@click.option(
    "-t",
    "--target",
    "targets",
    multiple=True,
    default=("top1",),
    show_default=True,
    metavar="TARGET",
    help="Class index, label, top1, top2 ..., or an index tuple such as 1,20,30; repeatable.",
)
@_card
@_labels
@click.option("--no-pictures", is_flag=True, help="Write arrays and records only.")
@click.option(
    "--resume",
    is_flag=True,
    help="Leave out what DIR has on record, unless its files are gone or its image has changed.",
)
@_running
def explain(model: str, images: tuple[str, ...], **chosen: Any) -> int:
    """Explain what MODEL looked at in each IMAGE: a file, a folder, or a quoted pattern.

    Writes a picture and an array for each image, method and target, and one results.json, to which
    later runs add. What is finished is on record at once (results.jsonl), however a run ends.
    """
    return _explain(model, images, **chosen)


@cli.command(
    cls=ForMethods,
    without=("baseline", "layer"),
    short_help="Explain the shipped model on its two photos.",
    epilog=_examples("onnxplain demo", "onnxplain demo -o out --steps 200"),
)
@_running
def demo(**chosen: Any) -> int:
    """Explain the shipped model on its two photos, by all methods, and draw one panel."""
    from .models.shipped import demo_model, demo_photos

    photos = [str(path) for path in demo_photos()]
    return _explain(str(demo_model()), photos, panel="panel.png", **chosen)


def _explain(
    model: str,
    images: Sequence[str],
    *,
    folder: str,
    as_json: bool,
    profile: bool,
    no_pictures: bool = False,
    panel: str | None = None,
    resume: bool = False,
    recursive: bool = False,
    **chosen: Any,
) -> int:
    from .engine.commands.explain import Output, explain_files
    from .engine.commands.image_explainer import options_from
    from .engine.commands.results import closing_line, record_lines
    from .engine.running.stopwatch import profile_rows

    def show(records: list[dict[str, Any]]) -> None:
        click.echo("".join(f"{shown(line)}\n" for line in record_lines(records)), nl=False)

    # Where nobody sees a bar, each image's lines are there as soon as it is done.
    at_once = not as_json and not sys.stdout.isatty()
    output = Output(not no_pictures, panel, resume, recursive)
    with progress_bar() as tell:
        report = explain_files(
            model, images, folder, options_from(chosen), tell, output, show if at_once else None
        )
    for note in report.notes:
        complain(note)
    if as_json:
        click.echo(shown_json(json.dumps(report.records, indent=2, ensure_ascii=False)))
    elif report.done:
        if not at_once:
            show(report.records)
        click.echo(shown(closing_line(folder, output)))
    if profile:
        for name, text in profile_rows(report.seconds):
            click.echo(f"{name:8}{text}", err=True)
    return report.status


@cli.command(
    cls=ForMethods,
    choose="several",
    without=("seed",),
    short_help="Measure how faithful each method is on this model.",
    epilog=_examples(
        "onnxplain evaluate model.onnx photos -o out",
        "onnxplain evaluate model.onnx photos -o out -m lrp --metric srg --metric road",
        "onnxplain evaluate model.onnx photos -o out --boxes boxes.json",
    ),
)
@_model
@click.argument("images", nargs=-1, required=True, type=click.Path(), metavar="IMAGE...")
@click.option("-o", "--output-dir", "folder", required=True, metavar="DIR", help="Where to write.")
@evaluation_options
@click.option(
    "-t",
    "--target",
    default="top1",
    show_default=True,
    metavar="TARGET",
    help="Class index, label, top1, top2 ..., or an index tuple such as 1,20,30.",
)
@_card
@_labels
@_provider
@limit_option
@_json
def evaluate(
    model: str, images: tuple[str, ...], folder: str, target: str, as_json: bool, **chosen: Any
) -> int:
    """Measure how faithful each method is on MODEL, beside a random map and an edge detector.

    Writes evaluation.json and curves.svg.
    """
    from .engine.evaluating import evaluate_files, questions_from
    from .engine.evaluation import report_lines
    from .engine.image_explainer import options_from
    from .engine.results import writable_folder

    writable_folder(folder)
    questions, more = questions_from(chosen)
    options = options_from({**more, "targets": (target,)})
    with progress_bar() as tell:
        found = evaluate_files(model, images, options, questions, tell)
    found.save(folder)
    for note in found.notes:
        complain(note)
    if as_json:
        records = found.to_dict()["records"]
        click.echo(shown_json(json.dumps(records, indent=2, ensure_ascii=False)))
    else:
        click.echo("\n".join(map(shown, report_lines(found, folder))))
    return found.status


@cli.command(
    short_help="Say what would be explained, and by which methods.",
    epilog=_examples(
        "onnxplain inspect model.onnx",
        "onnxplain inspect model.onnx --json",
        "onnxplain inspect model.onnx --trace-delta photo.jpg",
    ),
)
@_model
@click.option(
    "--layer",
    metavar="NAME",
    help="Grad-CAM's feature map, by tensor or node name. Default: found.",
)
@click.option("--output", metavar="NAME", help="The output to explain. Default: found.")
@_card
@click.option(
    "--trace-delta",
    "image",
    metavar="IMAGE",
    help="Run DeepLIFT on this image, too, and name the nodes that lose most of its sum.",
)
@limit_option
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def inspect(
    model: str,
    layer: str | None,
    output: str | None,
    card: str | None,
    image: str | None,
    as_json: bool,
) -> int:
    """Say what would be explained in MODEL, and which methods support it."""
    from dataclasses import asdict

    from .engine.inspection import inspect as inspect_model
    from .engine.inspection import table
    from .models.card import read_card

    found = inspect_model(model, layer=layer, output=output, card=read_card(card) if card else None)
    rows, record = table(found), asdict(found)
    if image is not None:
        from .engine.commands.trace import trace_image, trace_rows

        traced = trace_image(model, image, card_file=card, output=output)
        rows += trace_rows(traced)
        record["trace_delta"] = [asdict(node) for node in traced]
    if as_json:
        click.echo(shown_json(json.dumps(record, indent=2, ensure_ascii=False)))
    else:
        print_table(rows)
    return 0


@cli.command(
    cls=ForMethods,
    choose="one",
    # Points that are chosen on the way are no file's.
    without=("tolerance",),
    short_help="Write prediction and explanation as one ONNX file.",
    epilog=_examples(
        "onnxplain export model.onnx -m grad-cam -o explained.onnx",
        "onnxplain export model.onnx -m deeplift -o explained.onnx --baseline white",
        "onnxplain export model.onnx -m integrated-gradients -o explained.onnx --baseline-input",
    ),
)
@_model
@click.option("-o", "--output-file", "file", required=True, metavar="FILE", help="File to write.")
@click.option("--baseline-input", is_flag=True, help="Make the baseline an input of the file.")
@_card
@limit_option
def export(model: str, file: str, **chosen: Any) -> int:
    """Write MODEL as one ONNX file that returns its prediction and its explanation."""
    from .engine.commands.export import export_file
    from .engine.files.model_files import is_stdout

    exported = export_file(model, file, **chosen)
    inputs = ", ".join(value.name for value in exported.graph.input)
    outputs = ", ".join(value.name for value in exported.graph.output)
    click.echo(shown(f"{file}: inputs {inputs}; outputs {outputs}"), err=is_stdout(file))
    return 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status; every error is one line on stderr."""
    # A label or file name that the terminal's encoding lacks is no reason to fail.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    log_to_stderr()
    sys.exit(_status(arguments))


def _status(arguments: Sequence[str] | None) -> int:
    try:
        with stopping():
            status = cli.main(arguments, prog_name="onnxplain", standalone_mode=False)
            sys.stdout.flush()
        return status or 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
    except click.ClickException as error:
        complain(f"{error.format_message()} (see --help)")
    except BrokenPipeError:
        # The reader of stdout has left, as `head` does: nothing more to say, now or at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OnnxplainError, OSError) as error:
        complain(reason_of(error) if isinstance(error, OSError) else str(error))
    except MemoryError:
        complain("out of memory")
    except (Stopped, click.Abort) as error:
        complain(str(error) or "interrupted")
        return 128 + error.number if isinstance(error, Stopped) else 130
    except Exception as error:
        if os.environ.get(_DEBUG):
            traceback.print_exc()
        complain(
            f"internal error, {type(error).__name__}: {error} ({_DEBUG}=1 shows where; please "
            "report it)"
        )
    return 2


if __name__ == "__main__":
    main()
