"""Precedence, and files and metadata that are broken, huge or nested: a line each, and no more."""

import copy
import json

import pytest
from support.cards import BOXES, LABELS, NAMES, known, model

from onnxplain import InvalidInputError
from onnxplain.models.card import METADATA_KEY, ModelCard, card_to_json
from onnxplain.models.sources import place as places
from onnxplain.models.sources.gathering import FILE

OWN = {"size": [64, 64], "resize": "stretch", "layout": "NCHW", "channels": "RGB"}
OWN |= {"scale": 2, "mean": 0, "std": 1}
YOLO = {"author": "Ultralytics", "task": "detect", "names": NAMES, "imgsz": "[64, 64]"}
VIT = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "size": {"height": 32, "width": 32}}
CONFIG = {"architectures": ["A"], "id2label": {"0": "x", "1": "y", "2": "z"}}


def test_the_order_of_sources(tmp_path):
    """Who stands further up is believed: each is taken away in turn."""
    own = {METADATA_KEY: json.dumps({**OWN, "scale": 3})}
    files = {"net.json": OWN, "preprocessor_config.json": VIT, "labels.txt": "p\nq\nr"}
    found = known(tmp_path, model(metadata={**own, **YOLO}, out=BOXES), files)
    assert found.card.scale == (2.0,) and found.own.endswith("net.json")
    # What a card leaves out, others may say.
    assert found.card.labels == LABELS and found.sources["labels"] == "Ultralytics' metadata"
    (tmp_path / "net.json").unlink()
    found = known(tmp_path, model(metadata={**own, **YOLO}, out=BOXES))
    assert found.card.scale == (3.0,) and METADATA_KEY in str(found.own)
    found = known(tmp_path, model(metadata=YOLO, out=BOXES))
    assert found.card.scale == (1 / 255,) and found.sources["scale"] == "Ultralytics' metadata"
    found = known(tmp_path, model(out=BOXES))
    assert found.card.mean == (0.5,) * 3 and found.sources["mean"] == "preprocessor_config.json"
    assert found.card.labels == ("p", "q", "r") and found.sources["labels"] == "labels.txt"


def test_facts_that_belong_together_come_from_one_source(tmp_path):
    metadata = {"Image.NominalPixelRange": "NominalRange_0_255", "Image.BitmapPixelFormat": "Bgr8"}
    files = {"preprocessor_config.json": {**VIT, "image_mean": [0.1, 0.2, 0.3]}}
    card = known(tmp_path, model(metadata=metadata), files).card
    assert (card.scale, card.mean, card.std) == ((1.0,), (0.0,), (1.0,))
    # Numbers in the order of RGB, of a model that takes BGR.
    card = known(tmp_path, model(metadata={"Image.BitmapPixelFormat": "Bgr8"})).card
    assert card.channels == "BGR" and card.mean == (0.3, 0.2, 0.1)


def test_labels_of_another_model_are_passed_over(tmp_path):
    found = known(tmp_path, model(out=(1, 10)), {"labels.txt": "a\nb\nc"})
    assert found.card.labels is None
    assert found.notes == ("passed over: labels.txt has 3 labels, and the model 10 classes",)
    found = known(tmp_path, model(out=(1, 10)), {"classes.txt": "\n".join("abcdefghij")})
    assert len(found.card.labels) == 10 and found.sources["labels"] == "classes.txt"


def test_without_anything_all_is_assumed(tmp_path):
    found = known(tmp_path, model())
    assert isinstance(found.card, ModelCard) and len(found.card.assumed) == 3
    assert found.sources["size"] == found.sources["dtype"] == FILE and found.stated is None
    assert found.sources["scale"] == "assumed"


@pytest.mark.parametrize("where", ["file", "metadata"])
def test_a_broken_card_of_ones_own_is_an_error(where, tmp_path):
    files = {"net.json": {**OWN, "scale": 0}} if where == "file" else {}
    metadata = {METADATA_KEY: json.dumps({**OWN, "scale": 0})} if where == "metadata" else {}
    with pytest.raises(InvalidInputError, match="'scale'"):
        known(tmp_path, model(metadata=metadata), files)


DEEP = "[" * 5000 + "]" * 5000
BROKEN = {
    **{
        f"{name} {text[:8]!r}": ({name: text}, {})
        for text in ("{", "[1, 2]", DEEP, "nul\0l")
        for name in (
            "config.json",
            "preprocessor_config.json",
            "metadata_properties.json",
            "pipeline.json",
            "environment.json",
        )
    },
    "yaml": ({"inference.yml": "a: [1, 2"}, {}),
    "yaml that is a list": ({"infer_cfg.yml": "- 1\n- 2\n"}, {}),
    "yaml with aliases": ({"inference.yml": "a: &a [1]\nb: *a\n"}, {}),
    "yaml that is deep": ({"inference.yml": "[" * 500 + "]" * 500}, {}),
    "yaml with objects": ({"inference.yml": "a: !!python/object/apply:os.getcwd []"}, {}),
    "no labels": ({"labels.txt": ""}, {}),
    "names that are code": ({}, {**YOLO, "names": "__import__('os').getcwd()"}),
    "names that are deep": ({}, {**YOLO, "names": DEEP}),
    "names with signs": ({}, {**YOLO, "names": "-" * 50_000 + "1"}),
    "names with gaps": ({}, {**YOLO, "names": "{0: 'a', 2: 'b'}"}),
    "names of numbers": ({}, {**YOLO, "names": "7"}),
    "long names": ({}, {**YOLO, "names": "[" + "'a'," * 400_000 + "]"}),
    "a long number": ({}, {**YOLO, "imgsz": "9" * 5000}),
    "roboflow": ({"environment.json": {"PREPROCESSING": "{"}}, {}),
    "feature names": ({}, {"feature_names": "[["}),
    "a mean of texts": ({"preprocessor_config.json": {**VIT, "image_mean": ["a", "b", "c"]}}, {}),
    "a deviation of zero": ({"preprocessor_config.json": {**VIT, "image_std": [0, 0, 0]}}, {}),
}


@pytest.mark.parametrize("case", BROKEN, ids=str)
def test_what_is_broken_is_told_in_a_line(case, tmp_path):
    files, metadata = BROKEN[case]
    found = known(tmp_path, model(out=BOXES, metadata=metadata), files)
    silent = case.startswith(("yaml that is a list",))
    assert len(found.notes) == (0 if silent else 1), found.notes
    for note in found.notes:
        assert note.startswith("passed over: ") and "\n" not in note and len(note) < 300
    assert isinstance(found.card, ModelCard) and found.card.assumed


def test_another_models_card_is_no_file_of_labels(tmp_path):
    found = known(tmp_path, model(), {"labels.json": OWN})
    assert found.notes == () and found.card.labels is None
    found = known(tmp_path, model(), {"labels.json": {"x": 0, "y": 1, "z": 2}})
    assert found.card.labels == ("x", "y", "z")


def test_a_huge_neighbour_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("onnxplain.models.files.MOST_TEXT", 1000)
    found = known(tmp_path, model(), {"config.json": CONFIG, "labels.txt": "a\n" * 1000})
    assert len(found.notes) == 1 and "expected at most 1,000 bytes" in found.notes[0]
    assert found.card.labels == ("x", "y", "z")


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("a\nb\nc")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "labels.txt").symlink_to(outside)
    assert known(tmp_path, model(), inside="models").card.labels is None


STRANGE = [
    None,
    "x",
    "",
    -1,
    0,
    1e308,
    float("nan"),
    True,
    [],
    {},
    [[1]],
    {"a": {"b": 1}},
    "9" * 400,
]


def changes(value):
    """Every copy of a JSON value in which one inner value is a strange one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for place, (key, own) in enumerate(inner):
        # Five for each, others for the next.
        for strange in (STRANGE * 2)[5 * place % len(STRANGE) :][:5]:
            changed = copy.copy(value)
            changed[key] = strange
            yield changed
        if isinstance(own, dict | list) and own:
            for deeper in changes(own):
                changed = copy.copy(value)
                changed[key] = deeper
                yield changed


FILES = {
    "preprocessor_config.json": {
        **VIT,
        "do_center_crop": True,
        "crop_size": 2,
        "resample": 2,
        "rescale_factor": 0.1,
        "do_resize": True,
        "crop_pct": 0.9,
        "image_processor_type": "X",
    },
    "config.json": {
        "architecture": "a",
        "label_names": ["x", "y", "z"],
        "num_classes": 3,
        "architectures": ["A"],
        "id2label": {"0": "x", "1": "y", "2": "z"},
        "image_size": 5,
        "pretrained_cfg": {
            "input_size": [3, 8, 8],
            "mean": [0.1] * 3,
            "std": [0.1] * 3,
            "crop_pct": 0.9,
            "crop_mode": "center",
            "interpolation": "bicubic",
        },
    },
    "inference.json": {
        "PreProcess": {
            "transform_ops": [
                {"ResizeImage": {"resize_short": 9}},
                {"CropImage": {"size": 8}},
                {"NormalizeImage": {"mean": [0.1], "std": [1], "scale": "1/9"}},
                {"RecResizeImg": {"image_shape": [3, 8, 9]}},
                {"DecodeImage": {"img_mode": "BGR"}},
            ]
        },
        "PostProcess": {"Topk": {"label_list": ["x", "y", "z"]}, "character_dict": ["a", "b"]},
    },
    "metadata_properties.json": {
        "CustomVision.Preprocess.NormalizeMean": "[1.0]",
        "CustomVision.Preprocess.NormalizeStd": "[2.0]",
        "Image.NominalPixelRange": "a",
        "CustomVision.Preprocess.TargetHeight": "5",
        "CustomVision.Preprocess.ResizeMethod": "s",
        "CustomVision.Postprocess.Method": "Yolo",
    },
    "environment.json": {
        "PREPROCESSING": {
            "resize": {"enabled": True, "width": 4, "height": 5, "format": "Stretch to"}
        }
    },
    "pipeline.json": {
        "pipeline": {
            "tasks": [
                {
                    "name": "Preprocess",
                    "component": "B",
                    "transforms": [
                        {"type": "Resize", "keep_ratio": True, "size": [4, 5]},
                        {"type": "Pad", "size": [4, 5], "pad_val": {"img": [1, 2, 3]}},
                        {"type": "CenterCrop", "crop_size": 3},
                        {"type": "Normalize", "mean": [1], "std": [1], "to_rgb": True},
                    ],
                }
            ]
        }
    },
    "labels.json": {"id2label": {"0": "x", "1": "y", "2": "z"}},
}


@pytest.mark.parametrize("name", FILES)
def test_no_value_of_another_type_stops_a_run(name, tmp_path):
    made = model(["n", 3, "h", "w"], [1, 3])
    for changed in changes(FILES[name]):
        found = known(tmp_path, made, {name: json.dumps(changed)})
        assert isinstance(found.card, ModelCard), changed
        assert card_to_json(found.card), changed
        assert all("\n" not in note for note in found.notes), changed


def test_yaml_has_the_same_bounds(monkeypatch):
    monkeypatch.setattr(places, "_MOST_YAML", 10)
    with pytest.raises(InvalidInputError, match="at most 10 characters"):
        places.parse_yaml("a: 1111111111", "x.yml")
