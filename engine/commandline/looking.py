"""inspect: what would be explained, and how."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from .defaults import is_typed
from .options import (
    AS_JSON,
    CARD,
    LIMIT,
    MODEL,
    OUTPUT,
    PREPROCESSING,
    SHAPE,
    examples,
)
from .terminal import WAIT, complain, print_json, print_script, print_table, progress_bar

if TYPE_CHECKING:
    from ...graph_passes.methods.method import Method


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
    from ..inspection import inspected as inspect_model
    from ..inspection import table

    with progress_bar(wait=WAIT) as tell:
        known = read_card(card) if card else None
        part = 1.0 if image is None else 0.5
        found = inspect_model(
            *(model, lambda text, done: tell(text, part * done)),
            layer=layer,
            output=output,
            card=known,
            shapes=shapes,
        )
        rows, record = table(found), asdict(found)
        traced: list[Any] = []
        if image is not None:
            from ..jobs.trace import trace_image, trace_rows

            tell(f"DeepLIFT of {os.path.basename(image)}", part)
            traced = trace_image(model, image, card_file=card, output=output, shapes=shapes)
            rows += trace_rows(traced)
    if image is not None:
        record["trace_delta"] = [asdict(node) for node in traced]
    if as_json:
        print_json(record)
    else:
        print_table(rows)
    return 0


@click.command(
    short_help="Say how a photo becomes the input, and where each fact is from.",
    epilog=examples(
        "onnxplain card model.onnx",
        "onnxplain card model.onnx --try photo.jpg",
        "onnxplain card model.onnx --try photo.jpg --label espresso",
        "onnxplain card model.onnx --preset half -o model.json",
    ),
)
@MODEL
@click.option(
    "--try",
    "photo",
    metavar="PHOTO",
    help="Run the model on this photo under each plausible preprocessing; most confident first.",
)
@click.option(
    "--label",
    metavar="CLASS",
    help="With --try: what the photo shows, a label or a class's number; its probability counts.",
)
@click.option("-o", "--out", metavar="FILE", help="Write the card to this file, as JSON.")
@PREPROCESSING
@OUTPUT
@SHAPE
@LIMIT
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def card(model: str, photo: str | None, label: str | None, out: str | None, **chosen: Any) -> int:
    """Print MODEL's card: how a photo becomes the input, what the classes are called.

    Each fact has its source: a card beside MODEL, MODEL's metadata, other files beside it, its
    graph, or an assumption.
    """
    from ..jobs.asked import options_from
    from ..jobs.cards import card_of_model, write_card

    as_json = chosen.pop("as_json")
    if label is not None and photo is None and is_typed("label"):
        raise click.UsageError("--label needs --try PHOTO")
    with progress_bar(wait=WAIT) as tell:
        label = None if photo is None else label
        found = card_of_model(model, options_from(chosen), photo, label, tell)
    if out is not None:
        write_card(found.card, out)
    if as_json:
        print_json(found.record)
    else:
        print_table(found.rows)
    return 0


@click.command(short_help="Say what is installed, and whether its numbers are right.")
@AS_JSON
def doctor(as_json: bool) -> int:
    """Say what is installed, why CUDA is not used, and whether the stored numbers come out.

    Exit status 0: all is well; 1: something is not.
    """
    from ..jobs.doctor import examine

    with progress_bar(wait=WAIT) as tell:
        found = examine(tell)
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


@click.command(
    short_help="List the methods, or explain one and its options.",
    epilog=examples("onnxplain methods", "onnxplain methods lrp"),
)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def methods(name: str | None, as_json: bool) -> int:
    """List the methods; of NAME say what it does, what its numbers mean and what it takes."""
    from ...graph_passes.methods import find_method
    from ...graph_passes.methods import methods as known_methods

    chosen = list(known_methods().values()) if name is None else [find_method(name)]
    if as_json:
        print_json([_facts_of(one) for one in chosen])
    elif name is None:
        print_table([(one.name, one.summary) for one in chosen])
    else:
        print_table(_about(chosen[0]))
    return 0


def _facts_of(method: Method) -> dict[str, Any]:
    options = [
        {"name": one.name, "default": one.default, "choices": list(one.choices), "help": one.help}
        for one in method.options
    ]
    names = "name", "aliases", "title", "cite", "summary", "default", "signed", "per_location"
    return {**{key: getattr(method, key) for key in names}, "sums_to": method.sums_to} | {
        "options": options
    }


def _about(method: Method) -> list[tuple[str, str]]:
    """What people are told of one method."""
    of = "a place (each location of the photo)" if method.per_location else "each input element"
    sign = "for (+) and against (-) the target" if method.signed else "never negative"
    rows = [
        (method.name, f"{method.title}: {method.summary}"),
        ("source", method.cite),
        ("numbers", f"one for {of}, {sign}"),
        ("sum", method.sums_to or "no sum is promised"),
        ("by default", "runs where no method is chosen" if method.default else "only if asked for"),
    ]
    if method.aliases:
        rows.append(("also called", ", ".join(method.aliases)))
    for option in method.options:
        said = option.default is None or "default" in option.help
        default = "" if said else f" Default: {option.default}."
        values = f" One of {', '.join(option.choices)}." if option.choices else ""
        rows.append((option.name, f"{option.help}{values}{default}"))
    return rows
