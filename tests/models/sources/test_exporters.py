"""Each exporter's metadata and files as it writes them -> the card that is expected."""

import pytest
from onnx import TensorProto
from support.cards import BOXES, IMAGENET, LABELS, LETTERBOX, NAMES, UNIT, check, known, model
from support.folders import ROOT

from onnxplain.models.card import ModelCard
from onnxplain.models.sources.gathering import SOURCES

ULTRALYTICS = {
    "description": "Ultralytics YOLO11n model trained on coco.yaml",
    "author": "Ultralytics",
    "date": "2026-08-01T10:00:00",
    "version": "8.3.99",
    "license": "AGPL-3.0 License (https://ultralytics.com/license)",
    "docs": "https://docs.ultralytics.com",
    "stride": "32",
    "task": "detect",
    "batch": "1",
    "imgsz": "[64, 96]",
    "names": NAMES,
    "args": "{'batch': 1, 'half': False, 'dynamic': True, 'simplify': True, 'nms': False}",
    "channels": "3",
}
YOLO = {**LETTERBOX, **UNIT, "channels": "RGB", "labels": LABELS, "rounding": "nearest"}
CHARACTERS = {"character": "a\nb\n,\n"}
IMAGE_KEYS = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "NominalRange_0_255"}
MODEL_API = {
    "model_info model_type": "ssd",
    "model_info labels": "cat big_dog cow",
    "model_info resize_type": "fit_to_window_letterbox",
    "model_info pad_value": "114",
    "model_info mean_values": "123.675 116.28 103.53",
    "model_info scale_values": "58.395 57.12 57.375",
    "model_info reverse_input_channels": "True",
    "model_info confidence_threshold": "0.35",
}
OF_METADATA = {
    "ultralytics detect": (
        {"metadata": ULTRALYTICS, "out": BOXES},
        {**YOLO, "task": "detection", "size": (64, 64)},
    ),
    "ultralytics, sizes left open": (
        {"metadata": ULTRALYTICS, "out": BOXES, "shape": ["batch", 3, "height", "width"]},
        {**YOLO, "size": (64, 96)},
    ),
    "ultralytics pose": (
        {"metadata": {**ULTRALYTICS, "task": "pose", "kpt_shape": "[17, 3]"}, "out": BOXES},
        {**YOLO, "task": "detection"},
    ),
    "ultralytics semantic": (
        {"metadata": {**ULTRALYTICS, "task": "semantic"}, "out": [1, 3, 64, 64]},
        {"task": "segmentation", "labels": LABELS},
    ),
    "ultralytics rt-detr": (
        {"metadata": ULTRALYTICS, "out": [1, 300, 7]},
        {**UNIT, "resize": "stretch", "task": "detection"},
    ),
    "ultralytics rt-detr by its description": (
        {"metadata": {**ULTRALYTICS, "description": "Ultralytics rtdetr-l model"}, "out": BOXES},
        {**UNIT, "resize": "stretch"},
    ),
    "ultralytics classify": (
        {"metadata": {**ULTRALYTICS, "task": "classify"}},
        {**UNIT, "resize": "crop", "crop_fraction": 1.0, "task": "classification"},
    ),
    "ultralytics gray": (
        {"metadata": {**ULTRALYTICS, "channels": "1"}, "shape": [1, 1, 64, 64], "out": BOXES},
        {**LETTERBOX, **UNIT, "channels": "GRAY"},
    ),
    "ultralytics without its author": (
        {"metadata": {"names": "['a', 'b', 'c']", "task": "classify", "imgsz": "[64, 64]"}},
        {"labels": ("a", "b", "c"), "task": "classification", "resize": "crop"},
    ),
    "yolov5": (
        {"metadata": {"stride": "32", "names": NAMES}, "out": [1, 252, 8]},
        {**YOLO, "task": "detection"},
    ),
    "yolov5 classify": (
        {"metadata": {"stride": "32", "names": NAMES}},
        {**IMAGENET, "resize": "crop", "crop_fraction": 1.0, "task": "classification"},
    ),
    "model api": (
        {"metadata": MODEL_API, "out": BOXES},
        {
            **{**LETTERBOX, "rounding": "down", "channels": "RGB", "scale": (1.0,)},
            **{"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)},
            **{"labels": ("cat", "big dog", "cow"), "task": "detection"},
        },
    ),
}
LEFT_OPEN = {
    "libreyolo": (
        {
            "metadata": {
                **{"model_family": "yolo9", "model_size": "t", "task": "detect"},
                **{"nb_classes": "3", "names": NAMES, "imgsz": "64"},
            },
            "out": BOXES,
        },
        {"labels": LABELS, "task": "detection"},
        {"pixels", "resize", "layout"},
    ),
    "character, as many": ({"metadata": CHARACTERS}, {"labels": ("a", "b", ",")}, None),
    "character and a blank": (
        {"metadata": CHARACTERS, "out": [1, 5, 4]},
        {"labels": ("a", "b", ","), "task": "sequence", "channels": "BGR", "resize": "pad"},
        set(),
    ),
    "character, a blank and a space": (
        {"metadata": CHARACTERS, "out": [1, 9, 5], "shape": [1, 3, 48, "width"]},
        {"labels": ("a", "b", ","), "task": "sequence", "size": (48, 320), "mean": (1.0,)},
        set(),
    ),
    "image keys": (
        {"metadata": IMAGE_KEYS},
        {"channels": "BGR", "scale": (1.0,), "mean": (0.0,)},
        {"resize"},
    ),
    "image keys in other case": (
        {"metadata": {k.upper(): v.upper() for k, v in IMAGE_KEYS.items()}},
        {"channels": "BGR", "scale": (1.0,)},
        {"resize"},
    ),
    "image keys, -1 to 1": (
        {"metadata": {"Image.NominalPixelRange": "Normalized_1_1"}},
        {"scale": (1 / 127.5,), "mean": (1.0,), "std": (1.0,)},
        {"resize", "layout"},
    ),
    "bytes": (
        {"dtype": TensorProto.UINT8},
        {"scale": (1.0,), "dtype": "uint8"},
        {"resize", "layout"},
    ),
}
ALL = {"pixels", "resize", "layout"}


@pytest.mark.parametrize("case", OF_METADATA, ids=str)
def test_metadata_says_all(case, tmp_path):
    given, expected = OF_METADATA[case]
    found = known(tmp_path, model(**given))
    assert isinstance(found.card, ModelCard) and not found.notes
    check(found, expected)
    assert found.stated == found.card


@pytest.mark.parametrize("case", LEFT_OPEN, ids=str)
def test_what_metadata_leaves_open_stays_assumed(case, tmp_path):
    given, expected, assumed = LEFT_OPEN[case]
    found = known(tmp_path, model(**given))
    check(found, expected, ALL if assumed is None else assumed)
    assert isinstance(found.stated, ModelCard) == (assumed == set())


def test_names_of_a_tables_columns(tmp_path):
    for text in ('["age", "income"]', "['age', 'income']", "age, income"):
        made = model(shape=(1, 2), metadata={"feature_names": text})
        found = known(tmp_path, made)
        assert found.card.kind == "array" and found.card.settings == {"names": ["age", "income"]}


def test_the_page_on_cards_names_every_source():
    def plain(text):
        return text.replace("'", "").replace("`", "").removesuffix("*")

    page = plain((ROOT / "docs" / "cards.md").read_text(encoding="utf-8"))
    names = [plain(source.name.split(":")[0].split(" (")[0]) for source in SOURCES]
    assert len(names) > 20 and not [name for name in names if name not in page]
