"""Batches of several processes, stopped at random moments: they end, and what is there is whole."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from support.batches import write_photos
from support.digits import write_model
from support.left_behind import limited
from support.often import often

pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'onnxplain[batch]'")

import pyarrow.parquet as pq

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="POSIX signals"), pytest.mark.slow]
SHARD, SECONDS = 10, 60


@pytest.fixture
def asked(tmp_path):
    model, photos = write_model(tmp_path), sorted(write_photos(tmp_path / "p", 40).rglob("*.png"))
    source = tmp_path / "photos.txt"
    source.write_text("".join(f"{photos[k % 40]}\n" for k in range(20_000)))
    more = ("-m", "saliency", "--workers", "2", "--threads", "1", "--shard", str(SHARD))
    return ("batch", model, source, *more, "-o", tmp_path / "out")


def whole(folder):
    shards = sorted(folder.glob("part-*.parquet"))
    assert all(pq.read_metadata(shard).num_rows == SHARD for shard in shards)
    left = [p.name for p in folder.iterdir() if p not in shards and p.name[0] not in "_."]
    assert not left and not list(folder.glob(".onnxplain-*"))
    return len(shards)


@pytest.mark.parametrize("number", range(often(3, 40)))
@pytest.mark.parametrize("kind", ["SIGTERM", "SIGINT", "group"])
def test_it_ends_with_what_is_whole(tmp_path, asked, kind, number):
    """A signal to it, or Ctrl-C, which goes to all of its processes."""
    chance = random.Random(f"{kind}{number}")
    more = chance.choice([(), ("--decoders", "1"), ("--pictures",)])
    run = [sys.executable, "-m", "onnxplain.cli", *map(str, (*asked, *more))]
    process = subprocess.Popen(run, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + SECONDS
    awaited = "part-*" if number else "*"
    while not list((tmp_path / "out").glob(awaited)):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.3))
    asks = signal.SIGTERM if kind == "SIGTERM" else signal.SIGINT
    (os.killpg if kind == "group" else os.kill)(process.pid, asks)
    _, err = process.communicate(timeout=SECONDS)
    says = "stopped by SIGTERM" if kind == "SIGTERM" else "interrupted"
    assert (process.returncode, err) == (128 + asks, f"onnxplain: {says}\n")
    assert whole(tmp_path / "out") >= min(number, 1)


def test_a_full_disk(tmp_path, asked):
    """It is the same in whichever process it is: a shard's, or a picture's."""
    for size in (600, 3_000):
        done = limited(size, *asked, "--pictures")
        assert done.returncode == 2 and "File too large" in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1 and whole(tmp_path / "out") == 0
        (tmp_path / "out").rename(tmp_path / f"out{size}")
