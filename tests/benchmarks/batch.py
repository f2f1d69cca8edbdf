"""How many images a second `onnxplain batch` explains, beside the bare engine on ready tensors.

    python tests/benchmarks/batch.py [--images 600] [--rounds 3] [--method grad-cam]
    python tests/benchmarks/batch.py --memory 1000 50000

The photos are JPEG files of 500 x 375 pixels, made of the shipped ones. The bare engine is called
with arrays that are ready, in the batch of 1, 2, 4 ... in which it is fastest; `batch` is the
whole command's work, from files to shards, once with the start of its processes and once without.
Both take turns. With --memory: the peak memory of all processes of a run, for each of several
numbers of images, on a small model.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onnxplain import Explainer
from onnxplain.engine.inputs.image import image_to_tensor, read_image
from onnxplain.engine.jobs.asked import Options
from onnxplain.engine.jobs.batch.batch import Running, explain_batch
from onnxplain.engine.jobs.batch.question import Form
from onnxplain.engine.running.workers import usable_cores
from onnxplain.models.shipped import demo_model, demo_photos

SIZE = (500, 375)
BATCHES = (1, 2, 4, 8, 16)


def write_photos(folder: Path, count: int) -> None:
    """Other parts of the shipped photos, as JPEG files."""
    photos = [Image.open(path).convert("RGB") for path in demo_photos()]
    random = np.random.default_rng(0)
    for k in range(count):
        photo = photos[k % len(photos)]
        width = random.integers(photo.width // 2, photo.width)
        height = round(width * SIZE[1] / SIZE[0])
        left = random.integers(0, photo.width - width + 1)
        top = random.integers(0, max(photo.height - height, 0) + 1)
        part = photo.crop((left, top, left + width, top + height)).resize(SIZE)
        part.save(folder / f"{k:05}.jpg", quality=90)


def bare_rate(explainer: Explainer, x: np.ndarray, batch: int, seconds: float = 4.0) -> float:
    """Images a second of the engine alone."""
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        first = done % (len(x) - batch + 1)
        explainer(x[first : first + batch])
        done += batch
    return done / (time.perf_counter() - began)


def _decoding_and_explaining(
    photos: list[str], method: str, seconds: float, ready: Any, results: Any
) -> None:
    explainer = Explainer(demo_model(), method, providers="cpu", threads=1)
    assert explainer.card is not None
    explainer(image_to_tensor(read_image(photos[0]), explainer.card)[0])
    ready.wait()
    done, spent = 0, [0.0, 0.0]
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        before = time.process_time()
        x = image_to_tensor(read_image(photos[done % len(photos)]), explainer.card)[0]
        decoded = time.process_time()
        explainer(x)
        spent[0] += decoded - before
        spent[1] += time.process_time() - decoded
        done += 1
    results.put((done / (time.perf_counter() - began), *(s / done for s in spent)))


def limit_rate(photos: Path, method: str, seconds: float = 5.0) -> tuple[float, float, float]:
    """Images a second of all cores, and CPU seconds of decoding and of explaining one."""
    context = multiprocessing.get_context("spawn")
    cores = usable_cores()
    ready, results = context.Barrier(cores), context.Queue()
    files = [str(path) for path in sorted(photos.iterdir())]
    processes = [
        context.Process(
            target=_decoding_and_explaining,
            args=(files[k::cores], method, seconds, ready, results),
        )
        for k in range(cores)
    ]
    for process in processes:
        process.start()
    found = np.array([results.get() for _ in processes])
    for process in processes:
        process.join()
    return float(found[:, 0].sum()), *(float(v) for v in found[:, 1:].mean(axis=0))


def batch_rates(photos: Path, method: str) -> tuple[float, float]:
    """Images a second of a batch: from the first image on, and with the start."""
    told: list[float] = []
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        report = explain_batch(
            str(demo_model()),
            str(photos),
            out,
            Options(methods=(method,), provider="cpu"),
            Form(),
            Running(),
            lambda text, done: told.append(time.perf_counter()) if done else None,
        )
        ended = time.perf_counter()
    assert report.status == 0 and report.done == len(told)
    # Answers come in eights: the first ones may wait for each other.
    first = 32
    return (len(told) - first) / (told[-1] - told[first - 1]), len(told) / (ended - began)


def throughput(images: int, rounds: int, method: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder)
        write_photos(photos, images)
        explainer = Explainer(demo_model(), method, providers="cpu")
        assert explainer.card is not None
        files = sorted(photos.iterdir())[: max(BATCHES)]
        x = np.concatenate([image_to_tensor(read_image(f), explainer.card)[0] for f in files])
        rates = {batch: bare_rate(explainer, x, batch, 2.0) for batch in BATCHES}
        best = max(rates, key=lambda batch: rates[batch])
        print("bare engine by batch:", {batch: round(rate, 1) for batch, rate in rates.items()})
        rows = []
        for _ in range(rounds):
            load = os.getloadavg()[0]
            bare = bare_rate(explainer, x, best)
            limit, decoding, explaining = limit_rate(photos, method)
            steady, whole = batch_rates(photos, method)
            rows.append((bare, limit, steady))
            print(
                f"bare (batch of {best}) {bare:6.1f}/s   limit {limit:6.1f}/s ({1e3 * decoding:.1f}"
                f" ms of CPU to decode, {1e3 * explaining:.1f} to explain)   batch {steady:6.1f}/s,"
                f" {steady / limit:.2f} of the limit   with the start {whole:6.1f}/s   load "
                f"{load:.1f}",
                flush=True,
            )
        bare, limit, steady = np.median(np.array(rows), axis=0)
        print(
            f"medians: bare {bare:.1f}/s, limit {limit:.1f}/s, batch {steady:.1f}/s: "
            f"{steady / limit:.2f} of the limit, {steady / bare:.2f} of the bare engine"
        )


def memory(counts: list[int]) -> None:
    """Peak resident memory of the main process and of all together."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from support.digits import write_model, write_photo

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, photo = write_model(folder), write_photo(folder / "seven.png", 7)
        for count in counts:
            photos, out = folder / f"photos{count}", folder / f"out{count}"
            photos.mkdir()
            for k in range(count):
                os.link(photo, photos / f"{k:07}.png")
            command = [sys.executable, "-m", "onnxplain.cli", "batch", str(model), str(photos)]
            command += ["-o", str(out), "-m", "grad-cam", "-m", "deeplift", "--workers", "2"]
            began = time.perf_counter()
            process = subprocess.Popen([*command, "--decoders", "1"], start_new_session=True)
            peaks: dict[int, int] = {}
            watching = threading.Thread(target=_watch, args=(process, peaks))
            watching.start()
            assert process.wait() == 0
            watching.join()
            seconds = time.perf_counter() - began
            print(
                f"{count} images: main process {peaks[process.pid] / 1024:.1f} MiB, all "
                f"{len(peaks)} processes {sum(peaks.values()) / 1024:.1f} MiB; {seconds:.1f} s",
                flush=True,
            )
            shutil.rmtree(photos)


def _watch(process: subprocess.Popen, peaks: dict[int, int]) -> None:
    """Each process's own peak in KiB, by VmHWM, of the whole session."""
    while process.poll() is None:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if os.getsid(int(path.name)) == process.pid:
                    lines = (path / "status").read_text().splitlines()
                    (peak,) = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
                    peaks[int(path.name)] = max(peak, peaks.get(int(path.name), 0))
            except (OSError, ValueError):
                pass
        time.sleep(0.2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--method", default="grad-cam")
    parser.add_argument("--memory", type=int, nargs="*")
    arguments = parser.parse_args()
    if arguments.memory:
        memory(arguments.memory)
    else:
        throughput(arguments.images, arguments.rounds, arguments.method)
