"""Batches on a Ray cluster of two nodes on this machine: the rows are those of one process."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from support.batches import in_order, rows_in, write_photos
from support.often import by_night

import onnxplain
from onnxplain.engine.inputs.image import image_to_tensor, read_image

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'onnxplain[ray]'")
pytest.importorskip("ray.data")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
HERE = ("--workers", "0", "--threads", "1")
MEMORY = 100 * 2**20


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "object_store_memory": MEMORY}
    made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    made.add_node(**node)
    ray.init(made.address, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield made
    ray.shutdown()
    made.shutdown()


def by_image(rows):
    return {(os.path.basename(row["image"]), row["method"]): row for row in rows}


def test_the_rows_of_one_machine(tmp_path, model, cluster, command):
    photos = write_photos(tmp_path / "photos", 20)
    (photos / "part001" / "p0013.png").write_bytes(b"none")
    asked = ("batch", model, photos, "-m", "grad-cam", "-m", "deeplift", "-t", "top1", "-t", "4")
    status, _, _ = command(*asked, "-o", tmp_path / "one", *HERE)
    assert status == 1
    status, text, err = command(*asked, "-o", tmp_path / "two", "--ray", cluster.address)
    assert status == 1 and "1 row with an error" in text and err.count("\n") == 1
    one, two = in_order(rows_in(tmp_path / "one")), in_order(rows_in(tmp_path / "two"))
    assert one == two and len(one) > 40
    schemas = [
        pq.read_schema(next((tmp_path / name).glob("part-*.parquet"))) for name in ("one", "two")
    ]
    assert schemas[0].equals(schemas[1])
    status, _, err = command(*asked, "-o", tmp_path / "two", "--ray", cluster.address)
    assert status == 2 and "holds" in err


def test_tables_and_refusals(tmp_path, model, cluster, command):
    paths = sorted(write_photos(tmp_path / "photos", 6).rglob("*.png"))
    structs = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    pq.write_table(pa.table({"n": list(range(6)), "image": structs}), tmp_path / "t.parquet")
    asked = ("batch", model, tmp_path / "t.parquet", "-m", "grad-cam")
    assert command(*asked, "-o", tmp_path / "one", *HERE)[0] == 0
    assert command(*asked, "-o", tmp_path / "two", "--ray", cluster.address)[0] == 0
    one, two = (rows_in(tmp_path / name) for name in ("one", "two"))
    assert [row["image"] for row in in_order(two)] == [path.name for path in paths]
    found = {row["image"]: row["attribution"] for row in two}
    assert all(row["attribution"] == found[p.name] for row, p in zip(one, paths, strict=True))
    for more in ("--resume", "--pictures"):
        status, _, err = command(*asked, "-o", tmp_path / "no", "--ray", cluster.address, more)
        assert status == 2 and "do not go together" in err


def test_datasets(tmp_path, model, cluster):
    """Of what Ray has decoded, and of paths: one Dataset of rows each."""
    photos = write_photos(tmp_path / "photos", 10)
    paths = [str(path) for path in sorted(photos.rglob("*.png"))]
    datasets = [
        ray.data.read_images(paths, include_paths=True),
        ray.data.from_items([{"file": path} for path in paths]),
    ]
    kept = []
    for dataset, column in zip(datasets, (None, "file"), strict=True):
        rows = onnxplain.ray.explain(
            dataset, model, ["grad-cam", "deeplift"], column=column, actors=1
        )
        kept.append(by_image(rows.take_all()))
    explainer = onnxplain.Explainer(model, "deeplift", threads=1)
    for path in paths:
        e = explainer(image_to_tensor(read_image(path), explainer.card)[0])
        for found in kept:
            row = found[os.path.basename(path), "deeplift"]
            assert row["target_index"] == e.target[0] and row["error"] is None
            np.testing.assert_array_equal(np.ravel(row["attribution"]), e.attribution.ravel())
    assert all(len(found) == 20 for found in kept)


def test_wrong_arguments_are_refused_at_once(tmp_path, model, cluster):
    dataset = ray.data.from_items([{"file": "a.png"}])
    with pytest.raises(onnxplain.InvalidInputError, match="stepz"):
        onnxplain.ray.explain(dataset, model, stepz=3)
    with pytest.raises(onnxplain.InvalidInputError, match="eleven"):
        onnxplain.ray.explain(dataset, model, target="eleven")
    with pytest.raises(onnxplain.UnsupportedModelError, match="no such file"):
        onnxplain.ray.explain(dataset, tmp_path / "no.onnx")


@by_night
def test_a_worker_that_is_killed_loses_nothing(tmp_path, model, cluster):
    photos = write_photos(tmp_path / "photos", 40)
    paths = [str(path) for path in sorted(photos.rglob("*.png"))]
    dataset = ray.data.read_binary_files(paths, include_paths=True, override_num_blocks=20)
    rows = onnxplain.ray.explain(dataset, model, "integrated-gradients", steps=2000, batch_size=2)
    killed = []

    def kill() -> None:
        until = time.monotonic() + 60
        while not killed and time.monotonic() < until:
            lines = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True).stdout
            found = [line.split()[0] for line in lines.splitlines() if "MapWorker" in line]
            if found:
                time.sleep(0.3)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(found[0]), signal.SIGKILL)
                    killed.append(found[0])
            time.sleep(0.1)

    killing = threading.Thread(target=kill)
    killing.start()
    found = rows.take_all()
    killing.join()
    assert killed and sorted(row["image"] for row in found) == paths
    assert all(row["error"] is None for row in found)


def test_an_address_of_nobody_is_refused(tmp_path, model, command):
    photos = write_photos(tmp_path / "photos", 1)
    asked = ("batch", model, photos, "-m", "grad-cam", "-o", tmp_path / "out")
    status, _, err = command(*asked, "--ray", "127.0.0.1:9")
    assert status == 2 and "Ray cluster 127.0.0.1:9" in err and err.count("\n") == 1


def test_without_ray_one_line_says_what_to_install(tmp_path):
    script = (
        "import sys; sys.modules['ray'] = None\n"
        "import onnxplain\n"
        "try: onnxplain.ray\n"
        "except onnxplain.OnnxplainError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "pip install 'onnxplain[ray]'" in done.stdout and done.stdout.count("\n") == 1


def test_only_tensors_of_rays_own_types_are_read(tmp_path):
    """Objects of Python are pickles: a column of them is refused before one is read."""
    import pickle

    from onnxplain.engine.jobs.batch.ray import _items

    class Code:
        def __reduce__(self):
            return open, (str(tmp_path / "run"), "w")

    about = {b"ARROW:extension:name": b"ray.data.arrow_pickled_object"}
    about[b"ARROW:extension:metadata"] = b""
    field = pa.field("image", pa.large_binary(), metadata=about)
    table = pa.table({"image": pa.array([pickle.dumps(Code())], pa.large_binary())})
    pq.write_table(table.cast(pa.schema([field])), tmp_path / "t.parquet")
    batch = pq.read_table(tmp_path / "t.parquet")
    assert isinstance(batch.schema.field("image").type, pa.BaseExtensionType)
    with pytest.raises(onnxplain.InvalidInputError, match="arrow_pickled_object"):
        _items(batch, None, ("", ""))
    assert not (tmp_path / "run").exists()
    pixels = np.zeros((2, 3, 3, 3), np.uint8)
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)
    first, second = _items(pa.table({"image": tensors}), None, ("", ""))
    assert first.content.shape == second.content.shape == (3, 3, 3)


def test_cells_that_are_none(tmp_path):
    """Texts that are no UTF-8, nothing, and what is too large are single images' matter."""
    from onnxplain.engine.jobs.batch import tables
    from onnxplain.engine.jobs.batch.ray import _items

    texts = pa.array([b"\xff.png", b"a.png", None], pa.binary()).view(pa.string())
    found = _items(pa.table({"path": texts}), None, ("", ""))
    assert [item.content for item in found] == [os.fsdecode(b"\xff.png"), "a.png", None]
    structs = pa.array([{"bytes": b"x" * 99, "path": "a"}, {"bytes": None, "path": "b"}, None])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "MOST_OF_A_CELL", 50)
        found = _items(pa.table({"image": structs}), None, ("", ""))
    assert [item.name for item in found][:2] == ["a", "b"]
    assert "at most 50 bytes" in (found[0].problem or "") and found[2].content is None
    with pytest.raises(onnxplain.InvalidInputError, match="int64"):
        _items(pa.table({"image": [1]}), None, ("", ""))


def test_schemas_that_are_junk_are_refused(tmp_path):
    from onnxplain.engine.jobs.batch.ray import column_of

    about = {b"ARROW:extension:name": b"ray.data.arrow_tensor", b"ARROW:extension:metadata": b"j"}
    field = pa.field("o", pa.list_(pa.int64()), metadata=about)
    schema = pa.schema([pa.field("photo", pa.binary()), field])
    pq.write_table(
        pa.table({"photo": pa.array([b"x"]), "o": pa.array([[1]])}).cast(schema),
        tmp_path / "t.parquet",
    )
    with pytest.raises(onnxplain.InvalidInputError, match="expected a table"):
        column_of(str(tmp_path / "t.parquet"), None)
