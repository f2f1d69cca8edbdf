"""An output folder keeps its records: over runs, beside other processes, whatever breaks off."""

import contextlib
import json
import os
import shutil

import numpy as np
import pytest
from support.digits import CARD, write_photo
from support.left_behind import results, whole

from onnxplain import InvalidInputError
from onnxplain.engine.jobs.explain import Options, explain_files
from onnxplain.engine.jobs.naming import names_of
from onnxplain.engine.jobs.results import Output
from onnxplain.engine.records.journal import Entry, Journal, JournalError
from onnxplain.engine.records.keys import short_hash

CAM = {"methods": ("grad-cam",)}


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    return [write_photo(tmp_path / "photos" / f"p{k}.png", k) for k in range(3)]


def run(model, images, folder, output=None, **options):
    chosen = Options(**{**CAM, **options})
    return explain_files(model, [str(path) for path in images], folder, chosen, output=output)


def test_later_runs_add(tmp_path, model, photos):
    out = tmp_path / "out"
    run(model, photos[:2], out)
    run(model, photos[2:], out)
    run(model, photos[:1], out, methods=("deeplift",), targets=("0", "5"))
    records = whole(out)
    assert [(r["image"][-6:], r["method"]) for r in records] == [
        *(("p0.png", "grad-cam"), ("p1.png", "grad-cam"), ("p2.png", "grad-cam")),
        *(("p0.png", "deeplift"), ("p0.png", "deeplift")),
    ]
    run(model, photos, out)
    assert len(whole(out)) == 5


def test_the_newest_run_has_the_clean_name(tmp_path, model, photos):
    out = tmp_path / "out"
    for baseline in ("black", "white", "mean", "black"):
        run(model, photos[:1], out, methods=("deeplift",), baseline=baseline)
        by_baseline = {r["options"]["baseline"]: r for r in whole(out)}
        newest = by_baseline.pop(baseline)
        assert newest["files"] == ["p0.deeplift.0.png", "p0.deeplift.0.npz"]
        for record in by_baseline.values():
            assert len(record["files"][0]) == len("p0.deeplift.0.png") + 7
    assert len(by_baseline) == 2 and len(list(out.glob("p0*"))) == 6
    arrays = [np.load(out / r["files"][1])["attribution"] for r in whole(out)]
    assert not np.array_equal(arrays[0], arrays[1])
    assert set(newest["options"]) == {"baseline", "rule", "card"}
    # What the older ones are called now is on record: nothing is left to do.
    for baseline in ("black", "white", "mean"):
        done = run(
            *(model, photos[:1], out, Output(resume=True)),
            methods=("deeplift",),
            baseline=baseline,
        )
        assert done.resumed == 1 and not done.records


def test_an_older_picture_does_not_stay_under_the_clean_name(tmp_path, model, photos):
    """A run without pictures has the name, too; its own picture of before comes along."""
    out, plain = tmp_path / "out", Output(pictures=False)
    run(model, photos[:1], out, methods=("deeplift",), baseline="white")
    run(model, photos[:1], out, plain, methods=("deeplift",))
    white, black = whole(out)
    assert black["files"] == ["p0.deeplift.0.npz"] and len(white["files"]) == 2
    assert not (out / "p0.deeplift.0.png").exists()
    run(model, photos[:1], out, plain, methods=("deeplift",), baseline="white")
    white, black = whole(out)
    assert white["files"] == ["p0.deeplift.0.png", "p0.deeplift.0.npz"]
    assert len(list(out.glob("p0*"))) == 3 and black["files"][0].endswith(".npz")


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("step", range(12))
def test_broken_off_while_the_older_one_makes_way(
    tmp_path, model, photos, monkeypatch, step, links
):
    """At each change of the folder: every record has its own files, and --resume does the rest."""

    class Killed(BaseException):
        pass

    out, again = tmp_path / "out", Output(resume=True)
    run(model, photos[:1], out, methods=("deeplift",), baseline="white")
    white = np.load(out / "p0.deeplift.0.npz")["attribution"]
    left, dead = [step], []

    def dying(change):
        def step_of(*arguments, **named):
            if left[0] == 0 or dead:
                dead.append(True)
                raise Killed
            left[0] -= 1
            return change(*arguments, **named)

        return step_of

    def no_links(*_):
        raise OSError(1, "no links here")

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", dying(os.link if links else no_links))
        for name in ("replace", "unlink", "write"):
            patched.setattr(os, name, dying(getattr(os, name)))
        with contextlib.suppress(Killed):
            run(model, photos[:1], out, methods=("deeplift",))
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    record = {line["key"]: line["record"] for line in lines}[lines[0]["key"]]
    with np.load(out / record["files"][1]) as saved:
        assert np.array_equal(saved["attribution"], white)
    for baseline in ("white", None):
        run(model, photos[:1], out, again, methods=("deeplift",), baseline=baseline)
    one, other = whole(out)
    assert other["files"][0] == "p0.deeplift.0.png" and len(one["files"]) == 2
    with np.load(out / one["files"][1]) as saved:
        assert np.array_equal(saved["attribution"], white)


def test_images_of_one_name_are_told_apart_by_folder(tmp_path, model, photos):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        write_photo(tmp_path / folder / "x.png", 3)
    write_photo(tmp_path / "a" / "y.png", 3)
    write_photo(tmp_path / "a" / "y.bmp", 3)
    images = [tmp_path / "a" / "x.png", tmp_path / "b" / "x.png", *sorted(tmp_path.glob("a/y.*"))]
    for _ in range(2):
        run(model, [*images, photos[0]], tmp_path / "out", targets=("3",))
        names = [record["files"][0].split(".")[0] for record in whole(tmp_path / "out")]
        assert names == ["a-x", "b-x", "y-bmp", "y-png", "p0"]


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["x.png"], ["x"]),
        (["a/x.png", "a/x.png"], ["x", "x"]),
        (["a/x.png", "b/X.png"], ["a-x", "b-X"]),
        (["a/x.png", "a/x.jpg"], ["x-png", "x-jpg"]),
        (["a/x.png", "a/x.jpg", "b/x.png"], ["a-x-png", "a-x-jpg", "b-x-png"]),
        (["1/a/x.png", "2/a/x.png"], ["1-a-x", "2-a-x"]),
        (["a/x.png", "b/x.png", "c/a-x.png"], ["a-x-png", "b-x-png", "a-x"]),
    ],
)
def test_names_of_images(images, names):
    assert [names_of(images)[image] for image in images] == names


@pytest.mark.parametrize("what", ["baseline", "card", "layer", "steps", "rule"])
def test_what_shapes_the_numbers_tells_records_apart(tmp_path, model, photos, what):
    first, then, method = {}, {}, "deeplift"
    if what == "baseline":
        first = then = {"baseline": str(tmp_path / "b.npy")}
        np.save(tmp_path / "b.npy", np.float32(0.25))
    elif what in ("layer", "steps"):
        method = "grad-cam" if what == "layer" else "integrated-gradients"
        first, then = ({what: "silu_out_0"}, {}) if what == "layer" else ({what: 4}, {what: 8})
    elif what == "rule":
        then = {"rule": "reveal-cancel"}
    run(model, photos[:1], tmp_path / "out", methods=(method,), **first)
    if what == "baseline":
        np.save(tmp_path / "b.npy", np.float32(0.5))
    elif what == "card":
        model.with_suffix(".json").write_text(json.dumps({**CARD, "mean": 0.25}))
    run(model, photos[:1], tmp_path / "out", methods=(method,), **then)
    one, other = whole(tmp_path / "out")
    assert one["options"] != other["options"]


def test_images_of_one_name_and_names_that_differ_in_case(tmp_path, model, photos):
    (tmp_path / "other").mkdir()
    twins = [write_photo(tmp_path / "other" / name, 0) for name in ("p0.png", "P0.bmp")]
    run(model, [photos[0], *twins], tmp_path / "out")
    names = [record["files"][0] for record in whole(tmp_path / "out")]
    assert len({name.lower() for name in names}) == 3


def test_no_image_is_written_over(tmp_path, model):
    """Also where its name is that of a picture of another."""
    names = ("a.png", "a.grad-cam.3.png")
    images = [
        write_photo(tmp_path / name, number) for name, number in zip(names, (3, 8), strict=True)
    ]
    before = [path.read_bytes() for path in images]
    run(model, images, tmp_path)
    assert [path.read_bytes() for path in images] == before and len(whole(tmp_path)) == 2


def test_very_long_names(tmp_path, model):
    images = [write_photo(tmp_path / f"{'x' * 240}{k}.png", k) for k in range(2)]
    report = run(model, images, tmp_path / "out", targets=("7",))
    assert not report.failed and len(whole(tmp_path / "out")) == 2


def test_a_failure_goes_when_the_image_is_done(tmp_path, model, photos):
    late = tmp_path / "late.png"
    out = tmp_path / "out"
    assert run(model, [late, *photos[:1]], out).failed
    assert [("error" in record) for record in results(out)] == [True, False]
    write_photo(late, 4)
    run(model, [late], out)
    assert len(whole(out)) == 2 and not any("error" in record for record in results(out))


def test_resume(tmp_path, model, photos):
    out = tmp_path / "out"
    again = Output(resume=True)
    done = run(model, photos, out, again, targets=("top1", "5"))
    assert (done.resumed, len(done.records)) == (0, 6)
    done = run(model, photos, out, again, targets=("5", "top1"))
    assert (done.resumed, done.records) == (3, [])
    # A changed image, a file that is gone, a target and a method that are new.
    write_photo(photos[0], 8)
    os.utime(photos[0], ns=(1, 1))
    (out / "p1.grad-cam.5.npz").unlink()
    done = run(model, photos, out, again, targets=("5", "top1"))
    assert done.resumed == 1
    assert [r["target"]["index"] for r in done.records] == [5, 8, 5]
    done = run(model, photos[2:], out, again, targets=("2", "7"))
    assert [r["target"]["index"] for r in done.records] == [7]
    done = run(model, photos[2:], out, again, methods=("grad-cam", "deeplift"), targets=("7",))
    assert [r["method"] for r in done.records] == ["deeplift"]
    assert run(model, [*photos, tmp_path / "none.png"], out, again, targets=("5",)).resumed == 3
    whole(out)


def test_what_failed_is_tried_again(tmp_path, model, photos):
    late, again = tmp_path / "late.png", Output(resume=True)
    assert run(model, [late], tmp_path / "out", again).failed
    write_photo(late, 4)
    assert len(run(model, [late], tmp_path / "out", again).records) == 1


def test_without_pictures(tmp_path, model, photos):
    out = tmp_path / "out"
    run(model, photos[:1], out, Output(pictures=False))
    assert results(out)[0]["files"] == ["p0.grad-cam.0.npz"] and not list(out.glob("*.png"))
    # With pictures it is not done yet; without, it is, and the picture stays.
    assert run(model, photos[:1], out, Output(resume=True)).resumed == 0
    for output in (Output(pictures=False, resume=True), Output(pictures=False)):
        run(model, photos[:1], out, output)
        assert whole(out)[0]["files"] == ["p0.grad-cam.0.png", "p0.grad-cam.0.npz"]
    write_photo(photos[0], 0)
    os.utime(photos[0], ns=(1, 1))
    run(model, photos[:1], out, Output(pictures=False))
    assert whole(out)[0]["files"] == ["p0.grad-cam.0.npz"] and not list(out.glob("*.png"))


def test_an_older_runs_folder_is_taken_over(tmp_path, model, photos):
    out = tmp_path / "out"
    run(model, photos[:2], out)
    (out / "results.jsonl").unlink()
    run(model, photos[1:], out)
    assert len(whole(out)) == 3
    # As versions without a journal wrote it: nothing says by which options, so both stay.
    old = results(out)
    for record in old:
        del record["options"]
    (out / "results.json").write_text(json.dumps(old))
    (out / "results.jsonl").unlink()
    run(model, photos[:1], out)
    records = whole(out)
    assert len(records) == 4 and records[1:3] == old[1:]
    # The older one has made way for the newest.
    assert records[0] == old[0] | {"files": records[0]["files"]}
    assert records[3]["files"] == old[0]["files"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.json", '{"accuracy": 0.9}'),
        ("results.json", '[{"image": '),
        ("results.jsonl", '{"accuracy": 0.9}\n'),
        ("results.jsonl", "a line without an end"),
    ],
)
def test_somebody_elses_files_are_left_alone(tmp_path, model, photos, name, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(content)
    with pytest.raises(InvalidInputError, match=name):
        run(model, photos, tmp_path / "out")
    assert (tmp_path / "out" / name).read_text() == content


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_torn_line_is_cut_off(tmp_path, model, photos, cut):
    out = tmp_path / "out"
    run(model, photos[:2], out)
    path = out / "results.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"what is this?\n" + lines[1][:-cut])
    (out / "results.json").unlink()
    done = run(model, photos, out, Output(resume=True))
    assert done.resumed == 1 and len(whole(out)) == 3
    assert [json.loads(line)["record"]["image"] for line in path.read_bytes().splitlines()[2:]]


def test_a_line_that_cannot_be_written_leaves_no_part(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    with journal.locked():
        journal.append("a/1", Entry({"image": "a", "files": []}))
    before = (tmp_path / "results.jsonl").read_bytes()
    write = os.write

    def full(descriptor, content):
        if len(content) < 30:
            raise OSError(28, "No space left on device")
        return write(descriptor, content[:20])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(JournalError, match="No space left"), journal.locked():
        journal.append("b/1", Entry({"image": "b", "files": []}))
    assert (tmp_path / "results.jsonl").read_bytes() == before
    assert len(journal.records()) == 1


def test_a_picture_without_its_line_is_no_picture(tmp_path, model, photos, monkeypatch):
    def full(self, content):
        raise JournalError(28, "No space left on device", "results.jsonl")

    monkeypatch.setattr(Journal, "_write", full)
    report = run(model, photos, tmp_path / "out")
    assert report.stopped is not None and "results.jsonl: No space left" in report.stopped
    assert report.status == 2 and not list((tmp_path / "out").glob("p*"))


def test_interrupted_between_two_images(tmp_path, model, photos):
    class Enough(BaseException):
        pass

    def stop(records):
        if records[0].image.endswith("p1.png"):
            raise Enough

    with pytest.raises(Enough):
        explain_files(
            model, [str(p) for p in photos], tmp_path / "out", Options(**CAM), on_image=stop
        )
    assert len(whole(tmp_path / "out")) == 2


def test_results_json_is_written_early_only_where_that_is_cheap(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    with journal.locked():
        journal.append("a/1", Entry({"image": "a", "files": []}))
    journal.write_results_if_cheap()
    assert len(results(tmp_path)) == 1
    with journal.locked():
        journal.append("b/1", Entry({"image": "b", "files": []}))
    journal._spent = 1e6
    journal.write_results_if_cheap()
    assert len(results(tmp_path)) == 1
    journal.write_results()
    assert len(results(tmp_path)) == 2


def test_two_writers_see_each_others_records(tmp_path):
    one, other = Journal(tmp_path), Journal(tmp_path)
    for number, journal in enumerate([one, other, one, other]):
        with journal.locked():
            assert journal.name(f"{number}/1", "same") in (
                "same",
                f"same.{short_hash(f'{number}/1')}",
            )
            name = journal.name_behind(f"{number}/1", "same")
            record = {"image": str(number), "files": [f"{name}.npz"]}
            journal.append(f"{number}/1", Entry(record))
    one.write_results()
    assert len({r["files"][0] for r in results(tmp_path)}) == 4
    # The folder's journal may be put aside while somebody is at work.
    shutil.move(tmp_path / "results.jsonl", tmp_path / "aside.jsonl")
    with other.locked():
        other.append("4/1", Entry({"image": "4", "files": []}))
    other.write_results()
    assert len(results(tmp_path)) == 5


def test_one_line_as_each_image_is_done(tmp_path, model, photos):
    seen = []
    images = [str(path) for path in photos]
    explain_files(model, images, tmp_path / "out", Options(**CAM), on_image=seen.append)
    assert [len(records) for records in seen] == [1, 1, 1]
