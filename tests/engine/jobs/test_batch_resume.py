"""Batches that are killed, stopped or robbed of their source, and go on."""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from support.batches import contents, rows_in, write_photos
from support.left_behind import started
from support.often import often

pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'onnxplain[batch]'")
from onnxplain.engine.jobs.asked import Options
from onnxplain.engine.jobs.batch.items import Item
from onnxplain.engine.jobs.batch.pipeline import ProcessesEndedError, answers
from onnxplain.engine.jobs.batch.question import Form, question_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
KILLS = often(6, 20)
HERE = ("--workers", "0", "--threads", "1")


@pytest.fixture
def start(tmp_path, model):
    def run(photos, *arguments):
        command = [sys.executable, "-m", "onnxplain.cli", "batch", model, photos]
        command += ["-m", "grad-cam", "--threads", "1", *arguments]
        return popen(command)

    with started() as popen:
        yield run


def shards(folder):
    return len(list(folder.glob("part-*.parquet")))


def wait_for(folder, count, process, seconds=60.0):
    """Until so many shards are there, or the process has ended."""
    until = time.monotonic() + seconds
    while shards(folder) < count and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.002)


def endless(folder, lines):
    """A list of so many images, the same fifty again and again: a batch that is not done soon."""
    photos = sorted(write_photos(folder / "photos", 50).rglob("*.png"))
    path = folder / "photos.txt"
    path.write_text("".join(f"{photos[k % len(photos)]}\n" for k in range(lines)))
    return path


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path, model, start, command):
    """Nothing is lost beyond a shard, and in the end every byte is an uninterrupted run's."""
    chance = random.Random(0)
    photos = write_photos(tmp_path / "photos", 200)
    whole, out = tmp_path / "whole", tmp_path / "out"
    asked = ("--shard", "4")
    assert command("batch", model, photos, "-o", whole, "-m", "grad-cam", *asked, *HERE)[0] == 0
    expected, kills = contents(whole), 0
    assert shards(whole) == 50
    while kills < KILLS:
        before = shards(out) if out.exists() else 0
        process = start(photos, "-o", out, *asked, "--resume", "--workers", kills % 2)
        wait_for(out, min(before + chance.randrange(3), 49), process)
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.wait()
        kills += 1
        there = {name: data for name, data in contents(out).items() if name.startswith("part-")}
        assert len(there) >= before and all(expected[name] == data for name, data in there.items())
    process = start(photos, "-o", out, *asked, "--resume", "--workers", "1")
    assert process.wait() == 0
    assert contents(out) == expected and len(rows_in(out)) == 200


def test_another_question_is_refused(tmp_path, model, command):
    photos = write_photos(tmp_path / "photos", 6)
    asked = ["batch", model, photos, "-o", tmp_path / "out", "--shard", "4", *HERE]
    assert command(*asked, "-m", "grad-cam")[0] == 0
    before = contents(tmp_path / "out")
    for more, says in (
        (("-m", "grad-cam"), "holds 2 shards of this question: add --resume"),
        (("-m", "deeplift"), "another question (methods, shapes differ)"),
        (("-m", "deeplift", "--resume"), "another question"),
        (("-m", "grad-cam", "-t", "3", "--resume"), "another question (targets differ)"),
        (("-m", "grad-cam", "--grid", "2x2", "--resume"), "another question (grid, shapes differ)"),
        (("-m", "grad-cam", "--dtype", "float16", "--resume"), "(attribution differ)"),
    ):
        status, text, err = command(*asked, *more)
        assert (status, text) == (2, "") and says in err and err.count("\n") == 1, err
    assert command(*asked, "-m", "grad-cam", "--resume")[0] == 0
    write_photos(tmp_path / "photos", 7)
    status, _, err = command(*asked, "-m", "grad-cam", "--resume")
    assert status == 2 and "(images, source_sha256 differ)" in err
    assert contents(tmp_path / "out") == before
    (tmp_path / "out" / "_manifest.json").unlink()
    status, _, err = command(*asked, "-m", "grad-cam", "--resume")
    assert status == 2 and "of something else" in err


def test_failures_of_earlier_shards_count(tmp_path, model, command):
    photos = write_photos(tmp_path / "photos", 6)
    (photos / "part000" / "p0001.png").write_bytes(b"")
    asked = (
        "batch",
        model,
        photos,
        "-o",
        tmp_path / "out",
        "-m",
        "grad-cam",
        "--shard",
        "4",
        *HERE,
    )
    assert command(*asked)[0] == 1
    status, text, _ = command(*asked, "--resume")
    assert status == 1 and "0 images, 6 there before, 2 of 2 shards, 1 row with an error" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_in_good_order(tmp_path, start, number):
    photos, out = endless(tmp_path, 20_000), tmp_path / "out"
    process = start(photos, "-o", out, "--shard", "4", "--workers", "1", "--decoders", "1")
    wait_for(out, 2, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    says = "interrupted" if number == signal.SIGINT else "stopped by SIGTERM"
    assert (process.returncode, err) == (128 + number, f"onnxplain: {says}\n")
    assert 2 <= shards(out) < 5_000 and not list(out.glob(".onnxplain-*"))


def test_a_source_that_goes_away(tmp_path, start):
    photos, out = write_photos(tmp_path / "photos", 50), tmp_path / "out"
    for k, photo in enumerate(sorted(photos.rglob("*.png")) * 29):
        os.link(photo, photos / f"{k:05}.png")
    process = start(photos, "-o", out, "--shard", "20", "--workers", "1")
    wait_for(out, 1, process)
    photos.rename(tmp_path / "elsewhere")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "it is gone; stopped, with" in err and err.count("\n") == 1
    assert all(row["error"] is None for row in rows_in(out))
    (tmp_path / "elsewhere").rename(photos)
    process = start(photos, "-o", out, "--shard", "20", "--workers", "0", "--resume")
    assert process.wait() == 0 and len(rows_in(out)) == 1_500


def children(process):
    """The processes that explain for a batch, which its server of forks has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "stat").read_text().rpartition(")")[2].split()
            command = (path / "cmdline").read_bytes()
        except OSError:
            continue
        found.append((int(path.name), int(words[1]), command))
    servers = {
        pid for pid, parent, words in found if parent == process.pid and b"forkserver" in words
    }
    return [pid for pid, parent, _ in found if parent in servers]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_process_that_is_killed_is_replaced(tmp_path, model, start, command):
    photos, out = write_photos(tmp_path / "photos", 300), tmp_path / "out"
    process = start(photos, "-o", out, "--shard", "4", "--workers", "1")
    wait_for(out, 2, process)
    (worker,) = children(process)
    os.kill(worker, signal.SIGKILL)
    out_text, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, ""), out_text
    whole = tmp_path / "whole"
    asked = ("-m", "grad-cam", "--shard", "4", *HERE)
    assert command("batch", model, photos, "-o", whole, *asked)[0] == 0
    assert contents(whole) == contents(out)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_end_with_the_main_one(tmp_path, start):
    photos, out = write_photos(tmp_path / "photos", 300), tmp_path / "out"
    process = start(photos, "-o", out, "--shard", "4", "--workers", "1", "--decoders", "1")
    wait_for(out, 1, process)
    workers = children(process)
    assert len(workers) == 2
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    while any(
        Path(f"/proc/{pid}/fd").exists() and os.path.exists(f"/proc/{pid}/exe") for pid in workers
    ):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_one_process_at_a_time(tmp_path, model, start, command):
    photos, out = write_photos(tmp_path / "photos", 300), tmp_path / "out"
    process = start(photos, "-o", out, "--shard", "4", "--workers", "1")
    wait_for(out, 1, process)
    status, _, err = command("batch", model, photos, "-o", out, "-m", "grad-cam", "--resume", *HERE)
    assert status == 2 and "another process is writing to it" in err
    process.terminate()
    process.wait()
    shutil.rmtree(out)


class Deadly:
    """Content that ends the process that receives it."""

    def __reduce__(self):
        return os._exit, (9,)


def test_an_image_that_ends_its_process_is_an_error(tmp_path, model):
    path = str(next(write_photos(tmp_path / "photos", 1).rglob("*.png")))
    options = Options(methods=("grad-cam",), provider="cpu", threads=1)
    question, _ = question_for(str(model), options, Form())
    items = [Item(k, f"i{k}", Deadly() if k == 9 else path) for k in range(20)]
    found = list(answers(items, question, None, 1, 0))
    errors = [answer.rows[0].error for answer in found]
    assert [k for k, error in enumerate(errors) if error is not None] == [9] and len(found) == 20
    assert "image i9: the process that explained it ended by itself" in (errors[9] or "")
    deadly = [Item(k, f"i{k}", Deadly()) for k in range(6)]
    with pytest.raises(ProcessesEndedError, match="enough memory"):
        list(answers(deadly, question, None, 1, 1))
