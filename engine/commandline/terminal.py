"""What the command line reads of the methods' options, and what it writes, a line for each thing.

What comes from a file cannot command the terminal: control characters stand as escapes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ...models.text import shown, shown_json
from ..checking.assumed import assumed

# Seconds after which a bar appears where most models are done by then.
WAIT = 1.5


def say(text: str, error: bool = False) -> None:
    """Print one line, on stderr where it is an `error`, whatever the text holds."""
    click.echo(shown(text), err=error)


def print_json(value: Any) -> None:
    """Print a value as JSON, whatever the texts in it hold."""
    click.echo(shown_json(json.dumps(value, indent=2, ensure_ascii=False)))


def print_script(text: str) -> None:
    """Print a script of our own making, of several lines, as it is."""
    click.echo(text)


def print_table(rows: Sequence[tuple[str, str]]) -> None:
    """Print rows of a name and a text; long texts are wrapped on terminals only."""
    indent = 2 + max(len(name) for name, _ in rows)
    width = shutil.get_terminal_size().columns - indent if sys.stdout.isatty() else sys.maxsize
    for name, text in rows:
        wrap = textwrap.TextWrapper(max(width, 20), subsequent_indent="  ").wrap
        lines = [part for line in text.split("\n") for part in wrap(shown(line)) or [""]]
        head = click.style(f"{shown(name):{indent}}", bold=True)
        click.echo(head + f"\n{'':{indent}}".join(lines))


def print_lines(lines: Sequence[str], folder: str, files: Sequence[str]) -> None:
    """Print lines; on a terminal the files that they name lead to themselves.

    Args:
        lines: texts, in which control characters stand as escapes afterwards.
        folder: where the files lie.
        files: their names.
    """
    links = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    names = sorted(set(map(shown, files)), key=len, reverse=True)
    for line in lines:
        text = shown(line)
        name = next((n for n in names if n in text), None) if links else None
        if name is not None:
            uri = Path(os.path.abspath(os.path.join(folder, name))).as_uri()
            link = click.style(f"\x1b]8;;{uri}\x1b\\{name}\x1b]8;;\x1b\\", fg="cyan")
            text = text.replace(name, link, 1)
        click.echo(text)


@contextmanager
def progress_bar(quiet: bool = False, wait: float = 0.0) -> Iterator[Callable[[str, float], None]]:
    """Yield what draws a progress bar with the time that is left; on a terminal (stderr) only.

    Args:
        quiet: whether only errors are asked for: nothing is drawn.
        wait: seconds after which it appears, for what is mostly done before.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda text, done: None
        return
    last: list[tuple[str, float]] = [("", 0.0)]
    shown_bars: list[Any] = []

    def tell(text: str, done: float) -> None:
        last[0] = text, done
        for bar in shown_bars:
            bar.update(bar.task_ids[0], description=shown(text), completed=done)

    def show() -> None:
        bar = _bar()
        bar.add_task(shown(last[0][0]), total=1.0, completed=last[0][1])
        bar.start()
        shown_bars.append(bar)

    timer = threading.Timer(wait, show)
    timer.daemon = True
    if wait:
        timer.start()
    else:
        show()
    try:
        yield tell
    finally:
        if wait:
            timer.cancel()
            timer.join()
        for bar in shown_bars:
            bar.stop()


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn()
    clocks = TimeElapsedColumn(), TextColumn("done, left"), TimeRemainingColumn()
    # What is printed on stdout may be on its way to a file.
    more: dict[str, Any] = {"console": Console(stderr=True), "redirect_stdout": False}
    # Speed is taken over all that was done: parts may differ much.
    return Progress(*columns, *clocks, transient=True, speed_estimate_period=3600.0, **more)


def complain(message: str) -> None:
    """Print one line on stderr, whatever the message holds."""
    say(f"onnxplain: {' '.join(message.split())}", error=True)


def complain_of(notes: Sequence[str]) -> None:
    """Complain of each thing that no line has been about."""
    for note in notes:
        if note not in _said():
            complain(note)


@contextmanager
def quietly(quiet: bool) -> Iterator[None]:
    """Leave out what is assumed, where only errors are asked for."""
    with contextlib.ExitStack() as stack:
        if quiet:
            stack.callback(assumed.setLevel, assumed.level)
            assumed.setLevel(logging.ERROR)
        yield


class _Lines(logging.StreamHandler):
    """Each line that is about an assumption once, though several files are read with it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        # Above a bar, where there is one.
        self.stream = sys.stderr
        if record.name != assumed.name or text not in self.said:
            super().emit(record)
        self.said.add(text)


def _said() -> set[str]:
    handlers = logging.getLogger("onnxplain").handlers
    return set().union(*(h.said for h in handlers if isinstance(h, _Lines)))


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"onnxplain: {shown(' '.join(record.getMessage().split()))}"


def log_to_stderr() -> None:
    """Show what the package logs as such lines, and nothing that libraries warn of or log."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    handler = _Lines()
    handler.setFormatter(_OneLine())
    logging.getLogger("onnxplain").handlers = [handler]
    # Without any handler Python itself prints what a library calls an error, as it is.
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
