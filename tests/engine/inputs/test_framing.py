"""A photo that a graph makes the model's input is Python's, grey level by grey level."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from PIL import Image

import onnxplain
from onnxplain.engine.inputs.framing import framing_of
from onnxplain.engine.inputs.kind import ModelInput
from onnxplain.engine.inputs.pixels import model_pixels, pixels_to_tensor
from onnxplain.graph_passes.finish.preprocessing import with_preprocessing
from onnxplain.graph_passes.select.features import with_channels
from onnxplain.models.card import ModelCard

PLAIN = {"resize": "crop", "layout": "NCHW", "channels": "RGB", "scale": 1, "mean": 0, "std": 1}
IMAGENET = {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
RESIZES = {
    "crop": {},
    "crop of a part": {"crop_fraction": 0.875, "size": [15, 22]},
    "crop, nearest size": {"crop_fraction": 0.7, "rounding": "nearest"},
    "stretch": {"resize": "stretch", "size": [9, 14]},
    "pad": {"resize": "pad", "pad_color": [10, 20, 200]},
    "pad at the right": {"resize": "pad", "pad_position": "top-left", "rounding": "down"},
    "pad of another aspect": {"resize": "pad", "size": [7, 21], "pad_color": 114},
}
NUMBERS = {
    "RGB": IMAGENET,
    "BGR": {"channels": "BGR", "mean": [103.939, 116.779, 123.68]},
    "gray, channels last": {"channels": "GRAY", "layout": "NHWC", "scale": 1 / 255},
    "half": {"dtype": "float16", "layout": "NHWC", **IMAGENET},
    "bytes": {"dtype": "uint8", "layout": "NHWC"},
    "signed bytes": {"dtype": "int8", "mean": 128, "std": 1.7},
}
# Single pixels, lines, the card's own size, shrunk, enlarged, and very long.
SIZES = [(1, 1), (1, 9), (8, 1), (12, 12), (5, 7), (40, 31), (63, 20), (17, 90), (200, 3), (12, 24)]


def card_of(**facts):
    return ModelCard.of({"size": [12, 12], **PLAIN, **facts}, "card")


def session_of(card):
    """A model that returns its input, which a photo takes the place of."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(card.dtype))
    named = [helper.make_tensor_value_info(n, kind, card.tensor_shape) for n in "xy"]
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    graph = helper.make_graph(nodes, "same", named[:1], named[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    features = with_channels(4, card.channel_axis)
    into = ModelInput("x", card.tensor_shape, card.dtype, features, card)
    made = with_preprocessing(model, "x", framing_of(into, of_photo=True))
    onnx.checker.check_model(made, full_check=True)
    (photo,) = made.graph.input
    assert photo.name == "x" and photo.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = made.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def in_python(photo, card):
    return pixels_to_tensor(model_pixels(Image.fromarray(photo), card), card)


def photos(seed, sizes=SIZES):
    """Noise, black and white, and a ramp, whose grey levels lie between two again and again."""
    random = np.random.default_rng(seed)
    for height, width in sizes:
        noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        yield noise
        yield np.where(noise > 127, 255, 0).astype(np.uint8)
        ramp = np.linspace(0, 255, width).astype(np.uint8)
        yield np.broadcast_to(ramp[None, :, None], noise.shape).copy()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("resize", RESIZES)
def test_every_grey_level(resize, interpolation):
    card = card_of(interpolation=interpolation, **RESIZES[resize])
    session = session_of(card)
    for photo in photos(len(resize)):
        (found,) = session.run(None, {"x": photo})
        np.testing.assert_array_equal(found, in_python(photo, card), str(photo.shape))


@pytest.mark.parametrize("numbers", NUMBERS)
def test_every_number(numbers):
    for resize in ("crop", "pad of another aspect"):
        card = card_of(**{**RESIZES[resize], **NUMBERS[numbers]})
        session = session_of(card)
        for photo in photos(3, SIZES[4:7]):
            (found,) = session.run(None, {"x": photo})
            expected = in_python(photo, card)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("interpolation", ["nearest", "bicubic"])
def test_photos_that_are_cut_before_they_are_resized(interpolation):
    """Scaled to cover the input they would have more pixels than Python makes of them."""
    card = card_of(size=[128, 128], interpolation=interpolation)
    session = session_of(card)
    for photo in photos(5, [(1, 4200), (4300, 1)]):
        (found,) = session.run(None, {"x": photo})
        off = np.abs(found - in_python(photo, card))
        assert off.max() <= 1


@pytest.mark.parametrize("seed", range(6))
def test_sizes_by_chance(seed):
    random = np.random.default_rng(seed)
    facts = {"size": random.integers(1, 40, 2).tolist()}
    facts["resize"] = str(random.choice(["crop", "stretch", "pad"]))
    facts["crop_fraction"] = float(random.uniform(0.3, 1))
    facts["interpolation"] = str(random.choice(["nearest", "bilinear", "bicubic", "lanczos"]))
    card = card_of(**facts)
    session = session_of(card)
    for photo in photos(seed, random.integers(1, 80, (25, 2)).tolist()):
        (found,) = session.run(None, {"x": photo})
        np.testing.assert_array_equal(found, in_python(photo, card), f"{facts} {photo.shape}")


@pytest.mark.parametrize(
    "shape", [(4, 3, 12, 12), (1, 1, 12, 12), (1, 3, 10, 12), (1, 3, 2, 12, 12), (1, 12, 12, 3)]
)
def test_what_one_photo_does_not_fill(shape):
    card = card_of()
    into = ModelInput("x", shape, "float32", with_channels(len(shape), 1), card)
    with pytest.raises(onnxplain.InvalidInputError, match=r"one photo, \[1, 3, 12, 12\]"):
        framing_of(into, of_photo=True)
