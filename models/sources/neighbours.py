"""Other files beside a model: Azure's, Roboflow's, MMDeploy's, and files of labels."""

from __future__ import annotations

import re
from typing import Any

from ... import InvalidInputError
from ..files import parse_json, read_text
from ..labels import labels_of
from .in_metadata import image_facts
from .place import Facts, Place, mapping, numbers_in, object_in, pair, side, steps_in

_WNID = re.compile(r"n[0-9]{8}\s+")


def azure(place: Place) -> Facts:
    """Azure Custom Vision's `metadata_properties.json`: all of its values are texts.

    NominalPixelRange is wrong at times: some files scale inside; see `onnxplain card --try`.
    """
    content = place.json("metadata_properties.json")
    start = "CustomVision.Preprocess."
    own = {k[len(start) :]: v for k, v in content.items() if k.startswith(start)}
    if not own:
        return {}
    facts = image_facts(content)
    mean = numbers_in(own.get("NormalizeMean", "0"), "NormalizeMean")
    std = numbers_in(own.get("NormalizeStd", "1"), "NormalizeStd")
    if any(mean) or any(one != 1 for one in std):
        facts |= {"scale": facts.get("scale", 1.0), "mean": mean, "std": std}
    size = pair([own.get("TargetHeight"), own.get("TargetWidth")])
    if size is not None:
        facts["size"] = size
    if own.get("ResizeMethod") == "Stretch":
        facts["resize"] = "stretch"
    elif own.get("CropMethod") == "FullImageShorterSide":
        facts |= {"resize": "crop", "crop_fraction": 1.0}
    method = str(content.get("CustomVision.Postprocess.Method", ""))
    if method.startswith("Classification"):
        several = method.endswith("MultiLabel")
        facts |= {"task": "classification", "probability": "sigmoid" if several else "softmax"}
    elif method:
        facts["task"] = "detection"
    return facts


_FORMATS: dict[str, Facts] = {
    "Stretch to": {"resize": "stretch"},
    "Fill (with center crop) in": {"resize": "crop", "crop_fraction": 1.0},
    "Fit (black edges) in": {"resize": "pad", "pad_color": 0.0},
    "Fit (white edges) in": {"resize": "pad", "pad_color": 255.0},
}


def roboflow(place: Place) -> Facts:
    """Roboflow's `environment.json`: PREPROCESSING is JSON in a text."""
    content = place.json("environment.json")
    if "PREPROCESSING" not in content:
        return {}
    inner = content["PREPROCESSING"]
    inner = object_in(inner, "PREPROCESSING") if isinstance(inner, str) else mapping(inner)
    resize, facts = mapping(inner.get("resize")), Facts(channels="RGB")
    if not resize or resize.get("enabled") is False:
        return facts
    size = pair(resize)
    if size is not None:
        facts["size"] = size
    found = _FORMATS.get(str(resize.get("format")), {})
    if found.get("resize") == "stretch":
        facts["interpolation"] = "bicubic"
    return facts | found


def mmdeploy(place: Place) -> Facts:
    """MMDeploy's `pipeline.json`: the transforms of its task Preprocess; sizes are (width, height).

    Normalize is (pixel - mean) / std of pixels from 0 to 255; to_rgb turns BGR around.
    """
    tasks = steps_in(mapping(place.json("pipeline.json").get("pipeline")).get("tasks"))
    listed = next((t.get("transforms") for t in tasks if t.get("name") == "Preprocess"), None)
    steps = {str(step.get("type")): step for step in steps_in(listed)}
    facts: Facts = {}
    normal = steps.get("Normalize", {})
    if {"mean", "std"} <= normal.keys():
        facts |= {"scale": 1.0, "mean": numbers_in(normal["mean"], "mean")}
        facts["std"] = numbers_in(normal["std"], "std")
        facts["channels"] = "RGB" if normal.get("to_rgb") else "BGR"
    facts |= _resized(steps)
    named = " ".join(str(task.get("component")) for task in tasks)
    for name, task in (("BBox", "detection"), ("ClsHead", "classification"), ("Mask", None)):
        if name in named:
            return facts | {"task": task or "segmentation"}
    return facts


def _resized(steps: dict[str, dict[str, Any]]) -> Facts:
    resize, pad = steps.get("Resize", {}), steps.get("Pad", {})
    crop = pair(steps.get("CenterCrop", {}).get("crop_size"))
    given = resize.get("size")
    given = given[::-1] if isinstance(given, list) else given
    edge = side(max(given)) if isinstance(given, list) and -1 in given else side(given)
    if crop is not None and edge is not None and max(crop) <= edge:
        return {"size": crop, "resize": "crop", "crop_fraction": max(crop) / edge}
    if "CenterCrop" in steps or not resize:
        return {}
    size = pair(given)
    if resize.get("keep_ratio") is not True:
        return {} if size is None else {"size": size, "resize": "stretch"}
    padded = pad.get("size")
    padded = pair(padded[::-1] if isinstance(padded, list) else padded)
    if padded is None:
        return {}
    color = mapping(pad.get("pad_val")).get("img", pad.get("pad_val", 0))
    facts = {"size": padded, "resize": "pad", "pad_position": "top-left"}
    return facts | {"pad_color": numbers_in(0 if isinstance(color, dict) else color, "pad_val")}


def labels_in(place: Place, name: str) -> Facts:
    """A file of labels; JSON that holds something else is somebody else's."""
    path = place.file(name)
    if path is None or (name.endswith(".json") and not _holds_labels(read_text(path, "file"))):
        return {}
    return {"labels": plain_names(labels_of(path))}


def _holds_labels(text: str) -> bool:
    """Whether JSON is a list, or an object as `labels_of` takes it; what is broken is told of."""
    try:
        content = parse_json(text, "labels")
    except InvalidInputError:
        return True
    if not isinstance(content, dict):
        return isinstance(content, list)
    named = content.keys() & {"id2label", "label2id", "names"}
    numbered = all(str(key).isdecimal() for key in content)
    return bool(named) or numbered or all(type(value) is int for value in content.values())


def plain_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Without the word-net number ahead, or the line's own number, that each line begins with."""
    if all(_WNID.match(name) for name in names):
        return tuple(_WNID.sub("", name, count=1) for name in names)
    own = [re.match(rf"{number}[ :,]\s*(?=\S)", name) for number, name in enumerate(names)]
    if len(names) > 1 and all(own):
        return tuple(name[found.end() :] for name, found in zip(names, own, strict=True) if found)
    return names
