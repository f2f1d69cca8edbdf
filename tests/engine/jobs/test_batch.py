"""Batches: sources, rows and refusals."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from PIL import Image
from support.batches import contents, rows_in, write_photos
from support.digits import CARD, LABELS, flat_model, simple, write_photo
from support.left_behind import limited

from onnxplain import Explainer
from onnxplain.engine.inputs.image import image_to_tensor, read_image

pa = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'onnxplain[batch]'")
pq = pytest.importorskip("pyarrow.parquet")
COLUMNS = [
    *("image", "method", "target_index", "target_label", "score", "probability"),
    *("baseline_score", "delta", "relative_delta", "map_error"),
    *("steps", "box", "attribution", "error"),
]
HERE = ("--workers", "0", "--threads", "1")


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", 12)


def test_rows_are_what_the_library_returns(tmp_path, model, photos, command):
    out = tmp_path / "out"
    asked = ("-m", "grad-cam", "-m", "deeplift", "-t", "top1", "-t", "four", "-t", "rank2")
    status, text, err = command("batch", model, photos, "-o", out, *asked, "--shard", 5, *HERE)
    assert (status, err) == (0, "") and text.startswith(f"{out}: 12 images, 3 of 3 shards, 0 rows")
    assert [p.name for p in sorted(out.glob("*.parquet"))] == [
        f"part-0000{k}.parquet" for k in "012"
    ]
    rows = rows_in(out)
    assert list(rows[0]) == COLUMNS
    assert list(dict.fromkeys(row["image"] for row in rows)) == [
        str(path) for path in sorted(photos.rglob("*.png"))
    ]
    explainers = {name: Explainer(model, name, threads=1) for name in ("grad-cam", "deeplift")}
    cards = {name: e.card for name, e in explainers.items()}
    for row in rows:
        method = row["method"]
        x, _ = image_to_tensor(read_image(row["image"]), cards[method])
        e = explainers[method](x, row["target_index"])
        assert row["target_label"] == LABELS[row["target_index"]] and row["error"] is None
        np.testing.assert_allclose(row["score"], e.score[0], rtol=1e-5)
        largest = np.abs(e.attribution).max()
        found = np.array(row["attribution"]).reshape(e.attribution[0].shape)
        np.testing.assert_allclose(found, e.attribution[0], atol=1e-5 * largest)
        if method == "deeplift":
            np.testing.assert_allclose(row["baseline_score"], e.baseline_score[0], rtol=1e-5)
            assert abs(row["delta"]) < 1e-3 and row["relative_delta"] < 1e-3
        else:
            assert row["baseline_score"] is row["delta"] is row["relative_delta"] is None
    per_image = {name: sum(row["image"] == name for row in rows) for name in [rows[0]["image"]]}
    assert all(4 <= count <= 6 for count in per_image.values())
    about = json.loads(pq.read_schema(out / "part-00000.parquet").metadata[b"onnxplain"])
    assert len(about["model_sha256"]) == 64 and about["targets"] == ["top1", "four", "rank2"]
    assert set(about["methods"]) == {"grad-cam", "deeplift"}


def test_processes_change_no_byte(tmp_path, model, photos, command):
    asked = ("-m", "grad-cam", "--shard", "5", "--pictures")
    ways = {
        "here": ("--workers", "0"),
        "two": ("--workers", "2", "--threads", "1"),
        "apart": ("--workers", "1", "--decoders", "1", "--threads", "2"),
    }
    for name, how in ways.items():
        assert command("batch", model, photos, "-o", tmp_path / name, *asked, *how)[0] == 0
    found = contents(tmp_path / "here")
    assert sum(name.endswith(".png") for name in found) == 12
    assert found == contents(tmp_path / "two") == contents(tmp_path / "apart")
    assert len(rows_in(tmp_path / "here")) == 12, "the pictures are in nobody's way"


def tables(folder, paths):
    """The same images as tables of every kind."""
    contents = [path.read_bytes() for path in paths]
    names = [path.name for path in paths]
    numbers = list(range(len(paths)))
    beside = [str(path.relative_to(folder)) for path in paths]
    structs = [{"bytes": c, "path": n} for c, n in zip(contents, names, strict=True)]
    made = {
        "bytes.parquet": pa.table({"n": numbers, "title": names, "photo": contents}),
        "large.arrow": pa.table({"photo": pa.array(contents, pa.large_binary())}),
        "structs.parquet": pa.table({"image": structs, "n": numbers}),
        "paths.feather": pa.table({"n": numbers, "file": beside}),
        "two.parquet": pa.table({"words": ["no"] * len(paths), "file": [str(p) for p in paths]}),
    }
    for name, table in made.items():
        if name.endswith(".parquet"):
            pq.write_table(table, folder / name, row_group_size=5)
        else:
            with pa.ipc.new_file(folder / name, table.schema) as file:
                file.write_table(table, max_chunksize=4)
    return made


def test_sources(tmp_path, model, photos, command):
    """The same images, whatever they come in."""
    paths = sorted(photos.rglob("*.png"))
    (tmp_path / "list.txt").write_bytes(
        "\r\n".join(["", *(str(p.relative_to(tmp_path)) for p in paths), ""]).encode()
    )
    (photos / ".hidden.png").write_bytes(b"")
    (photos / "notes.md").write_bytes(b"")
    sources = [photos, photos / "**" / "*.png", "list.txt", *tables(tmp_path, paths)]
    asked = ("-m", "grad-cam", "--shard", "5", *HERE)
    kept = []
    for number, source in enumerate(sources):
        out = tmp_path / f"out{number}"
        status, _, err = command("batch", model, tmp_path / source, "-o", out, *asked)
        assert (status, err) == (0, ""), source
        rows = rows_in(out)
        kept.append([(row["score"], row["attribution"]) for row in rows])
        if str(source).startswith(("bytes", "structs", "large")):
            assert [row["image"] for row in rows] == [f"{source}#{k}" for k in range(12)]
    assert len(kept[0]) == 12 and all(found == kept[0] for found in kept)


def test_columns(tmp_path, model, photos, command):
    paths = sorted(photos.rglob("*.png"))
    tables(tmp_path, paths)
    contents = [path.read_bytes() for path in paths]
    table = pa.table({"a": contents, "b": contents, "n": list(range(12))})
    pq.write_table(table, tmp_path / "both.parquet")
    for column, says in (
        (None, "several columns may hold the images; give --column, one of 'a', 'b', 'n'"),
        ("c", "no column 'c', but 'a', 'b', 'n'"),
        ("n", "column 'n': expected images' bytes or paths, got int64"),
        ("b", None),
    ):
        more = () if column is None else ("--column", column)
        source = tmp_path / "both.parquet"
        done = command("batch", model, source, "-o", tmp_path / "o", "-m", "grad-cam", *more, *HERE)
        assert done[0] == (0 if says is None else 2)
        assert says is None or (says in done[2] and done[2].count("\n") == 1)


def test_what_fails_is_a_row(tmp_path, model, photos, command):
    paths = sorted(photos.rglob("*.png"))
    paths[3].write_bytes(paths[3].read_bytes()[:60])
    paths[7].write_bytes(b"")
    asked = ("batch", model, photos, "-m", "grad-cam", "-m", "deeplift", "--shard", "5")
    status, text, err = command(*asked, "-o", tmp_path / "out", *HERE)
    assert status == 1 and "2 rows with an error" in text
    assert err.count("\n") == 2 and paths[3].name in err and paths[7].name in err
    rows = rows_in(tmp_path / "out")
    failed = [row for row in rows if row["error"] is not None]
    assert [row["image"] for row in failed] == [str(paths[3]), str(paths[7])]
    for row in failed:
        assert row["image"] in row["error"]
        assert all(row[name] is None for name in COLUMNS[1:-1])
    assert len(rows) == 22
    table = pa.table({"photo": [b"no image", None, paths[0].read_bytes()]})
    pq.write_table(table, tmp_path / "t.parquet")
    asked = ("batch", model, tmp_path / "t.parquet", "-m", "grad-cam", "-o", tmp_path / "two")
    assert command(*asked, *HERE)[0] == 1
    first, second, third = rows_in(tmp_path / "two")
    assert "t.parquet#0: expected an image" in first["error"] and third["error"] is None
    assert "nothing is there" in second["error"]


def test_a_method_that_fails_leaves_the_others(tmp_path, photos, command):
    """A score that overflows at the baseline only: DeepLIFT fails, saliency does not."""
    model = flat_model(tmp_path, scale=100.0)
    np.save(tmp_path / "far.npy", np.full((8, 8, 1), 3e38, np.float32))
    asked = ("-m", "saliency", "-m", "deeplift", "--baseline", tmp_path / "far.npy")
    status, _, _ = command("batch", model, photos, "-o", tmp_path / "out", *asked, *HERE)
    rows = rows_in(tmp_path / "out")
    assert status == 1 and [row["method"] for row in rows] == ["saliency", "deeplift"] * 12
    assert all((row["error"] is None) == (row["method"] == "saliency") for row in rows)


@pytest.mark.parametrize("grid", [(4, 4), (8, 2), (3, 5), (1, 1), (8, 8)])
def test_grids_are_means_of_cells(tmp_path, model, photos, command, grid):
    """Against every pixel split into as many as there are cells, which are then averaged."""
    text = f"{grid[0]}x{grid[1]}"
    asked = ("batch", model, photos, "-m", "grad-cam", "-m", "deeplift", *HERE)
    assert command(*asked, "-o", tmp_path / "plain")[0] == 0
    assert command(*asked, "-o", tmp_path / "cells", "--grid", text)[0] == 0
    kind = pq.read_schema(tmp_path / "cells" / "part-00000.parquet").field("attribution").type
    assert tuple(kind.shape) == grid
    for plain, cells in zip(*map(rows_in, (tmp_path / "plain", tmp_path / "cells")), strict=True):
        split = np.array(plain["attribution"]).reshape(8, 8)
        split = split.repeat(grid[0], 0).repeat(grid[1], 1).reshape(grid[0], 8, grid[1], 8)
        expected = split.mean(axis=(1, 3)).reshape(-1)
        np.testing.assert_allclose(cells["attribution"], expected, rtol=1e-5, atol=1e-7)


def test_how_attributions_are_stored(tmp_path, model, photos, command):
    asked = ("batch", model, photos, "-m", "grad-cam", *HERE)
    kinds = {}
    ways = {"float32": (), "float16": ("--dtype", "float16"), "none": ("--no-attributions",)}
    for name, how in ways.items():
        assert command(*asked, "-o", tmp_path / name, *how)[0] == 0
        kinds[name] = pq.read_schema(tmp_path / name / "part-00000.parquet")
    full, half, none = (rows_in(tmp_path / name) for name in ways)
    assert "attribution" not in none[0] and kinds["none"].names == [
        name for name in COLUMNS if name != "attribution"
    ]
    for name in ("float32", "float16"):
        kind = kinds[name].field("attribution").type
        assert tuple(kind.shape) == (8, 8) and kind.value_type == getattr(pa, name)()
    for one, two in zip(full, half, strict=True):
        expected = np.array(one["attribution"], np.float32).astype(np.float16)
        assert np.array_equal(np.array(two["attribution"], np.float16), expected)


def test_float16_that_cannot_hold_it_is_an_error(tmp_path, photos, command):
    model = flat_model(tmp_path, scale=3e5)
    asked = ("batch", model, photos, "-m", "saliency", "--dtype", "float16", *HERE)
    assert command(*asked, "-o", tmp_path / "out")[0] == 1
    assert all("float16 cannot hold" in row["error"] for row in rows_in(tmp_path / "out"))


def test_methods_of_several_shapes(tmp_path, photos, command):
    """A map of locations, and one number for each channel: lists, then."""
    model = tmp_path / "m.onnx"
    nodes = [
        ("Transpose", ["x"], ["t"], {"perm": [0, 3, 1, 2]}),
        ("Conv", ["t", "k"], ["c"], {"pads": [1, 1, 1, 1]}),
        ("GlobalAveragePool", ["c"], ["p"]),
        ("Flatten", ["p"], ["y"]),
    ]
    onnx.save(simple(nodes, output=("N", 4)), model)
    content = {key: value for key, value in CARD.items() if key != "labels"}
    model.with_suffix(".json").write_text(json.dumps(content))
    asked = ("batch", model, photos, "-m", "grad-cam", "-m", "saliency", *HERE)
    assert command(*asked, "-o", tmp_path / "out")[0] == 0
    schema = pq.read_schema(tmp_path / "out" / "part-00000.parquet")
    assert schema.field("attribution").type == pa.list_(pa.float32())
    shapes = json.loads(schema.metadata[b"onnxplain"])["shapes"]
    assert shapes == {"grad-cam": [8, 8], "saliency": [8, 8, 1]}
    assert all(len(row["attribution"]) == 64 for row in rows_in(tmp_path / "out"))


def test_wrong_use_is_one_line(tmp_path, model, photos, command):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.parquet").write_bytes(b"no table")
    out = ("-o", tmp_path / "out", "-m", "grad-cam", *HERE)
    for arguments, says in (
        ((model, tmp_path / "nowhere", *out), "no such file or folder"),
        ((model, tmp_path / "empty", *out), "no images in it"),
        ((model, tmp_path / "bad.parquet", *out), "expected a table"),
        ((model, photos, *out, "--column", "a"), "is no table"),
        ((model, photos, *out, "--grid", "4"), "expected HEIGHTxWIDTH"),
        ((model, photos, *out, "--grid", "9x4"), "at most the input's 8x8, got 9x4"),
        ((model, photos, *out, "-t", "eleven"), "eleven"),
        ((tmp_path / "no.onnx", photos, *out), "no such file"),
    ):
        status, text, err = command("batch", *arguments)
        assert (status, text) == (2, "") and says in err and err.count("\n") == 1, err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.parquet"))


def test_without_pyarrow_one_line_says_what_to_install(tmp_path, model, photos):
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import importlib.util; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'pyarrow' else "
        "find(name, *more)\n"
        "from onnxplain.cli import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, "batch", str(model), str(photos), "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "pip install 'onnxplain[batch]'" in done.stderr


def test_a_full_disk_leaves_what_is_complete(tmp_path, model, photos, command):
    out = tmp_path / "out"
    asked = ("batch", model, photos, "-o", out, "-m", "deeplift", "--shard", "4", *HERE)
    assert command(*asked)[0] == 0
    expected = contents(out)
    sizes = [len(expected[f"part-0000{k}.parquet"]) for k in range(3)]
    other = tmp_path / "other"
    asked = [other if part is out else part for part in asked]
    done = limited(min(sizes) - 1, *asked)
    assert done.returncode == 2 and "stopped, with 0 of 3 shards there" in done.stderr
    assert done.stderr.count("\n") == 1 and not list(other.glob("*.tmp"))
    assert command(*asked, "--resume")[0] == 0 and contents(other) == expected


def test_pictures_are_those_of_explain(tmp_path, model, command):
    photo = write_photo(tmp_path / "seven.png", 7)
    assert command("explain", model, photo, "-m", "deeplift", "-o", tmp_path / "one")[0] == 0
    asked = ("-m", "deeplift", "--pictures", *HERE)
    assert command("batch", model, photo, "-o", tmp_path / "two", *asked)[0] == 0
    with Image.open(tmp_path / "one" / "seven.deeplift.7.png") as expected:
        (path,) = (tmp_path / "two" / "_pictures").iterdir()
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(expected))
