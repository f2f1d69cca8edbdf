"""What a job leaves behind: pictures, arrays, the records of results.json, and the panel."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxplain import InvalidInputError
from onnxplain.engine.pictures import METHOD_NAMES, PanelRow, overlay, panel
from onnxplain.engine.soundness import DOUBTFUL

if TYPE_CHECKING:
    from PIL import Image

RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Result:
    """One image, method and target.

    Attributes:
        record: its entry in results.json.
        view: what the model saw of the photo.
        tensor: the model's input, [1, ...].
        attribution: [1, H, W] (Grad-CAM) or the tensor's shape.
        channel_axis: the axis of the channels in `attribution[0]`; None where it has none.
    """

    record: dict[str, Any]
    view: Image.Image
    tensor: np.ndarray
    attribution: np.ndarray
    channel_axis: int | None


def writable_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder, made if missing and tried.

    Raises:
        InvalidInputError: it cannot be made or written to.
    """
    directory = Path(folder)
    probe = directory / f".onnxplain-{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInputError(
            f"cannot write to the output folder {directory}: {reason}"
        ) from error
    return directory


def file_stems(images: Sequence[str]) -> list[str]:
    """A name for each image's files: its stem, or more where two images would share it."""
    stems = [Path(path).stem for path in images]
    sharing = Counter(stems)
    names: dict[str, None] = {}
    for path, stem in zip(images, stems, strict=True):
        name = wanted = stem if sharing[stem] == 1 else Path(path).name
        number = 1
        while name in names or (name != stem and name in sharing):
            number += 1
            name = f"{wanted}-{number}"
        names[name] = None
    return list(names)


def write_result(result: Result, folder: Path, stem: str) -> None:
    """Write `<stem>.<method>.<target>.png` and `.npz`, and name both in the record."""
    record = result.record
    index = record["target"]["index"]
    target = "-".join(map(str, index)) if isinstance(index, list) else str(index)
    base = f"{stem}.{record['method']}.{target}"
    picture = overlay(
        result.view,
        result.attribution[0],
        method=record["method"],
        title=title_of(record),
        subtitle=subtitle_of(record, not result.attribution.any()),
        channel_axis=result.channel_axis,
    )
    picture.save(folder / f"{base}.png")
    np.savez_compressed(folder / f"{base}.npz", attribution=result.attribution, input=result.tensor)
    record["files"] = [f"{base}.png", f"{base}.npz"]


def write_records(records: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write results.json."""
    text = json.dumps(records, indent=2, ensure_ascii=False) + "\n"
    # A file name may hold bytes that are no UTF-8: they become JSON's own \udcXX escapes.
    (folder / RESULTS_FILE).write_bytes(text.encode("utf-8", "backslashreplace"))


def write_panel(results: Sequence[Result], path: Path) -> None:
    """One figure: a row for each image and target, its maps by method side by side."""
    rows: dict[tuple, list[Result]] = {}
    for result in results:
        key = (result.record["image"], str(result.record["target"]["index"]))
        rows.setdefault(key, []).append(result)
    drawn = [
        PanelRow(
            view=group[0].view,
            caption=title_of(group[0].record),
            attributions={r.record["method"]: _flat(r) for r in group},
            notes={r.record["method"]: delta_text(r.record) for r in group},
        )
        for group in rows.values()
    ]
    panel(drawn).save(path)


def _flat(result: Result) -> np.ndarray:
    """The attribution as [H, W], its channels summed."""
    attribution = result.attribution[0]
    if result.channel_axis is None:
        return attribution
    return attribution.sum(axis=result.channel_axis)


def target_name(record: dict[str, Any]) -> str:
    """The target in words: its label, or its index."""
    target = record["target"]
    if isinstance(target["index"], list):
        return f"{target['output']}{target['index']}"
    return target["label"] or f"class {target['index']}"


def title_of(record: dict[str, Any]) -> str:
    """The target and its score, as a picture's title says them."""
    return f"{target_name(record)} · score {number_text(record['score'], '.2f')}"


def subtitle_of(record: dict[str, Any], empty: bool = False) -> str:
    """The method and how exactly it sums, as a picture's subtitle says them.

    Args:
        record: of results.json.
        empty: whether the attribution is 0 everywhere.
    """
    parts = [METHOD_NAMES[record["method"]]]
    if empty:
        parts.append("empty map: nothing speaks for this class")
    if record["feature_map"] is not None:
        parts.append(f"feature map {record['feature_map']}")
    if record["steps"] is not None:
        parts.append(f"{record['steps']} steps")
    if record["method"] != "grad-cam":
        parts.append(f"baseline score {number_text(record['baseline_score'], '.2f')}")
        parts.append(delta_text(record))
    return " · ".join(parts)


def delta_text(record: dict[str, Any]) -> str:
    """Delta, and in percent of what was to be explained; empty for Grad-CAM, which has none."""
    if record["method"] == "grad-cam":
        return ""
    relative = record["relative_delta"]
    percent = "" if relative is None else f" ({100 * relative:.2g} %)"
    much = relative is not None and relative > DOUBTFUL
    return (
        f"delta {number_text(record['delta'], '.2g')}{percent}{', much is missing' if much else ''}"
    )


def number_text(value: float | None, form: str) -> str:
    """The number as a text; JSON's stand-in for NaN and infinity is said in words."""
    return "not finite" if value is None else format(value, form)


def finite(values: np.ndarray | None) -> float | None:
    """The first number, or None where there is none that JSON knows (NaN, infinity)."""
    return float(values[0]) if values is not None and math.isfinite(values[0]) else None


def record_lines(
    records: Sequence[dict[str, Any]], folder: str, panel: str | None = None
) -> list[str]:
    """What was done, for people to read: a line for each image and target, and one for each file.

    Args:
        records: of results.json; failures are left out.
        folder: where everything was written.
        panel: the name of the picture with all of them, if there is one.
    """
    width = max(map(len, METHOD_NAMES))
    lines, heading = [], None
    done = [record for record in records if "error" not in record]
    for record in done:
        found = (
            f"{Path(record['image']).name}: {target_name(record)}, "
            f"score {number_text(record['score'], '.3f')}"
        )
        if found != heading:
            lines.append(found)
            heading = found
        delta = delta_text(record)
        line = f"  {record['method']:{width}}  {record['seconds']:6.2f} s  {record['files'][0]}"
        lines.append(f"{line}  {delta}" if delta else line)
    if done:
        files = f", all in {panel}" if panel else ""
        lines.append(f"pictures{files}, arrays and results.json: {folder}")
    return lines
