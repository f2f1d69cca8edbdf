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

import json
import logging
from typing import Any

import click

from onnxplain import OnnxplainError, __version__

_METHODS = ["grad-cam", "integrated-gradients", "deeplift"]
_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(
    context_settings=_HELP,
    epilog="Examples:\n\n  onnxplain demo\n\n  onnxplain explain model.onnx photo.jpg\n\n"
    "  onnxplain inspect model.onnx\n\n  onnxplain export model.onnx -m grad-cam -o explained.onnx",
)
@click.version_option(__version__, prog_name="onnxplain")
def cli() -> None:
    """Explain what an exported ONNX model looked at.

    Exit status: 0 all done; 1 some inputs failed, the others are written; 2 wrong usage, or a model
    that is unreadable or unsupported.
    """


def model_argument(command):
    """The MODEL argument."""
    return click.argument("model", type=click.Path())(command)


def run_options(command):
    """Options of every command that explains images."""
    options = [
        click.option("-o", "--output-dir", "folder", default="explanations", show_default=True,
                     help="Folder for pictures, arrays and results.json."),
        click.option("--steps", default=50, show_default=True, type=click.IntRange(min=1),
                     help="Gradient passes of Integrated Gradients."),
        click.option("--provider", default="auto", show_default=True,
                     type=click.Choice(["auto", "cpu", "cuda"]), help="Where ONNX Runtime runs."),
        click.option("--json", "as_json", is_flag=True, help="Print the records as JSON."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@cli.command(
    epilog="Examples:\n\n  onnxplain explain model.onnx cat.jpg dog.jpg -o out\n\n"
    "  onnxplain explain model.onnx cat.jpg -m grad-cam -t 'tabby cat' -t top2\n\n"
    "  onnxplain explain model.onnx cat.jpg -m integrated-gradients --steps 200 --baseline blur"
)
@model_argument
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(_METHODS),
    help="Method; repeatable. Default: every method that the model supports.",
)
@click.option(
    "-t",
    "--target",
    "targets",
    multiple=True,
    default=("top1",),
    show_default=True,
    help="Class index, label, top1, top2 ..., or an index tuple such as 1,20,30; repeatable.",
)
@click.option("--layer", help="Grad-CAM's feature map, by tensor or node name. Default: found.")
@click.option(
    "--baseline",
    default="black",
    show_default=True,
    help="black, white, mean, blur, or a file (image or .npy).",
)
@click.option(
    "--card", type=click.Path(), help="Model card (JSON): how an image becomes the input."
)
@click.option("--labels", type=click.Path(), help="Text file of class labels, one a line.")
@run_options
def explain(model: str, images: tuple[str, ...], folder: str, as_json: bool, **chosen: Any) -> int:
    """Explain what MODEL looked at in each IMAGE.

    Writes an overlay picture and the attribution as an array for each image, method and target, and
    results.json.
    """
    return _explain(model, images, folder, as_json, chosen)


# Options in one line each read better than ruff's layout of them.
# fmt: on
@cli.command()
@run_options
def demo(folder: str, as_json: bool, **chosen: Any) -> int:
    """Explain the shipped model on its two photos, by all methods, and draw one panel."""
    from onnxplain.models.shipped import demo_model, demo_photos

    photos = tuple(str(path) for path in demo_photos())
    return _explain(str(demo_model()), photos, folder, as_json, chosen, panel="panel.png")


def _explain(
    model: str,
    images: tuple[str, ...],
    folder: str,
    as_json: bool,
    chosen: dict[str, Any],
    panel: str | None = None,
) -> int:
    from onnxplain.engine import jobs

    with _progress() as tell:
        tell("building", 0.0)
        explainer = jobs.ImageExplainer(model, jobs.Options(**chosen))
        results = jobs.explain_files(explainer, images, folder, tell)
        if panel is not None:
            jobs.write_panel(results, Path(folder) / panel, explainer.card)
    for method, reason in explainer.skipped.items():
        click.echo(f"skipped {method}: {reason}", err=True)
    for note in explainer.card.assumed:
        click.echo(f"no model card; assumed {note} (--card FILE says otherwise)", err=True)
    records = [result.record for result in results]
    failed = [record for record in records if "error" in record]
    for record in failed:
        click.echo(f"{record['image']}: {record['error']}", err=True)
    if as_json:
        click.echo(json.dumps(records, indent=2, ensure_ascii=False))
    else:
        _print_records([r for r in records if "error" not in r], folder, panel)
    return 1 if failed else 0


def _print_records(records: list[dict[str, Any]], folder: str, panel: str | None) -> None:
    from onnxplain.engine.jobs import delta_text

    for record in records:
        target = record["target"]
        name = target["label"] or f"class {target['index']}"
        delta = "" if record["delta"] is None else f"  {delta_text(record)}"
        click.echo(
            f"{Path(record['image']).name}: {name} ({target['index']})  "
            f"score {record['score']:.3f}  "
            f"{record['method']}{delta}  {record['seconds']:.2f} s  -> {record['files'][0]}"
        )
    if records:
        click.echo(
            f"pictures, arrays and results.json in {folder}" + (f"; see {panel}" if panel else "")
        )


@cli.command(epilog="Example:\n\n  onnxplain inspect model.onnx --json")
@model_argument
@click.option("--layer", help="Grad-CAM's feature map, by tensor or node name.")
@click.option("--output", help="The output to explain. Default: found.")
@click.option("--card", type=click.Path(), help="Model card (JSON).")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def inspect(
    model: str, layer: str | None, output: str | None, card: str | None, as_json: bool
) -> int:
    """Say what would be explained in MODEL, and which methods support it."""
    from dataclasses import asdict

    from onnxplain.engine.inspection import inspect as inspect_model
    from onnxplain.models.card import read_card

    found = inspect_model(model, layer=layer, output=output, card=read_card(card) if card else None)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        return 0
    _print_inspection(found)
    return 0


def _print_inspection(found: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows = [
        (
            "model",
            f"opset {found.opset}, IR {found.ir_version}, {found.producer or 'unknown producer'}",
        ),
        ("inputs", "\n".join(found.inputs)),
        ("explained input", found.input),
        ("preprocessing", _card_text(found)),
        ("outputs", "\n".join(found.outputs)),
        ("score", found.score),
        ("feature map", f"{found.feature_map or 'none'}: {found.feature_map_reason}"),
        ("operators", ", ".join(f"{op} x{n}" for op, n in found.operators.items())),
        ("quantisation", found.quantisation or "none"),
    ]
    for name, reasons in found.unsupported.items():
        rows.append((name, "supported" if not reasons else "\n".join(["not supported", *reasons])))
    for name, text in rows:
        table.add_row(name, text.replace("[", "\\["))
    Console(soft_wrap=False).print(table)


def _card_text(found: Any) -> str:
    card = found.card
    if card is None:
        return found.card_note
    if card.assumed:
        return "no model card; assumed " + "; ".join(card.assumed)
    height, width = card.size
    return (
        f"card {found.card_note}: {card.channels} {card.layout}, "
        f"{card.resize} to {height} x {width} ({card.interpolation}), "
        f"(pixel * {card.scale} - {card.mean}) / {card.std}"
    )


@cli.command(
    epilog="Example:\n\n"
    "  onnxplain export model.onnx -m deeplift -o explained.onnx --baseline white"
)
@model_argument
@click.option("-m", "--method", required=True, type=click.Choice(_METHODS), help="Method.")
@click.option(
    "-o", "--output-file", "file", required=True, type=click.Path(), help="File to write."
)
@click.option(
    "--steps", default=50, show_default=True, type=click.IntRange(min=1), help="Steps of IG."
)
@click.option(
    "--baseline", default="black", show_default=True, help="black, white or an .npy file."
)
@click.option("--baseline-input", is_flag=True, help="Make the baseline an input of the file.")
@click.option("--layer", help="Grad-CAM's feature map, by tensor or node name.")
@click.option("--card", type=click.Path(), help="Model card (JSON).")
def export(model: str, file: str, **chosen: Any) -> int:
    """Write MODEL as one ONNX file that returns its prediction and its explanation."""
    from onnxplain.engine.jobs import export_file

    exported = export_file(model, file, **chosen)
    inputs = ", ".join(value.name for value in exported.graph.input)
    outputs = ", ".join(value.name for value in exported.graph.output)
    click.echo(f"{file}: inputs {inputs}; outputs {outputs}")
    return 0


class _progress:  # noqa: N801  (a context manager, used like a function)
    """A progress bar on stderr where that is a terminal."""

    def __enter__(self):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        self._bar = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._bar.start()
        task = self._bar.add_task("", total=1.0)
        return lambda text, done: self._bar.update(task, description=text, completed=done)

    def __exit__(self, *_):
        self._bar.stop()


def main() -> None:
    """Run the command line and exit with its status; every error is one line on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("onnxplain: %(message)s"))
    logging.getLogger("onnxplain").addHandler(handler)
    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        status = 2
    except click.ClickException as error:
        click.echo(f"onnxplain: {' '.join(error.format_message().split())} (see --help)", err=True)
        status = 2
    except OnnxplainError as error:
        click.echo(f"onnxplain: {error}", err=True)
        status = 2
    except OSError as error:
        click.echo(f"onnxplain: {error.filename or ''}: {error.strerror or error}", err=True)
        status = 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("onnxplain: interrupted", err=True)
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
