"""inspect: what would be explained, and how."""

from __future__ import annotations

from typing import Any

import click

from .options import (
    AS_JSON,
    CARD,
    LIMIT,
    MODEL,
    OUTPUT,
    SHAPE,
    examples,
)
from .terminal import complain, print_json, print_script, print_table


@click.command(
    short_help="Say what would be explained, and by which methods.",
    epilog=examples(
        "onnxplain inspect model.onnx",
        "onnxplain inspect model.onnx --json",
        "onnxplain inspect model.onnx --trace-delta photo.jpg",
    ),
)
@MODEL
@click.option(
    "--layer",
    metavar="NAME",
    help="Grad-CAM's feature map, by tensor or node name. Default: found.",
)
@OUTPUT
@SHAPE
@CARD
@click.option(
    "--trace-delta",
    "image",
    metavar="IMAGE",
    help="Run DeepLIFT on this image, too, and name the nodes that lose most of its sum.",
)
@LIMIT
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def inspect(
    model: str,
    layer: str | None,
    output: str | None,
    shapes: Any,
    card: str | None,
    image: str | None,
    as_json: bool,
) -> int:
    """Say what would be explained in MODEL, and which methods support it."""
    from dataclasses import asdict

    from ...models.card import read_card
    from ..inspection import inspect as inspect_model
    from ..inspection import table

    found = inspect_model(
        model, layer=layer, output=output, card=read_card(card) if card else None, shapes=shapes
    )
    rows, record = table(found), asdict(found)
    if image is not None:
        from ..commands.trace import trace_image, trace_rows

        traced = trace_image(model, image, card_file=card, output=output, shapes=shapes)
        rows += trace_rows(traced)
        record["trace_delta"] = [asdict(node) for node in traced]
    if as_json:
        print_json(record)
    else:
        print_table(rows)
    return 0


@click.command(short_help="Say what is installed, and whether its numbers are right.")
@AS_JSON
def doctor(as_json: bool) -> int:
    """Say what is installed, why CUDA is not used, and whether the stored numbers come out.

    Exit status 0: all is well; 1: something is not.
    """
    from ..commands.doctor import examine

    found = examine()
    if as_json:
        record = {**dict(found.rows), "problems": found.problems}
        print_json(record)
    else:
        print_table(found.rows)
    for problem in found.problems:
        complain(problem)
    return 1 if found.problems else 0


@click.command(short_help="Print a script that completes commands in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print a script that completes onnxplain's commands, options and methods in SHELL.

    For example: eval "$(onnxplain completion bash)"
    """
    from click.shell_completion import get_completion_class

    make = get_completion_class(shell)
    assert make is not None
    root = click.get_current_context().find_root().command
    print_script(make(root, {}, "onnxplain", "_ONNXPLAIN_COMPLETE").source())
    return 0
