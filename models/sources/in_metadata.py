"""What exporters write into a file's own metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ... import InvalidInputError
from ..labels import labels_of
from ..own_card import PRESETS
from .place import Facts, Place, literal, mapping, numbers_in, pair

_TASKS = {
    # The first output of all of these lists boxes.
    **dict.fromkeys(("detect", "segment", "pose", "obb"), "detection"),
    "classify": "classification",
    "semantic": "segmentation",
}
LETTERBOX = {"resize": "pad", "pad_color": 114.0, "pad_position": "center", "rounding": "nearest"}
UNIT = {key: PRESETS["unit"][key] for key in ("scale", "mean", "std")}
IMAGENET = {key: PRESETS["imagenet"][key] for key in ("scale", "mean", "std")}
# Behind a text are zeros, which gray is of -1 to 1.
STRIP: Facts = {
    **{"resize": "pad", "pad_position": "top-left", "pad_color": 127.5},
    **{key: PRESETS["half"][key] for key in ("scale", "mean", "std")},
}
_STRIP_WIDTH = 320
_COVERED = {"resize": "crop", "crop_fraction": 1.0}
# DETR's kin of Ultralytics lists so many boxes.
_QUERIES = 300


def ultralytics(place: Place) -> Facts:
    """Ultralytics: every value is Python's str(): names, imgsz, task, channels; the rest is theirs.

    Detectors get a letterbox on gray 114 and pixels / 255; RT-DETR is stretched; classifiers get
    the centre of what just covers.
    """
    meta = place.metadata
    own = meta.get("author", "").strip() == "Ultralytics" or "imgsz" in meta
    if "names" not in meta or "model_family" in meta or not (own and "task" in meta):
        return {}
    names = labels_of(literal(meta["names"], "names"))
    facts: Facts = {"labels": names, **UNIT, "channels": "RGB", "interpolation": "bilinear"}
    if meta["task"] in _TASKS:
        facts["task"] = _TASKS[meta["task"]]
    if "imgsz" in meta and (size := pair(literal(meta["imgsz"], "imgsz"))) is not None:
        facts["size"] = size
    if meta.get("channels", "").strip() == "1":
        facts["channels"] = "GRAY"
    if meta["task"] == "classify":
        return facts | _COVERED
    return facts | ({"resize": "stretch"} if _is_rtdetr(place, len(names)) else LETTERBOX)


def _is_rtdetr(place: Place, classes: int) -> bool:
    shape = place.outputs[0].shape if place.outputs else None
    listed = shape is not None and shape[1:] == (_QUERIES, 4 + classes)
    return listed or "rtdetr" in place.metadata.get("description", "").lower().replace("-", "")


def yolov5(place: Place) -> Facts:
    """YOLOv5's own exporter: stride and names, and nothing else."""
    meta = place.metadata
    if not {"stride", "names"} <= set(meta) or "task" in meta or "author" in meta:
        return {}
    labels = labels_of(literal(meta["names"], "names"))
    facts: Facts = {"labels": labels, "channels": "RGB", "interpolation": "bilinear"}
    shape = place.outputs[0].shape if place.outputs else None
    if shape is not None and len(shape) == 2:
        return facts | {"task": "classification", **IMAGENET, **_COVERED}
    return facts | {"task": "detection", **UNIT, **LETTERBOX}


def libreyolo(place: Place) -> Facts:
    """LibreYOLO: model_family, task, names, imgsz. How pixels become numbers it does not say."""
    meta = place.metadata
    if "model_family" not in meta or "names" not in meta:
        return {}
    facts: Facts = {"labels": labels_of(literal(meta["names"], "names"))}
    if meta.get("task") in _TASKS:
        facts["task"] = _TASKS[meta["task"]]
    if "imgsz" in meta and (size := pair(literal(meta["imgsz"], "imgsz"))) is not None:
        facts["size"] = size
    return facts


_RESIZES = {
    "standard": {"resize": "stretch"},
    "crop": _COVERED,
    "fit_to_window": {"resize": "pad", "pad_position": "top-left", "rounding": "down"},
    "fit_to_window_letterbox": {"resize": "pad", "pad_position": "center", "rounding": "down"},
}
_MODEL_TYPES = (
    ("yolo", "detection"),
    ("ssd", "detection"),
    ("detection", "detection"),
    ("classification", "classification"),
    ("segmentation", "segmentation"),
)


def model_api(place: Place) -> Facts:
    """OpenVINO's ModelAPI, OTX, Geti, Anomalib: "model_info labels" and its kin.

    (pixel - mean_values) / scale_values; labels have spaces between, and _ stands for a space.
    """
    start = "model_info "
    meta = {k[len(start) :]: v for k, v in place.metadata.items() if k.startswith(start)}
    facts: Facts = {}
    if meta.get("labels", "").strip():
        facts["labels"] = tuple(name.replace("_", " ") for name in meta["labels"].split())
    if meta.keys() & {"mean_values", "scale_values"}:
        facts |= {"scale": 1.0, "mean": numbers_in(meta.get("mean_values", "0"), "mean_values")}
        facts["std"] = numbers_in(meta.get("scale_values", "1"), "scale_values")
    if "reverse_input_channels" in meta:
        turned = meta["reverse_input_channels"].strip().lower() in ("true", "yes", "1")
        facts["channels"] = "RGB" if turned else "BGR"
    if meta.get("resize_type") in _RESIZES:
        facts |= _RESIZES[meta["resize_type"]]
        if facts["resize"] == "pad":
            facts["pad_color"] = numbers_in(meta.get("pad_value", "0"), "pad_value")
    kind = meta.get("model_type", "").lower()
    found = [task for name, task in _MODEL_TYPES if name in kind]
    return facts | ({"task": found[0]} if found else {})


def characters(place: Place) -> Facts:
    """PaddleOCR's and RapidOCR's `character`: what a text recogniser can read, one a line.

    They feed such a recogniser BGR in -1 to 1, fitted at the left of a strip of 320 columns.
    """
    text = place.metadata.get("character")
    if not text or not text.strip():
        return {}
    facts = characters_of(tuple(text.rstrip("\n").split("\n")), place)
    height, width = place.sides
    if "task" not in facts or height is None:
        return facts
    return {**facts, **STRIP, "channels": "BGR", "size": (height, width or _STRIP_WIDTH)}


def characters_of(names: tuple[str, ...], place: Place) -> Facts:
    """A list of characters; where scores are one or two more, of CTC's blank and of a space.

    These have no label: who reads the text knows them.
    """
    lengths = {length for one in place.outputs for length in (one.shape or ())[-1:]}
    beside = {len(names) + 1, len(names) + 2} & lengths
    return {"labels": names, "task": "sequence"} if beside else {"labels": names}


def feature_names(place: Place) -> Facts:
    """`feature_names` of tables: a JSON or Python list, or names with commas between."""
    text = place.metadata.get("feature_names", "").strip()
    if not text:
        return {}
    given = literal(text, "feature_names") if text[0] in "[(" else text.split(",")
    names = [str(name).strip() for name in given] if isinstance(given, list | tuple) else []
    if not names:
        raise InvalidInputError(f"feature_names: expected names, got {text[:40]!r}")
    return {"names": names}


_RANGES = {
    "nominalrange_0_255": {"scale": 1.0, "mean": 0.0, "std": 1.0},
    "normalized_0_1": {"scale": 1 / 255, "mean": 0.0, "std": 1.0},
    "normalized_1_1": {"scale": 1 / 127.5, "mean": 1.0, "std": 1.0},
    "nominalrange_16_235": {"scale": 219 / 255, "mean": -16.0, "std": 1.0},
}
_FORMATS = {"gray8": "GRAY", "rgb8": "RGB", "bgr8": "BGR", "rgba8": "RGB", "bgra8": "BGR"}


def onnx_image(place: Place) -> Facts:
    """ONNX's own Image.BitmapPixelFormat and Image.NominalPixelRange."""
    return image_facts(place.metadata)


def image_facts(entries: Mapping[str, Any]) -> Facts:
    """What ONNX's keys for images say; upper and lower case are the same there."""
    said = {key.lower(): str(value).strip().lower() for key, value in entries.items()}
    channels = _FORMATS.get(said.get("image.bitmappixelformat", ""))
    facts = dict(mapping(_RANGES.get(said.get("image.nominalpixelrange", ""))))
    return facts | ({"channels": channels} if channels else {})
