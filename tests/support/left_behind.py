"""What a run of `explain` leaves behind, and runs that have no room to leave it."""

import json
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
from PIL import Image


def results(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def whole(folder):
    """The records in results.json, all of whose files are there and can be read."""
    records = results(folder)
    names = [name for record in records for name in record.get("files", [])]
    assert len(set(names)) == len(names)
    for name in names:
        if name.endswith(".png"):
            with Image.open(folder / name) as picture:
                picture.load()
        else:
            with np.load(folder / name) as saved:
                assert saved["attribution"].size and saved["input"].size
    return records


@contextmanager
def started():
    """What starts commands, with pipes; at the end all of them are killed."""
    running = []

    def run(command, **how):
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **how,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def limited(size, *arguments):
    """Run the command line where no file may be larger than this many bytes."""
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
        "from onnxplain.cli import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)
