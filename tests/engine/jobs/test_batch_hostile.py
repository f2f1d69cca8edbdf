"""Batches of lists and tables that somebody has made on purpose: rows with an error, and an end."""

import os
import struct
import subprocess
import sys

import pytest
from support.batches import rows_in
from support.digits import write_photo

from onnxplain import OnnxplainError
from onnxplain.engine.jobs.batch.items import Item
from onnxplain.engine.jobs.batch.pipeline import _chunks

pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'onnxplain[batch]'")

import pyarrow as pa
import pyarrow.parquet as pq

from onnxplain.engine.jobs.batch import tables
from onnxplain.engine.jobs.batch.arrow_files import batches_of
from onnxplain.engine.jobs.batch.tables import source_of_tables

HERE = ("-m", "grad-cam", "--workers", "0", "--threads", "1")


@pytest.fixture
def photo(tmp_path):
    return write_photo(tmp_path / "a.png", 7)


def errors(folder):
    return [row["error"] for row in rows_in(folder)]


NAMES = {
    "too long": "x" * 300 + ".png",
    "one that is too long": "x" * 300 + "/a.png",
    "nul": "a\0.png",
    "standard input": "-",
    "a folder": ".",
    "no UTF-8": b"\xff\xfe.png",
    "a device": "/dev/zero",
    "spaces": "  ",
    "escape": "\x1b]0;t\x07.png",
}


@pytest.mark.parametrize("kind", ["list", "table"])
def test_names_that_are_none_are_rows_with_an_error(tmp_path, model, photo, command, kind):
    names = [name if isinstance(name, bytes) else name.encode() for name in NAMES.values()]
    if kind == "list":
        names = [name for name in names if name.strip()]
        path = tmp_path / "names.txt"
        path.write_bytes(b"\n".join([b"a.png", *names, b"a.png", b""]))
    else:
        path = tmp_path / "names.parquet"
        every = [b"a.png", *names, b"a.png"]
        ends = [0]
        for name in every:
            ends.append(ends[-1] + len(name))
        buffers = [None, pa.py_buffer(struct.pack(f"<{len(ends)}i", *ends))]
        array = pa.Array.from_buffers(
            pa.string(), len(every), [*buffers, pa.py_buffer(b"".join(every))]
        )
        pq.write_table(pa.table({"file": array}), path)
    status, _, err = command("batch", model, path, "-o", tmp_path / "out", *HERE)
    found = errors(tmp_path / "out")
    assert status == 1 and found[0] is None and found[-1] is None and len(found) == len(names) + 2
    assert all(found[1:-1]) and "internal" not in err and err.isprintable() is False
    assert all(line.startswith("onnxplain: ") and line.isprintable() for line in err.splitlines())


def test_standard_input_is_not_waited_for(tmp_path, model, photo):
    """Of a row `-` neither in a list nor in a table; the pipe that it would be has no end."""
    (tmp_path / "l.txt").write_text("-\na.png\n")
    pq.write_table(pa.table({"file": ["a.png", "-"]}), tmp_path / "t.parquet")
    for name in ("l.txt", "t.parquet"):
        reading, writing = os.pipe()
        run = [sys.executable, "-m", "onnxplain.cli", "batch", model, tmp_path / name, *HERE]
        done = subprocess.run(
            [str(part) for part in (*run, "-o", tmp_path / name[0])],
            stdin=reading,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1 and "image -: no such file" in done.stderr
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        ([1], False),
        ([[1]], False),
        ([None], False),
        ([{"path": "a.png"}], False),
        ([1.5], False),
        ("dictionary", False),
        ("structs", True),
        ("large", True),
        ("paths", True),
    ],
)
def test_a_later_table_of_another_type(tmp_path, model, photo, command, values, fits):
    content = photo.read_bytes()
    second = {
        "structs": [{"bytes": content, "path": "x"}],
        "large": pa.array([content], pa.large_binary()),
        "paths": [str(photo)],
        "dictionary": pa.array(["a.png"]).dictionary_encode(),
    }.get(values if isinstance(values, str) else "", values)
    folder = tmp_path / "tables"
    folder.mkdir()
    pq.write_table(pa.table({"img": [content]}), folder / "a.parquet")
    pq.write_table(pa.table({"img": second}), folder / "b.parquet")
    pq.write_table(pa.table({"img": [content]}), folder / "c.parquet")
    status, *_ = command("batch", model, folder, "-o", tmp_path / "out", *HERE)
    found = errors(tmp_path / "out")
    assert len(found) == 3 and found[0] is found[2] is None
    assert (status, found[1] is None) == ((0, True) if fits else (1, False))
    if not fits:
        assert "column 'img'" in found[1] and "b.parquet" in found[1]


def test_large_cells_are_rows_with_an_error(tmp_path, model, photo, command, monkeypatch):
    monkeypatch.setattr(tables, "MOST_OF_A_CELL", 5000)
    content = photo.read_bytes()
    cells = [content, bytes(5001), content, None, bytes(5000)]
    for name, kind in (("t.parquet", pa.binary()), ("t.arrow", pa.large_binary())):
        table = pa.table({"img": pa.array(cells, kind)})
        if name.endswith("parquet"):
            pq.write_table(table, tmp_path / name)
        else:
            with pa.ipc.new_file(tmp_path / name, table.schema) as file:
                file.write_table(table)
        out = tmp_path / f"out-{name}"
        assert command("batch", model, tmp_path / name, "-o", out, *HERE)[0] == 1
        found = errors(out)
        assert found[0] is found[2] is None and "expected at most 5,000 bytes" in found[1]
        assert "nothing is there" in found[3] and "expected an image" in found[4]


def test_tables_are_unpacked_row_by_row(tmp_path):
    """However many rows of whatever size a group has, and however little it takes in the file."""
    path = tmp_path / "bomb.parquet"
    table = pa.table({"img": pa.array([bytes(2**21)] * 64, pa.binary())})
    pq.write_table(table, path, compression="zstd", use_dictionary=True)
    assert path.stat().st_size < 2**16
    del table
    before, most = pa.total_allocated_bytes(), 0
    for item in source_of_tables("t", [str(path)], "img").read(0):
        assert item.size == 2**21
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 16 * 2**21


def test_chunks_count_bytes():
    items = [Item(k, "", bytes(2**22)) for k in range(10)]
    assert [len(chunk) for chunk in _chunks(items, 8)] == [4, 4, 2]
    small = [Item(k, "", b"x") for k in range(10)]
    assert [len(chunk) for chunk in _chunks(small, 8)] == [8, 2]


def arrow(path, compression=None, **columns):
    table = pa.table(columns)
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(path, table.schema, options=options) as file:
        file.write_table(table, max_chunksize=3)
    return path


OFFSETS = [(0, 2**31 - 1, 5, -7), (0, -5, 5, 9), (9, 5, 3, 1), (2**30, 2**30, 2**30, 2**30)]


@pytest.mark.parametrize("offsets", OFFSETS)
@pytest.mark.parametrize("kind", ["bytes", "texts", "structs"])
def test_offsets_that_lead_elsewhere(tmp_path, model, command, kind, offsets):
    """They are looked at before what they lead to: no signal, one line."""
    values = {
        "bytes": pa.array([b"x" * 70] * 3),
        "texts": pa.array(["x" * 66 + ".png"] * 3),
        "structs": pa.array([{"bytes": b"x" * 70}] * 3),
    }[kind]
    path = arrow(tmp_path / "t.arrow", img=values)
    data, right = bytearray(path.read_bytes()), struct.pack("<4i", 0, 70, 140, 210)
    at = data.find(right)
    assert at > 0
    data[at : at + 16] = struct.pack("<4i", *offsets)
    path.write_bytes(data)
    out = ("-o", tmp_path / "out", "--column", "img")
    status, _, err = command("batch", model, path, *out, *HERE)
    assert status in (1, 2) and err.count("\n") == 1 and "t.arrow: cannot be read on" in err


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_what_arrow_files_say_of_their_batches(tmp_path, compression):
    numbers = pa.array(range(10), pa.int64())
    texts = pa.array(["x" * (50 + k) for k in range(10)])
    path = arrow(tmp_path / "t.arrow", compression, n=numbers, t=texts)
    found, shared = batches_of(path.read_bytes())
    assert not shared
    with pa.ipc.open_file(path) as file:
        every = [file.get_batch(k) for k in range(file.num_record_batches)]
    assert [batch.rows for batch in found] == [len(batch) for batch in every] == [3, 3, 3, 1]
    for batch, right in zip(found, every, strict=True):
        assert right.nbytes <= batch.unpacked <= right.nbytes + 64 * 8
        assert batch.stored <= path.stat().st_size


def test_batches_that_become_too_large_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_MOST_UNPACKED", 2**20)
    path = arrow(tmp_path / "t.arrow", "zstd", img=pa.array([bytes(2**20)] * 3))
    with pytest.raises(OnnxplainError, match=r"t\.arrow: .*record batches of at most 1,048,576"):
        source_of_tables("t", [str(path)], "img")
    # As large as it is in the file, it may be.
    path = arrow(tmp_path / "u.arrow", img=pa.array([os.urandom(2**20)] * 3))
    assert sum(item.size for item in source_of_tables("u", [str(path)], "img").read(0)) == 3 * 2**20


def test_so_are_lists_of_texts_that_batches_share(tmp_path, monkeypatch):
    """They are unpacked whatever column is read."""
    monkeypatch.setattr(tables, "_MOST_UNPACKED", 2**20)
    texts = pa.array(["x" * 2**20, "y" * 2**20]).dictionary_encode()
    path = arrow(tmp_path / "t.arrow", "zstd", img=pa.array([b"a", b"b"]), word=texts)
    (batch,), (shared,) = batches_of(path.read_bytes())
    assert batch.rows == shared.rows == 2 and shared.unpacked >= 2**21
    with pytest.raises(OnnxplainError, match=r"record batches of at most 1,048,576"):
        source_of_tables("t", [str(path)], "img")
    path = arrow(
        tmp_path / "u.arrow",
        "zstd",
        img=pa.array([b"a", b"b"]),
        word=pa.array(["x", "y"]).dictionary_encode(),
    )
    assert len(list(source_of_tables("u", [str(path)], "img").read(0))) == 2


@pytest.mark.parametrize("number", range(60))
def test_damaged_arrow_files_end_in_one_line(tmp_path, number):
    """A few bytes are others, anywhere: rows, or an error of ours."""
    from random import Random

    random = Random(number)
    path = arrow(tmp_path / "t.arrow", random.choice([None, "lz4"]), img=[b"x" * 40] * 5, n=[1] * 5)
    data = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 3, 10))):
        data[random.randrange(len(data))] = random.choice((0, 1, 127, 128, 255))
    path.write_bytes(bytes(data[: random.choice((len(data), random.randrange(len(data))))]))
    try:
        rows = list(source_of_tables("t", [str(path)], None).read(0))
    except OnnxplainError as error:
        assert "\n" not in str(error) and "t.arrow" in str(error)
    else:
        assert all(isinstance(row.content, bytes | str | None) for row in rows)
