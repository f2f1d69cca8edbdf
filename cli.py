"""The command line: parses, calls the engine once for each command, prints."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    # `python cli.py` in a checkout, or a process that it starts: make this folder importable under
    # the package's name.
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
import os
import traceback
from collections.abc import Sequence

import click

from . import OnnxplainError, __version__
from .engine.commandline.batching import batch
from .engine.commandline.explaining import demo, explain, export, serve
from .engine.commandline.looking import card, completion, doctor, inspect, methods
from .engine.commandline.measuring import compare, evaluate
from .engine.commandline.options import examples, read_from_environment
from .engine.commandline.terminal import complain, log_to_stderr, say
from .engine.files.writing import reason_of
from .engine.running.stopping import Stopped, stopping

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_DEBUG = "ONNXPLAIN_DEBUG"


@click.group(
    help="Explain what an exported ONNX model looked at.\n\n\b\n"
    "Exit status:\n"
    "  0  all done\n"
    "  1  some images failed; the others are written\n"
    "  2  wrong usage, or a model that is unreadable or unsupported\n"
    "  128 + N  stopped by signal N (130: Ctrl-C); what was finished is on record",
    context_settings=_HELP,
    epilog=examples(
        "onnxplain demo",
        "onnxplain explain model.onnx photo.jpg",
        "onnxplain inspect model.onnx",
        "onnxplain export model.onnx -m grad-cam -o explained.onnx",
    ),
)
@click.version_option(__version__, prog_name="onnxplain")
def cli() -> None:
    """Hold the commands."""


_COMMANDS = (
    explain,
    compare,
    evaluate,
    inspect,
    card,
    methods,
    export,
    serve,
    batch,
    demo,
    doctor,
    completion,
)
for _command in _COMMANDS:
    read_from_environment(_command.params)
    cli.add_command(_command)


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
            for line in traceback.format_exc().splitlines():
                say(line, error=True)
        complain(
            f"internal error, {type(error).__name__}: {error} ({_DEBUG}=1 shows where; please "
            "report it)"
        )
    return 2


if __name__ == "__main__":
    main()
