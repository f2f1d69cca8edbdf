"""Tables, lists, names, pictures and JSON that somebody has made on purpose, drawn at random."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from support.damage import damaged_bytes, damaged_json

SMALL = ["--workers", "0", "-m", "saliency", "--provider", "cpu", "--shard", "3"]
NAMES = (
    "-", ".", "..", "", " ", "\t", "/", "/dev/zero", "/dev/stdin", "/proc/self/mem", "~", "*", "**",
    "a\0b.png", "x" * 300 + ".png", "x/" * 3000 + "y.png", "\x1b]0;t\x07.png", "\x9b31m.png",
    "\u202egnp.exe", "[blink]a[/blink].png", "\ud800.png", "\udcff.png", "image.png", "./image.png",
    "m.onnx", "names.txt", "image.png/", "image.png/x", "//image.png", "-o", "--help", "\n", "%s%n",
    "{}", "C:\\a.png", "file:///etc/passwd", "http://localhost/a.png", "loop.png", "nowhere.png",
)  # fmt: skip
# What other programs make of pictures, by how their files begin.
BEGINNINGS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n",
    b"\xc5\xd0\xd3\xc6\x1e\0\0\0\x20\0\0\0" + bytes(20) + b"%!PS-Adobe-3.0 EPSF-3.0\n%%EOF\n",
    b"\xd7\xcd\xc6\x9a\0\0\0\0\0\0\x10\0\x10\0\x48\0" + bytes(30),
    b"\x01\0\0\0" + bytes(36) + b" EMF" + bytes(40),
    b"8BPS\0\x01" + bytes(60), b"SIMPLE  =                    T" + b" " * 50, b"GRIB" + bytes(30),
    b"BUFR" + bytes(30), b"\x89HDF\r\n\x1a\n" + bytes(40), b"\0\0\x02\0\x01\0" + bytes(40),
    b"%PDF-1.4\n", b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
    b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    b"icns\0\0\0\x30ic07\0\0\0\x28" + bytes(40), b"\x1c\x02\0\0\x02" + bytes(40),
    b"DDS " + bytes(124),
    b"\x01\xda\x01\x01\0\x03\xff\xff\xff\xff\0\x03" + bytes(500),
    b"qoif\xff\xff\xff\xff\xff\xff\xff\xff\x04\0",
    b"P6 99999 99999 255\n", b"P5 1 1 65536\n\0", b"Pf 8 8 -1.0\n" + b"\0\0\xc0\x7f" * 64,
    b"BM" + bytes(12) + b"\x28\0\0\0\xff\xff\xff\x7f\xff\xff\xff\x7f\x01\0\x18\0" + bytes(40),
    b"GIF89a\xff\xff\xff\xff\xf7\0\0" + bytes(780), b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(40),
    b"\0\0\0\x1cftypavif" + bytes(60),
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\x7f\xff\xff\xff" * 2 + b"\x08\x02\0\0\0",
    b"\xff\xd8\xff\xda\0\x0c" + bytes(40) + b"\xff\xd9", b"\xff\xd8\xff\xd9",
    b"\xff\xd8\xff\xc2\0\x02\xff\xda\0\x02\xff\xd9",
    b"II*\0\x08\0\0\0\xff\xff" + bytes(99), b"MM\0*\0\0\0\x08\0\x01" + b"\xff" * 30,
    b"\x0a\x05\x01\x08" + b"\xff" * 140,
)  # fmt: skip


def picture(random: Random, whole: list[bytes]) -> bytes:
    """A picture's bytes: whole, damaged, of another kind, or with the end of its data too early."""
    kind = random.randrange(5)
    if kind == 0:
        return random.choice(BEGINNINGS)
    if kind == 1:
        return damaged_bytes(random, random.choice(BEGINNINGS))
    content = random.choice(whole)
    if kind == 2:
        return content
    if kind == 3 and content[:2] == b"\xff\xd8":
        return content[: random.randrange(20, len(content))] + b"\xff\xd9"
    return damaged_bytes(random, content)


def text(random: Random) -> str:
    """A name."""
    name = random.choice(NAMES)
    return name if random.random() < 0.8 else name[: random.randrange(len(name) + 1)] + "é\x85"


def column(random: Random, whole: list[bytes]) -> Any:
    """A column of a table, of any type."""
    import pyarrow as pa

    count = random.randrange(6)
    pictures = [random.choice((None, picture(random, whole))) for _ in range(count)]
    names = [text(random).encode("utf-8", "replace").decode() for _ in range(count)]
    made = random.randrange(12)
    if made < 4:
        return pa.array(pictures, random.choice((pa.binary(), pa.large_binary())))
    if made == 4:
        return pa.array(names, random.choice((pa.string(), pa.large_string())))
    if made == 5:
        return pa.array([{"bytes": p, "path": n} for p, n in zip(pictures, names, strict=True)])
    if made == 6:
        size = random.choice((1, 2**10, 2**24))
        return pa.array([bytes(size)] * count, pa.binary())
    if made == 7:
        data = b"".join(name.encode("latin-1", "replace") + b"\xff" for name in names)
        ends = sorted(random.randrange(len(data) + 1) for _ in range(count + 1))
        offsets = pa.py_buffer(b"".join(end.to_bytes(4, "little") for end in ends))
        return pa.Array.from_buffers(pa.string(), count, [None, offsets, pa.py_buffer(data)])
    others = ([1] * count, [[b"x"]] * count, [True] * count, [{"a": 1}] * count, [None] * count)
    found = pa.array(random.choice(others))
    return found if made < 11 else pa.array(names).dictionary_encode()


def write_table(random: Random, path: Path, columns: dict[str, Any], damaged: float) -> None:
    """A Parquet or Arrow file, whose bytes may be others afterwards."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    least = min(len(values) for values in columns.values())
    table = pa.table({name: values.slice(0, least) for name, values in columns.items()})
    packing = random.choice((None, "zstd", "lz4"))
    if path.suffix == ".parquet":
        group = random.choice((1, 2, 100))
        pq.write_table(table, path, row_group_size=group, compression=packing or "none")
    else:
        options = pa.ipc.IpcWriteOptions(compression=packing)
        with pa.ipc.new_file(path, table.schema, options=options) as file:
            file.write_table(table, max_chunksize=random.choice((1, 2, 100)))
    if random.random() < damaged:
        path.write_bytes(damaged_bytes(random, path.read_bytes()))


def tables(random: Random, folder: Path, model: str, whole: list[bytes]) -> list[str]:
    """A batch of one table, or of a folder of them."""
    place = folder / "tables"
    place.mkdir()
    count = random.choice((1, 1, 2, 3))
    for k in range(count):
        columns = {"img": column(random, whole)}
        if random.random() < 0.3:
            columns["other"] = column(random, whole)
        ending = random.choice((".parquet", ".parquet", ".arrow", ".feather"))
        write_table(random, place / f"{k}{ending}", columns, 0.5)
    source = place if count > 1 else next(place.iterdir())
    more = random.choice(([], ["--column", "img"], ["--pictures"], ["--strict"], ["--resume"]))
    return ["batch", model, str(source), "-o", str(folder / "made"), *SMALL, *more]


def names(random: Random, folder: Path, model: str, whole: list[bytes]) -> list[str]:
    """A list of names, or names on the command line, or files that are called so."""
    (folder / "loop.png").symlink_to(folder / "loop.png")
    chosen = [text(random) for _ in range(random.randrange(1, 6))]
    if random.random() < 0.5:
        lines = "\n".join(chosen).encode("utf-8", "surrogatepass")
        (folder / "names.txt").write_bytes(
            damaged_bytes(random, lines) if random.random() < 0.2 else lines
        )
        return ["batch", model, str(folder / "names.txt"), "-o", str(folder / "made"), *SMALL]
    place = folder / "named"
    place.mkdir()
    for name in chosen:
        try:
            (place / os.path.basename(name)).write_bytes(picture(random, whole))
        except (OSError, ValueError):
            continue
    given = [
        str(place),
        *(name for name in chosen if name not in ("-", "") and name[0] not in "-*~"),
    ]
    # What no shell can hand over: ends of texts within, and what is no character.
    given = [n for n in given if "\0" not in n and n.isprintable() | n.isascii()]
    given = [name for name in given if name != "/dev/stdin"][:3]
    out = ["-o", str(folder / "results"), "-m", "saliency", "--provider", "cpu"]
    return ["explain", model, *out, *random.choice(([], ["--json"], ["--strict"])), "--", *given]


def formats(random: Random, folder: Path, model: str, whole: list[bytes]) -> list[str]:
    """A picture of some kind, under the name of another."""
    ending = random.choice(("png", "jpg", "eps", "tif", "gif", "webp", "bmp", "wmf", "psd"))
    path = folder / f"photo.{ending}"
    path.write_bytes(picture(random, whole))
    out = ["-o", str(folder / "results"), "-m", "saliency", "--provider", "cpu"]
    if random.random() < 0.2:
        return ["batch", model, str(path), "-o", str(folder / "made"), *SMALL]
    return ["explain", model, str(path), *out, *random.choice(([], ["--strict"], ["--report"]))]


def regions(random: Random, folder: Path, model: str, whole: list[bytes]) -> list[str]:
    """Boxes and masks of a photo."""
    boxes = {"image.png": [[0, 0, 3, 4]], "b.png": [[1, 1, 2, 2], [0, 0, 1, 1]]}
    content = json.dumps(damaged_json(random, boxes))
    kind = random.randrange(6)
    if kind == 0:
        content = random.choice(("[", '{"image.png":')) * random.choice((10, 500, 990, 50_000))
    elif kind == 1:
        content = '{"image.png": [[0, 0, %s, 5]]}' % ("9" * random.choice((20, 400, 5_000)))
    data = content.encode("utf-8", "surrogatepass")
    (folder / "boxes.json").write_bytes(damaged_bytes(random, data) if kind == 2 else data)
    more = ["--boxes", str(folder / "boxes.json")]
    if random.random() < 0.5:
        masks = folder / "masks"
        masks.mkdir()
        place = masks / "image.png"
        made = random.randrange(5)
        if made == 0:
            place.mkdir()
        elif made == 1:
            place.symlink_to(random.choice(("/dev/zero", "image.png", "/dev/null", "gone")))
        else:
            place.write_bytes(picture(random, whole))
        more += ["--masks", str(masks)]
    asked = ["evaluate", model, str(folder / "image.png"), "-m", "saliency", "--provider", "cpu"]
    return [*asked, "--metric", "pointing-game", "-o", str(folder / "made"), *more]


def baselines(random: Random, folder: Path, model: str, whole: list[bytes]) -> list[str]:
    """A baseline's file."""
    import numpy as np

    path = folder / random.choice(("b.npy", "b.png"))
    if path.suffix == ".png":
        path.write_bytes(picture(random, whole))
    else:
        buffer = io.BytesIO()
        shape = random.choice(((8, 8, 1), (1, 8, 8, 1), (1,), (), (0,), (9, 9), (1,) * 30))
        kind = random.choice(("<f4", "<f8", "<i8", "?", "<c8", "<U3", "<f2", "<M8[s]"))
        np.save(buffer, np.zeros(shape, kind))
        path.write_bytes(damaged_bytes(random, buffer.getvalue()))
    asked = ["explain", model, str(folder / "image.png"), "-m", "deeplift", "--provider", "cpu"]
    return [*asked, "--baseline", str(path), "-o", str(folder / "results")]


DRAWERS: dict[str, Callable[[Random, Path, str, list[bytes]], list[str]]] = {
    "table": tables,
    "name": names,
    "format": formats,
    "region": regions,
    "baseline": baselines,
}
