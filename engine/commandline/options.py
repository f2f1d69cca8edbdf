"""Arguments and options that several commands share, and those that methods bring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click

from ... import InvalidInputError
from .defaults import leave_out_defaults


def examples(*lines: str) -> str:
    """Examples for the end of a help text, one on each line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def options(*options: Callable) -> Callable:
    """Several options as one decorator, in the order of the help text."""

    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


MODEL = click.argument("model", type=click.Path())
CARD = click.option(
    "--card",
    metavar="FILE",
    help="Model card (JSON): how an image becomes the input, or what an array's axes are. Default: "
    "MODEL's name with .json, its metadata, or other files beside it; see onnxplain card.",
)


PROVIDER = click.option(
    "--provider",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="Where ONNX Runtime runs.",
)
STRICT = click.option(
    "--strict",
    is_flag=True,
    help="Refuse images whose files are damaged, instead of explaining what is left of them.",
)
LABELS = click.option(
    "--labels",
    metavar="FILE",
    help="The classes' names: text, one a line, or JSON, a list or id2label.",
)


def _checked(check: Callable, context: click.Context, parameter: click.Parameter, value: Any):
    """What was given, as `check` reads it."""
    try:
        return None if value is None else check(value)
    except InvalidInputError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _fact(key: str) -> Callable[[str], Any]:
    """How a card's fact is read from a text."""

    def read(text: str) -> Any:
        from ...models.own_card import parse_numbers, parse_size

        return parse_size(text) if key == "size" else parse_numbers(key, text)

    return read


def _facts() -> list[Any]:
    """An option for each of a card's facts, which take the place of the card's."""
    numbers = {
        "mean": ("M", "Mean of each channel, subtracted after --scale; 0.485,0.456,0.406."),
        "std": ("S", "Standard deviation of each channel, divided by after --mean."),
        "scale": ("X", "What pixels 0..255 are multiplied by first; 1/255."),
        "size": ("HxW", "Size of the model's input in pixels; 224, or 480x640."),
    }
    choices = {
        "layout": (["NCHW", "NHWC"], "Order of the input's axes."),
        "channels": (["RGB", "BGR", "GRAY"], "Order of the channels."),
        "resize": (
            ["crop", "stretch", "pad"],
            "crop: scale and cut out the centre; stretch: ignore the aspect; pad: fit on black.",
        ),
    }
    made = [
        click.option(f"--{key}", metavar=metavar, callback=partial(_checked, _fact(key)), help=text)
        for key, (metavar, text) in numbers.items()
    ]
    return made + [
        click.option(f"--{key}", type=click.Choice(names, case_sensitive=False), help=text)
        for key, (names, text) in choices.items()
    ]


PREPROCESSING = options(
    CARD,
    LABELS,
    click.option(
        "--preset",
        metavar="NAME",
        help="How pixels become numbers: imagenet, unit (0..1), half (-1..1), raw (0..255), caffe "
        "or clip. It stands in place of the card's, as --mean and the other facts do.",
    ),
    *_facts(),
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the records as JSON.")
TARGET = click.option(
    "-t",
    "--target",
    default="top1",
    show_default=True,
    metavar="TARGET",
    help="Class index, label, rank2 (the second best), index:1,20,30 (one score by its place); "
    "'cat - dog': the difference; 'not cat': what speaks against it.",
)
SCORE = click.option(
    "--score",
    type=click.Choice(["class", "objectness", "box"]),
    help="Of a detector's box what is explained: its class's logit, its objectness, or the sum of "
    "its coordinates.  [default: class]",
)
TARGETS = click.option(
    "-t",
    "--target",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="Class index, label, top5 (the five best classes), rank2 (the second best), index:1,20,30 "
    "(one score by its place); 'cat - dog': the difference; 'not cat': what speaks against it; of "
    "a detector box2, person, person#2, box:X0,Y0,X1,Y1 (in the photo's pixels), all; repeatable.  "
    "[default: top1; of a detector the three strongest boxes]",
)


def _shapes(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> Any:
    """{input: lengths}, or None where there are none."""
    from ...models.variants import parse_shape

    try:
        return dict(map(parse_shape, given)) or None
    except InvalidInputError as error:
        raise click.BadParameter(str(error), context, parameter) from error


SHAPE = click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=1,300,40",
    callback=_shapes,
    help="The shape of an input, where the file leaves a length open that must be known, or has it "
    "wrong; ? leaves a length as it is; repeatable.",
)


def _inputs(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    """{input: file or numbers}."""
    from ..jobs.asked import parse_input

    def read(texts: tuple[str, ...]) -> dict[str, str]:
        found = [parse_input(text) for text in texts]
        names = [name for name, _ in found]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidInputError(f"{twice} is given twice")
        return dict(found)

    return _checked(read, context, parameter, given) or {}


VERSUS = click.option(
    "--versus",
    multiple=True,
    metavar="FILE",
    help="Of a model that returns an embedding: explain its cosine similarity to that of another "
    "photo, or to a vector in a .npy file; repeatable.",
)
INPUT = click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=FILE",
    callback=_inputs,
    help="Another input of the model, the same for every image: a .npy file, an image, or numbers "
    "(orig_target_sizes=640,480); repeatable.",
)
OUTPUT = click.option(
    "--output",
    metavar="NAME",
    help="The output to explain, or any other tensor of the graph. Default: the card's, or found.",
)


RUNTIME = click.option(
    "--runtime",
    metavar="PATH|URL",
    help="onnxruntime-web, which runs the page: a folder with the npm package, its archive (.tgz), "
    "or the archive's address. Default: fetched once from the npm registry (npm_config_registry), "
    "and kept in the user's cache.",
)


def _hold_to_limits(context: click.Context, _: click.Parameter, given: tuple[str, ...]) -> None:
    """Put limits in force for the rest of the command."""
    if given:
        from ..running.settings import raised_limits

        context.with_resource(raised_limits(given))


LIMIT = click.option(
    "--limit",
    multiple=True,
    metavar="NAME=N",
    expose_value=False,
    callback=_hold_to_limits,
    help="Let a model cost more, for example nodes=100000; repeatable. A wrong name lists them.",
)
RUNNING = options(
    click.option(
        "-o",
        "--output-dir",
        "folder",
        default="explanations",
        show_default=True,
        metavar="DIR",
        help="Folder for pictures, arrays and results.json.",
    ),
    PROVIDER,
    LIMIT,
    click.option("-q", "--quiet", is_flag=True, help="Print only errors."),
    click.option("--profile", is_flag=True, help="Say where the time went (on stderr)."),
    AS_JSON,
)


def _metric_names(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuse a metric that nobody knows, before anything is read."""
    if given:
        from ..metrics import find_metrics

        try:
            find_metrics(given)
        except InvalidInputError as error:
            raise click.BadParameter(str(error), context, parameter) from error
    return given


EVALUATION = options(
    click.option(
        "--metric",
        "metrics",
        multiple=True,
        metavar="NAME",
        callback=_metric_names,
        help="Metric; repeatable. Default: all that apply. A wrong name lists them.",
    ),
    click.option(
        "--masks",
        metavar="DIR",
        help="Where objects are: a PNG for each photo, of its name and size, black elsewhere.",
    ),
    click.option(
        "--mask-id",
        type=click.IntRange(0),
        multiple=True,
        metavar="ID",
        help="Of masks of several objects, the grey value (or place in the palette) of the one "
        "that is meant; repeatable. Default: whatever is not black.",
    ),
    click.option(
        "--boxes",
        metavar="FILE",
        help="The same as JSON, {photo's name: [[x0, y0, x1, y1], ...]} in the photo's pixels.",
    ),
    click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn."
    ),
    click.option(
        "--full", is_flag=True, help="Every metric on every image, however long it takes."
    ),
    click.option("-r", "--recursive", is_flag=True, help="Also take folders in folders."),
)


def read_from_environment(parameters: Sequence[click.Parameter]) -> None:
    """Give each option a default in the environment: of --output-dir it is ONNXPLAIN_OUTPUT_DIR."""
    for parameter in parameters:
        if isinstance(parameter, click.Option) and parameter.allow_from_autoenv:
            name = max(parameter.opts, key=len).lstrip("-")
            parameter.envvar = f"ONNXPLAIN_{name.replace('-', '_').upper()}"


class ForMethods(click.Command):
    """A command that takes methods' options, which are looked up when one is parsed: that costs."""

    def __init__(self, *args: Any, choose: str = "", without: Sequence[str] = (), **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._choose, self._without = choose, without
        self._further: list[click.Parameter] | None = None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own, and the methods'."""
        if self._further is None:
            self._further = [*_method_choice(self._choose), *_method_options(self._without)]
            read_from_environment(self._further)
        own = super().get_params(ctx)
        arguments = sum(isinstance(parameter, click.Argument) for parameter in own)
        return [*own[:arguments], *self._further, *own[arguments:]]

    def invoke(self, ctx: click.Context) -> object:
        """Run it, without options of the environment that none of its methods takes."""
        from ..running.settings import taken_by

        methods = ctx.params.get("methods") or ()
        own = [parameter.name for parameter in self._further or () if parameter.name != "methods"]
        strange = [name for name in own if name is not None and not taken_by(methods, name)]
        leave_out_defaults(ctx.params, strange)
        return super().invoke(ctx)


def _method_choice(choose: str) -> list[click.Parameter]:
    """-m, for `several` methods, of which some run by default, or for those of a `file`."""
    from ..running.settings import check_method, method_names

    if not choose:
        return []
    kind = _Names(method_names(), check_method)
    words = "Method; repeatable; with options of its own as lrp:rule=epsilon,epsilon=0.01. "
    needed = choose == "file"
    if needed:
        words += "Several share the forward pass; each output has its method in its name."
    else:
        words += "Default: Grad-CAM, Integrated Gradients and DeepLIFT, those that the model "
        words += "supports."
    more: dict[str, Any] = {"multiple": True, "required": needed, "type": kind, "help": words}
    return [click.Option(["-m", "--method", "methods"], **more)]


class _Names(click.Choice):
    """One of some names; a wrong one is refused by `check`, which knows the nearest."""

    def __init__(self, names: Sequence[str], check: Callable[[str], None]):
        super().__init__(names)
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A name as it was given, with the method's own options behind a colon, if it is known."""
        try:
            self._check(value)
        except InvalidInputError as error:
            self.fail(str(error), param, ctx)
        return value


def _method_options(without: Sequence[str]) -> list[click.Parameter]:
    """An option of the command line for each that some method takes."""
    from ..running.settings import command_line_options

    found: list[click.Parameter] = []
    for option in command_line_options():
        if option.name in without:
            continue
        name, more = f"--{option.name.replace('_', '-')}", dict[str, Any](help=option.help)
        if option.kind is bool:
            found.append(click.Option([name], is_flag=True, default=None, **more))
            continue
        more["type"] = click.Choice(option.choices) if option.choices else option.kind
        if not option.choices:
            # Names that several methods read each in their own way are checked by them.
            check = partial(_checked, _one_or_several if option.several else option.check)
            more |= {"metavar": option.metavar, "callback": check, "multiple": option.several}
        found.append(click.Option([name], **more))
    return found


def _one_or_several(given: tuple[Any, ...]) -> Any:
    """One value as it is, several as a list."""
    return None if not given else given[0] if len(given) == 1 else list(given)
