"""Paddle's YAML beside a model: `inference.yml` of PaddleX, `infer_cfg.yml` of PaddleDetection."""

from __future__ import annotations

from typing import Any

from ..labels import labels_of
from .in_metadata import STRIP, characters_of
from .place import Facts, Place, mapping, numbers_in, one_keyed, pair, side, steps_in

# OpenCV's numbers.
_INTERPOLATIONS = {0: "nearest", 1: "bilinear", 2: "bicubic", 4: "lanczos"}


def inference(place: Place) -> Facts:
    """`inference.yml` or `inference.json`: PreProcess.transform_ops and PostProcess."""
    content = place.yaml("inference.yml") or place.json("inference.json")
    steps = one_keyed(mapping(content.get("PreProcess")).get("transform_ops"))
    facts = _normalised(steps.get("NormalizeImage"))
    mode = str(steps.get("DecodeImage", {}).get("img_mode"))
    if mode in ("RGB", "BGR"):
        facts["channels"] = mode
    resize, crop = steps.get("ResizeImage", {}), pair(steps.get("CropImage", {}).get("size"))
    edge = side(resize.get("resize_short"))
    if edge is not None and crop is not None and max(crop) <= edge:
        facts |= {"size": crop, "resize": "crop", "crop_fraction": max(crop) / edge}
    elif "size" in resize and (size := pair(_turned(resize["size"]))) is not None:
        facts |= {"size": size, "resize": "stretch"}
    facts |= _of_text(steps.get("RecResizeImg", {}))
    return facts | _answers(mapping(content.get("PostProcess")), place)


def _turned(size: Any) -> Any:
    """[width, height] as [height, width]."""
    return size[::-1] if isinstance(size, list) else size


def _of_text(step: dict[str, Any]) -> Facts:
    """A text recogniser's strip: fitted at the left, in -1 to 1, and zeros behind it."""
    shape = step.get("image_shape")
    size = pair(shape[1:]) if isinstance(shape, list) and len(shape) == 3 else None
    if size is None:
        return {}
    return {"size": size, **STRIP}


def _answers(content: dict[str, Any], place: Place) -> Facts:
    names = content.get("character_dict")
    if isinstance(names, list) and names:
        return {"task": "sequence", **characters_of(tuple(map(str, names)), place)}
    facts: Facts = {}
    for step, probability in (("Topk", "softmax"), ("MultiLabelThreshOutput", "sigmoid")):
        own = content.get(step)
        if isinstance(own, dict):
            facts |= {"task": "classification", "probability": probability}
            if own.get("label_list"):
                facts["labels"] = labels_of(own["label_list"])
    return facts


def _normalised(step: dict[str, Any] | None) -> Facts:
    """(pixel * scale - mean) / std; scale is 1/255 unless the step says otherwise."""
    if step is None:
        return {}
    scale = numbers_in(step.get("scale") or 1 / 255, "scale")[0]
    if step.get("is_scale") is False:
        scale = 1.0
    if step.get("norm_type") == "none":
        return {"scale": scale, "mean": 0.0, "std": 1.0}
    if not {"mean", "std"} <= step.keys():
        return {}
    numbers = {"scale": scale, "mean": numbers_in(step["mean"], "mean")}
    return numbers | {"std": numbers_in(step["std"], "std")}


def detection(place: Place) -> Facts:
    """`infer_cfg.yml`: Preprocess, a list of steps with a type, and label_list; RGB."""
    content = place.yaml("infer_cfg.yml")
    steps = {str(step.get("type")): step for step in steps_in(content.get("Preprocess"))}
    if not steps:
        return {}
    facts: Facts = {"channels": "RGB", **_normalised(steps.get("NormalizeImage"))}
    if content.get("arch"):
        facts["task"] = "detection"
    resize = steps.get("Resize", {})
    size = pair(resize.get("target_size"))
    if size is not None:
        facts |= {"size": size} | ({} if resize.get("keep_ratio") else {"resize": "stretch"})
        facts["interpolation"] = _INTERPOLATIONS.get(resize.get("interp", 1), "bilinear")
    if content.get("label_list"):
        facts["labels"] = labels_of(content["label_list"])
    return facts
