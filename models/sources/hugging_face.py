"""Hugging Face's and timm's JSON beside a model, or one folder up from `onnx/`."""

from __future__ import annotations

import math
from typing import Any

from ..labels import labels_of
from .place import Facts, Place, mapping, numbers_in, pair, side

# Pillow's numbers.
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
_TASKS = (
    ("ImageClassification", "classification"),
    ("SequenceClassification", "classification"),
    ("ObjectDetection", "detection"),
    ("SemanticSegmentation", "segmentation"),
    ("DepthEstimation", "regression"),
    ("TokenClassification", "sequence"),
)
_PROBLEMS = {
    "multi_label_classification": {"probability": "sigmoid"},
    "single_label_classification": {"probability": "softmax"},
    "regression": {"probability": "none", "task": "regression"},
}
# A ConvNeXt of a longer edge than this is not cropped.
_STRETCHED = 384


def config(place: Place) -> Facts:
    """`config.json`: id2label, architectures, problem_type, image_size."""
    content = place.json("config.json", above=True)
    if not content.keys() & {"architectures", "model_type", "id2label"}:
        return {}
    facts: Facts = {}
    named = " ".join(map(str, content.get("architectures") or ()))
    task = next((task for name, task in _TASKS if name in named), None)
    if task is not None:
        facts["task"] = task
    facts |= _PROBLEMS.get(str(content.get("problem_type")), {})
    if content.get("id2label"):
        facts["labels"] = labels_of(content["id2label"])
    if (size := pair(content.get("image_size"))) is not None:
        facts["size"] = size
    return facts


def preprocessor(place: Place) -> Facts:
    """`preprocessor_config.json`, or the image processor in `processor_config.json`."""
    content = place.json("preprocessor_config.json", above=True)
    if not content:
        content = mapping(place.json("processor_config.json", above=True).get("image_processor"))
    kind = str(content.get("image_processor_type") or content.get("feature_extractor_type") or "")
    if not content.keys() & {"image_mean", "do_rescale", "do_normalize", "do_resize"}:
        return {}
    facts = _normalised(content, kind) | _resized(content, kind)
    if content.get("resample") in _RESAMPLE:
        facts["interpolation"] = _RESAMPLE[content["resample"]]
    turned = content.get("do_flip_channel_order", kind.startswith("MobileViT"))
    return facts | {"channels": "BGR" if turned is True else "RGB", "layout": "NCHW"}


def _normalised(content: dict[str, Any], kind: str) -> Facts:
    """(pixel * rescale_factor - offset - image_mean) / image_std; what is not said is the class's.

    MobileViT's does not normalise unless told to; of others a mean that is missing is not known.
    """
    scaled = content.get("do_rescale", True) is not False
    scale = numbers_in(content.get("rescale_factor", 1 / 255), "rescale_factor")[0]
    offset = 1.0 if scaled and content.get("rescale_offset") is True else 0.0
    normal = content.get("do_normalize", not kind.startswith("MobileViT")) is not False
    if normal and not {"image_mean", "image_std"} <= content.keys():
        return {}
    mean = numbers_in(content["image_mean"], "image_mean") if normal else (0.0,)
    return {
        "scale": scale if scaled else 1.0,
        "mean": tuple(one + offset for one in mean),
        "std": numbers_in(content["image_std"], "image_std") if normal else (1.0,),
    }


def _resized(content: dict[str, Any], kind: str) -> Facts:
    """Size and cut; {} where photos keep their aspect ratio, and no card can say so."""
    if content.get("do_resize", True) is False:
        return {}
    size, crop = content.get("size"), pair(content.get("crop_size"))
    cropped = content.get("do_center_crop") is True and crop is not None
    shorter = mapping(size).get("shortest_edge") if isinstance(size, dict) else size
    edge = side(shorter)
    if isinstance(size, dict) and "longest_edge" in size and not cropped:
        return {}
    if edge is not None and cropped and crop is not None:
        fraction = max(crop) / edge
        if fraction <= 1:
            return {"size": crop, "resize": "crop", "crop_fraction": fraction}
        return {"size": crop}
    if edge is not None and (kind.startswith("ConvNext") or "crop_pct" in content):
        if edge >= _STRETCHED:
            return {"size": (edge, edge), "resize": "stretch"}
        part = numbers_in(content.get("crop_pct") or 224 / 256, "crop_pct")[0]
        whole = int(edge / part) if part > 0 else edge
        return {"size": (edge, edge), "resize": "crop", "crop_fraction": edge / max(whole, edge)}
    whole = pair(size)
    if whole is None or cropped:
        return {} if crop is None or not cropped else {"size": crop}
    return {"size": whole, "resize": "stretch"}


def timm(place: Place) -> Facts:
    """timm's `config.json`: pretrained_cfg, or the same keys at its root; label_names.

    The shorter edge becomes floor(size / crop_pct), of which the centre is cut out.
    """
    content = place.json("config.json", above=True)
    own = mapping(content.get("pretrained_cfg")) or content
    if "architecture" not in content or not own.keys() & {"mean", "input_size"}:
        return {}
    facts: Facts = {"channels": "RGB"}
    if {"mean", "std"} <= own.keys():
        facts |= {"scale": 1 / 255, "mean": numbers_in(own["mean"], "mean")}
        facts["std"] = numbers_in(own["std"], "std")
    if own.get("interpolation") in _RESAMPLE.values():
        facts["interpolation"] = own["interpolation"]
    shape = own.get("input_size")
    size = pair(shape[1:]) if isinstance(shape, list) and len(shape) == 3 else None
    if size is not None:
        facts |= {"size": size, **_cut(own, max(size))}
    if content.get("label_names"):
        facts["labels"] = labels_of(content["label_names"])
    if side(content.get("num_classes")) is not None:
        facts["task"] = "classification"
    return facts


def _cut(own: dict[str, Any], edge: int) -> Facts:
    part = numbers_in(own.get("crop_pct") or 0.875, "crop_pct")[0]
    mode = own.get("crop_mode") or "center"
    if mode == "squash" and part == 1:
        return {"resize": "stretch"}
    if mode == "border" and part == 1 and "mean" in own:
        color = tuple(round(255 * one) for one in numbers_in(own["mean"], "mean"))
        return {"resize": "pad", "pad_color": color}
    if mode != "center" or not 0 < part <= 1:
        return {}
    return {"resize": "crop", "crop_fraction": edge / max(math.floor(edge / part), edge)}
