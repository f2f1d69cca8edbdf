"""Photos for batches, and what is in a folder of shards."""

import pyarrow.parquet as pq

from support.digits import write_photo

KEY = ("image", "method", "target_index")


def write_photos(folder, count):
    """Digits, in folders of ten."""
    for k in range(count):
        part = folder / f"part{k // 10:03}"
        part.mkdir(parents=True, exist_ok=True)
        write_photo(part / f"p{k:04}.png", k % 10)
    return folder


def rows_in(folder):
    """All rows, as they are read by anybody."""
    return pq.read_table(folder).to_pylist()


def in_order(rows):
    """Rows in an order of their own."""
    return sorted(rows, key=lambda row: [str(row[name]) for name in KEY])


def contents(folder):
    """Every file's bytes."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
