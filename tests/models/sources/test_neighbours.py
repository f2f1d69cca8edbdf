"""Files beside a model, as others write them -> the card that is expected."""

import pytest
from support.cards import IMAGENET, UNIT, check, known, model

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
BYTES = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
BYTES_READ = {"scale": (1.0,), **{key: tuple(value) for key, value in BYTES.items()}}
HALF = {"scale": (1 / 255,), "mean": (0.5,) * 3, "std": (0.5,) * 3}
OPEN = ["batch", "channels", "height", "width"]
VIT = {
    **{"do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5]},
    **{"image_processor_type": "ViTImageProcessor", "image_std": [0.5, 0.5, 0.5], "resample": 2},
    **{"rescale_factor": 0.00392156862745098, "size": {"height": 64, "width": 96}},
}
CONFIG = {
    **{"architectures": ["ViTForImageClassification"], "model_type": "vit", "image_size": 224},
    **{"id2label": {"0": "cat", "1": "dog", "2": "cow"}, "label2id": {"cat": 0}},
}
CUT = {**VIT, "size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224}
CONVNEXT = {
    **{**VIT, "size": {"shortest_edge": 224}, "crop_pct": 0.875},
    "image_processor_type": "ConvNextImageProcessor",
}
EFFICIENT = {**VIT, "rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False}
MOBILE = {
    **{"do_center_crop": True, "crop_size": {"height": 256, "width": 256}, "do_rescale": True},
    **{"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 288}},
}
TIMM = {
    **{"architecture": "resnet18", "num_classes": 3, "num_features": 512},
    "label_names": ["cat", "dog", "cow"],
    "pretrained_cfg": {
        **{"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.9},
        **{"crop_mode": "center", "mean": MEAN, "std": STD, "num_classes": 3},
    },
}
CUT_OF_TIMM = {"resize": "crop", "crop_fraction": 224 / 248, "size": (224, 224)}
PADDLE = """
Global: {model_name: PP-LCNet_x1_0}
PreProcess:
  transform_ops:
  - ResizeImage: {resize_short: 256}
  - CropImage: {size: 224}
  - NormalizeImage:
      channel_num: 3
      mean: [0.485, 0.456, 0.406]
      order: ''
      scale: 1./255.
      std: [0.229, 0.224, 0.225]
  - ToCHWImage: null
PostProcess:
  Topk:
    topk: 5
    label_list: [cat, dog, cow]
"""
READER = """
PreProcess:
  transform_ops:
  - DecodeImage: {channel_first: false, img_mode: BGR}
  - MultiLabelEncode: {gtc_encode: NRTRLabelEncode}
  - RecResizeImg: {image_shape: [3, 48, 320]}
  - KeepKeys: {keep_keys: [image]}
PostProcess:
  name: CTCLabelDecode
  character_dict: [a, b, 'n']
"""
PICODET = """
mode: paddle
arch: PicoDet
Preprocess:
- {interp: 2, keep_ratio: false, target_size: [320, 320], type: Resize}
- {is_scale: true, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], type: NormalizeImage}
- {type: Permute}
label_list: [cat, dog, cow]
NMS: {keep_top_k: 100, name: MultiClassNMS}
"""
CUSTOM = "CustomVision.P"
AZURE = {
    **{f"{CUSTOM}ostprocess.Method": "ClassificationMultiClass"},
    **{f"{CUSTOM}reprocess.CropMethod": "FullImageShorterSide"},
    **{f"{CUSTOM}reprocess.NormalizeMean": "[0.0, 0.0, 0.0]"},
    **{f"{CUSTOM}reprocess.NormalizeStd": "[1.0, 1.0, 1.0]"},
    **{f"{CUSTOM}reprocess.ResizeMethod": "Stretch", f"{CUSTOM}reprocess.MaxScale": "0"},
    **{f"{CUSTOM}reprocess.TargetHeight": "224", f"{CUSTOM}reprocess.TargetWidth": "240"},
    **{"Image.BitmapPixelFormat": "Rgb8", "Image.NominalPixelRange": "Normalized_0_1"},
}
AZURE_READ = {**UNIT, "channels": "RGB", "size": (224, 240), "resize": "stretch"}
ROBOFLOW = {
    "PREPROCESSING": '{"auto-orient": {"enabled": true}, "resize": {"enabled": true, "width": 640,'
    ' "height": 480, "format": "Fit (white edges) in"}}',
    "COLORS": {"cat": "#fff"},
}
PIPELINE = {
    "pipeline": {
        "input": ["img"],
        "tasks": [
            {
                **{"type": "Task", "module": "Transform", "name": "Preprocess"},
                "transforms": [
                    {"type": "LoadImageFromFile"},
                    {"type": "Resize", "keep_ratio": True, "size": [640, 480]},
                    {"type": "Pad", "size": [640, 480], "pad_val": {"img": [114, 114, 114]}},
                    {"type": "Normalize", **BYTES, "to_rgb": True},
                ],
            },
            {"name": "yolox", "type": "Task", "module": "Net"},
            {"type": "Task", "module": "mmdet", "name": "postprocess", "component": "ResizeBBox"},
        ],
    }
}
THREE = ("cat", "dog", "cow")
TABLE = {
    "vit": (
        {"preprocessor_config.json": VIT, "config.json": CONFIG},
        {**HALF, "labels": THREE, "size": (64, 96), "resize": "stretch", "task": "classification"},
        (),
    ),
    "shortest edge and a crop": (
        {"preprocessor_config.json": CUT},
        {**HALF, "size": (224, 224), "resize": "crop", "crop_fraction": 224 / 256},
        (),
    ),
    "convnext": (
        {"preprocessor_config.json": CONVNEXT},
        {"size": (224, 224), "resize": "crop", "crop_fraction": 224 / 256},
        (),
    ),
    "efficientnet's offset": (
        {"preprocessor_config.json": EFFICIENT},
        {"scale": (1 / 127.5,), "mean": (1.0,), "std": (1.0,)},
        (),
    ),
    "mobilevit": (
        {"preprocessor_config.json": MOBILE},
        {**UNIT, "channels": "BGR", "size": (256, 256), "crop_fraction": 256 / 288},
        (),
    ),
    "detr's size keeps the aspect": (
        {"preprocessor_config.json": {**VIT, "size": {"shortest_edge": 8, "longest_edge": 13}}},
        HALF,
        {"size", "resize"},
    ),
    "in processor_config": (
        {"processor_config.json": {"image_processor": VIT}},
        {**HALF, "size": (64, 96)},
        (),
    ),
    "several labels": (
        {"config.json": {**CONFIG, "problem_type": "multi_label_classification"}},
        {"probability": "sigmoid", "labels": THREE},
        None,
    ),
    "timm": (
        {"config.json": TIMM},
        {**IMAGENET, **CUT_OF_TIMM, "labels": THREE, "interpolation": "bicubic"},
        (),
    ),
    "timm of old": (
        {"config.json": {"architecture": "resnet18", **TIMM["pretrained_cfg"]}},
        {**IMAGENET, **CUT_OF_TIMM},
        (),
    ),
    "paddle": (
        {"inference.yml": PADDLE},
        {
            **{**IMAGENET, "size": (224, 224), "resize": "crop", "crop_fraction": 0.875},
            **{"labels": THREE, "task": "classification", "probability": "softmax"},
        },
        {"layout"},
    ),
    "picodet": (
        {"infer_cfg.yml": PICODET},
        {
            **{**IMAGENET, "size": (320, 320), "resize": "stretch", "task": "detection"},
            **{"labels": THREE, "interpolation": "bicubic", "channels": "RGB"},
        },
        (),
    ),
    "azure": (
        {"metadata_properties.json": AZURE, "labels.txt": "cat\ndog\ncow\n"},
        {**AZURE_READ, "labels": THREE, "probability": "softmax"},
        (),
    ),
    "roboflow": (
        {"environment.json": ROBOFLOW, "class_names.txt": "cat\ndog\ncow\n"},
        {"size": (480, 640), "resize": "pad", "pad_color": (255.0,), "labels": THREE},
        {"pixels"},
    ),
    "mmdeploy": (
        {"pipeline.json": PIPELINE},
        {
            **{**BYTES_READ, "channels": "RGB", "size": (480, 640), "resize": "pad"},
            **{"pad_position": "top-left", "pad_color": (114.0,) * 3, "task": "detection"},
        },
        (),
    ),
    "synset": (
        {"synset.txt": "n01440764 cat, house cat\nn01440765 dog\nn01440766 cow\n"},
        {"labels": ("cat, house cat", "dog", "cow")},
        None,
    ),
    "numbered": ({"labels.txt": "0 cat\n1 dog\n2 cow\n"}, {"labels": THREE}, None),
    "labels.json": ({"labels.json": ["cat", "dog", "cow"]}, {"labels": THREE}, None),
    "classes.txt": ({"classes.txt": "cat\ndog\ncow"}, {"labels": THREE}, None),
}


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_neighbours(case, tmp_path):
    files, expected, assumed = TABLE[case]
    shape = OPEN if "preprocessor_config.json" in files else [1, 3, "height", "width"]
    found = known(tmp_path, model(shape), files)
    assert not found.notes
    everything = {"pixels", "resize", "layout", "size"}
    if assumed is None and "image_size" in str(files):
        everything.discard("size")
    check(found, expected, everything if assumed is None else assumed)


def test_one_folder_up_from_onnx(tmp_path):
    files = {"preprocessor_config.json": VIT, "config.json": CONFIG}
    check(known(tmp_path, model(OPEN), files, inside="onnx"), {**HALF, "labels": THREE})
    assert known(tmp_path, model(), files, inside="other").stated is None


def test_a_reader_of_text(tmp_path):
    made = model(["n", 3, 48, "w"], ["n", "t", 5])
    expected = {"size": (48, 320), "resize": "pad", "pad_position": "top-left", "channels": "BGR"}
    expected |= {"scale": (1 / 127.5,), "mean": (1.0,), "task": "sequence"}
    expected |= {"labels": ("a", "b", "n")}
    check(known(tmp_path, made, {"inference.yml": READER}), expected)


def test_what_the_file_fixes_is_the_files(tmp_path):
    found = known(tmp_path, model([1, 3, 32, 48]), {"preprocessor_config.json": VIT})
    assert found.card.size == (32, 48) and found.sources["size"].startswith("the input")
    gray = known(tmp_path, model([1, 1, 32, 48]), {"preprocessor_config.json": CUT})
    assert gray.card.channels == "GRAY" and gray.card.resize == "crop"
