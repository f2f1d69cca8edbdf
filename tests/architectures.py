"""The coverage table: networks that nobody here wrote, through both of PyTorch's exporters.

    python tests/architectures.py                       # goes on where it stopped; hours
    python tests/architectures.py --only 'timm/swin*' --again
    python tests/architectures.py --summary             # the totals and the Markdown table

The smallest model of every family of timm and a tiny model of many architectures of transformers
(`pip install -e '.[test,architectures]'`), with random weights. Each is exported by each exporter
with a static and with a dynamic batch, and each file has a line in `results.jsonl`: was it
exported, does ONNX Runtime load it, is the score PyTorch's, and for the gradient, Integrated
Gradients at two points, DeepLIFT's sum and Grad-CAM's map whether each is right, refused (with the
reason), wrong or crashed. Every file has a process of its own, with bounds on time and memory.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from breadth import table
from breadth.exporting import BATCHES, EXPORTERS

Key = tuple[str, str, str]


def main() -> int:
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / "results.jsonl"
    if arguments.summary:
        show = table.networks if arguments.networks else table.summary
        print(show(table.read(results)))
        return 0
    from breadth import library

    done = set() if arguments.again else set(table.read(results))
    jobs = [
        key
        for key in _in_order(library.names())
        if key not in done and fnmatch.fnmatch("/".join(key), arguments.only + "*")
    ]
    for count, key in enumerate(jobs, 1):
        record = _in_a_process(key, arguments.seconds, arguments.gigabytes)
        with results.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(f"{count}/{len(jobs)}", table.line(record), flush=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/architectures"))
    parser.add_argument("--only", default="*", help="a pattern of name/exporter/batch")
    parser.add_argument("--again", action="store_true", help="also what has a line already")
    parser.add_argument("--summary", action="store_true", help="print the table and run nothing")
    parser.add_argument("--networks", action="store_true", help="a line for each network")
    parser.add_argument("--seconds", type=int, default=240, help="for one file")
    parser.add_argument("--gigabytes", type=float, default=12.0, help="for one file")
    return parser.parse_args()


def _in_order(names: list[str]) -> Iterator[Key]:
    """Every architecture once, the exporters in turn, before any has a second file."""
    variants = [
        ("torchscript", "dynamic"),
        ("dynamo", "static"),
        ("torchscript", "static"),
        ("dynamo", "dynamic"),
    ]
    assert set(variants) == {(e, b) for e in EXPORTERS for b in BATCHES}
    # The libraries take turns, so that two neighbours are of both.
    for turn in (0, 1, 2, 3):
        for place, name in enumerate(names):
            exporter, batch = variants[(turn + place // 2) % 2 + 2 * (turn // 2)]
            yield name, exporter, batch


def _in_a_process(key: Key, seconds: int, gigabytes: float) -> dict[str, Any]:
    """The record of one file, or what its process died of."""
    record = dict(zip(("name", "exporter", "batch"), key, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        # Forked, so that the libraries are loaded once; onnxplain itself is not, before this.
        child = multiprocessing.get_context("fork").Process(
            target=_work, args=(key, folder, answer, gigabytes)
        )
        child.start()
        child.join(seconds)
        if child.is_alive():
            child.kill()
            child.join()
            return record | {"died": f"over {seconds} s", "reached": _reached(answer)}
        if child.exitcode:
            return record | {"died": f"exit {child.exitcode}", "reached": _reached(answer)}
        return record | json.loads(answer.read_text())


def _reached(answer: Path) -> Any:
    return json.loads(answer.read_text()) if answer.exists() else None


def _work(key: Key, folder: str, answer: Path, gigabytes: float) -> None:
    import torch
    from breadth import checks, library

    resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 2**30),) * 2)
    os.nice(5)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # Also what libraries write past Python: whole graphs, when an export fails.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    name, exporter, batch = key
    try:
        network = library.build(name)
    except Exception as error:
        record: dict[str, Any] = {"built": False, "reason": f"{type(error).__name__}: {error}"}
    else:
        path = str(Path(folder) / "network.onnx")
        record = checks.check(
            network, exporter, batch, path, lambda part: answer.write_text(json.dumps(part))
        )
    answer.write_text(json.dumps(record))


if __name__ == "__main__":
    sys.exit(main())
