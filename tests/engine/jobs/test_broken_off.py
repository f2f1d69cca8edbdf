"""Whole runs of the command line that are killed, stopped, doubled or have no room."""

import json
import os
import random
import signal
import sys
import time

import pytest
from support.digits import write_photo
from support.left_behind import limited, results, started, whole

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and limits")
PHOTOS = 6


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(PHOTOS):
        write_photo(folder / f"p{k}.png", k)
    return folder


@pytest.fixture
def start(tmp_path, model, photos):
    """Start `onnxplain explain` on all photos by Grad-CAM and DeepLIFT, into the folder out."""

    def run(*arguments, before=None):
        command = [sys.executable, "-m", "onnxplain.cli", "explain", model, photos]
        command += ["-o", tmp_path / "out", "-m", "grad-cam", "-m", "deeplift", *arguments]
        return popen(command, preexec_fn=before)

    with started() as popen:
        yield run


def lines_of(folder):
    path = folder / "results.jsonl"
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def test_killed_at_random_moments(tmp_path, start):
    """Whatever is on record has whole files, and --resume does the rest."""
    random.seed(0)
    out = tmp_path / "out"
    for _ in range(3):
        process = start("--resume")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.uniform(0, 0.15))
        process.kill()
        process.wait()
        records = [json.loads(line)["record"] for line in lines_of(out) if line.endswith(b"\n")]
        names = {name for record in records for name in record["files"]}
        assert records and names <= set(os.listdir(out))
    assert start("--resume").wait() == 0
    assert len(whole(out)) == 2 * PHOTOS == len(lines_of(out))
    assert not list(out.glob("*.tmp"))


def test_lines_come_as_images_are_done_and_a_signal_stops_in_good_order(tmp_path, start):
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        process = start()
        assert process.stdout is not None
        assert process.stdout.readline().startswith("p0.png: zero ")
        assert process.poll() is None
        # The second one comes while the first is answered.
        process.send_signal(number)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
        says = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
        if err == "onnxplain: stopped by SIGTERM\n" and process.returncode == 143:
            continue  # two signals at once are answered in the order of their numbers
        assert (process.returncode, err) == (128 + number, f"onnxplain: {says}\n")
    assert 2 <= len(whole(tmp_path / "out")) == len({*map(key, lines_of(tmp_path / "out"))})
    assert not list((tmp_path / "out").glob("*.tmp"))


def key(line):
    return json.loads(line)["key"]


def test_a_signal_that_was_ignored_stays_so(tmp_path, start):
    """As under nohup."""
    process = start(before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0 and len(whole(tmp_path / "out")) == 2 * PHOTOS


def test_two_processes_in_one_folder(tmp_path, start):
    both = [start(), start("-t", "5", "-t", "top1")]
    assert [process.wait() for process in both] == [0, 0]
    records = whole(tmp_path / "out")
    # The top class of the photo of a five is 5.
    assert len(records) == 2 * (2 * PHOTOS - 1)


def test_a_full_disk_is_said_once_and_what_is_done_stays(tmp_path, model, photos):
    out = tmp_path / "out"
    arguments = ("explain", model, photos, "-o", out, "-m", "deeplift")
    done = limited(500, *arguments)
    assert done.returncode == 2 and results(out) == [] and done.stdout == ""
    assert done.stderr.startswith(f"onnxplain: cannot write {out}: File too large; stopped")
    # Room for the small pictures and arrays, not for a journal of many lines.
    done = limited(3000, *arguments, "--no-pictures")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"{out / 'results.json'}" in done.stderr and "File too large" in done.stderr
    kept = [json.loads(line)["record"] for line in lines_of(out)]
    assert 1 <= len(kept) < PHOTOS and f"with {len(kept)} of" in done.stderr
    assert all((out / name).is_file() for record in kept for name in record["files"])
    assert len(list(out.glob("*.npz"))) == len(kept) and not list(out.glob("*.tmp"))
    assert limited(10**8, *arguments, "--resume").returncode == 0
    assert len(whole(out)) == PHOTOS
