"""What the command line reads of the methods' options, and what it writes, a line for each thing.

What comes from a file cannot command the terminal: control characters stand as escapes.
"""

from __future__ import annotations

import logging
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import click

from ... import InvalidInputError
from ...models.text import shown


def print_table(rows: Sequence[tuple[str, str]]) -> None:
    """Print rows of a name and a text; long texts are wrapped on terminals only."""
    indent = 2 + max(len(name) for name, _ in rows)
    width = shutil.get_terminal_size().columns - indent if sys.stdout.isatty() else sys.maxsize
    for name, text in rows:
        wrap = textwrap.TextWrapper(max(width, 20), subsequent_indent="  ").wrap
        lines = [part for line in text.split("\n") for part in wrap(line) or [""]]
        head = click.style(f"{name:{indent}}", bold=True)
        click.echo(head + f"\n{'':{indent}}".join(lines))


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """Yield what draws a progress bar on stderr where that is a terminal, and else nothing."""
    if not sys.stderr.isatty():
        yield lambda text, done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda text, done: bar.update(task, description=text, completed=done)


def complain(message: str) -> None:
    """Print one line on stderr, whatever the message holds."""
    click.echo(f"onnxplain: {shown(' '.join(message.split()))}", err=True)


def _hold_to_limits(context: click.Context, _: click.Parameter, given: tuple[str, ...]) -> None:
    """Put limits in force for the rest of the command."""
    if given:
        from .settings import raised_limits

        context.with_resource(raised_limits(given))


limit_option = click.option(
    "--limit",
    multiple=True,
    metavar="NAME=N",
    expose_value=False,
    callback=_hold_to_limits,
    help="Let a model cost more, for example nodes=100000; repeatable. A wrong name lists them.",
)


def _metric_names(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuse a metric that nobody knows, before anything is read."""
    if given:
        from .metrics import find_metrics

        try:
            find_metrics(given)
        except InvalidInputError as error:
            raise click.BadParameter(str(error), context, parameter) from error
    return given


_EVALUATION = (
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


def evaluation_options(command: Callable) -> Callable:
    """Give a command what `evaluating.Questions` asks for, as options in that order."""
    for option in reversed(_EVALUATION):
        command = option(command)
    return command


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"onnxplain: {shown(' '.join(record.getMessage().split()))}"


def log_to_stderr() -> None:
    """Show what the package logs as such lines, and no warnings of libraries."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    logging.getLogger("onnxplain").handlers = [handler]


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
        own = super().get_params(ctx)
        arguments = sum(isinstance(parameter, click.Argument) for parameter in own)
        return [*own[:arguments], *self._further, *own[arguments:]]


def _method_choice(choose: str) -> list[click.Parameter]:
    """-m, for `one` method or `several`."""
    from ..running.settings import check_method, method_names

    if not choose:
        return []
    kind = _Names(method_names(), check_method)
    if choose == "one":
        return [click.Option(["-m", "--method"], required=True, type=kind, help="Method.")]
    words = "Method; repeatable. Default: Grad-CAM, Integrated Gradients and DeepLIFT, those that "
    words += "the model supports."
    return [click.Option(["-m", "--method", "methods"], multiple=True, type=kind, help=words)]


class _Names(click.Choice):
    """One of some names; a wrong one is refused by `check`, which knows the nearest."""

    def __init__(self, names: Sequence[str], check: Callable[[str], None]):
        super().__init__(names)
        self._check = check

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """What the check says."""
        try:
            self._check(value)
        except InvalidInputError as error:
            return str(error)
        return super().get_invalid_choice_message(value, ctx)


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


def _checked(check: Callable, context: click.Context, parameter: click.Parameter, value: Any):
    """What was given, as the method reads it."""
    try:
        return None if value is None else check(value)
    except InvalidInputError as error:
        raise click.BadParameter(str(error), context, parameter) from error
