"""Images in: every kind of file, the model's tensor, the view, and baselines."""

import struct
import zlib

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxplain import InvalidInputError
from onnxplain.engine.inputs.image import baseline_image, image_to_tensor, read_image
from onnxplain.models.assumed_card import assume_card
from onnxplain.models.card import ModelCard, find_card
from onnxplain.models.shipped import demo_model, demo_photos


def card(size=(4, 6), resize="stretch", scale=1.0, mean=0.0, std=1.0, **others):
    values = {"layout": "NCHW", "channels": "RGB", **others}
    return ModelCard(size=size, resize=resize, scale=scale, mean=mean, std=std, **values)


def noise(width, height, channels=3):
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


def pixels(image):
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def png(width, height, bits, colour_type, rows, *chunks):
    """A PNG written by hand, for what Pillow itself does not write."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = [
        chunk(b"IHDR", header),
        *(chunk(*c) for c in chunks),
        chunk(b"IDAT", zlib.compress(rows)),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def test_rgb_is_read_as_it_is(tmp_path):
    array = noise(9, 5)
    for name in ("a.png", "a.bmp", "a.tiff", "a.ppm"):
        Image.fromarray(array).save(tmp_path / name)
        np.testing.assert_array_equal(pixels(read_image(tmp_path / name)), array)
    np.testing.assert_array_equal(pixels(read_image(str(tmp_path / "a.png"))), array)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:4, :4] = (255, 0, 0)
    image = Image.fromarray(upright)
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = image if stored is None else image.transpose(stored)
    turned.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "turned.png")), upright)


def test_gray_and_bilevel(tmp_path):
    array = noise(4, 3, 0)
    Image.fromarray(array).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "gray.png"))[..., 1], array)
    Image.fromarray(array > 127).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(
        pixels(read_image(tmp_path / "bits.png"))[..., 2], (array > 127) * 255
    )


def test_transparency_goes_on_white(tmp_path):
    rgba = np.array([[[200, 0, 0, 0], [200, 0, 0, 255], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    on_white = pixels(read_image(tmp_path / "rgba.png"))
    np.testing.assert_array_equal(on_white, [[[255] * 3, [200, 0, 0], [204] * 3]])
    Image.fromarray(np.ascontiguousarray(rgba[..., [1, 3]])).save(tmp_path / "la.png")
    expected = [[[255] * 3, [0] * 3, [204] * 3]]
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "la.png")), expected)


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "plain.png")
    expected = [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "plain.png")), expected)
    image.save(tmp_path / "bytes.png", transparency=bytes([255, 0, 51]))
    expected = [[[255, 0, 0], [255, 255, 255], [204, 204, 255]]]
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "bytes.png")), expected)
    image.save(tmp_path / "index.gif", transparency=1)
    expected = [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "index.gif")), expected)


def test_one_transparent_colour_of_an_rgb_png(tmp_path):
    rows = b"\0" + bytes([10, 20, 30, 40, 50, 60])
    content = png(2, 1, 8, 2, rows, (b"tRNS", struct.pack(">HHH", 10, 20, 30)))
    (tmp_path / "key.png").write_bytes(content)
    expected = [[[255, 255, 255], [40, 50, 60]]]
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "key.png")), expected)


def test_cmyk(tmp_path):
    array = np.zeros((16, 16, 4), np.uint8)
    array[..., 1] = array[..., 2] = 255
    Image.merge("CMYK", [Image.fromarray(array[..., k].copy()) for k in range(4)]).save(
        tmp_path / "red.jpg", quality=100
    )
    np.testing.assert_allclose(pixels(read_image(tmp_path / "red.jpg"))[8, 8], [255, 0, 0], atol=3)


@pytest.mark.parametrize("kind", ["png", "tiff", "pgm"])
def test_sixteen_bit_gray(tmp_path, kind):
    array = np.array([[0, 128, 257, 30000, 65535]], np.uint16)
    path = tmp_path / f"deep.{kind}"
    if kind == "pgm":
        path.write_bytes(b"P5 5 1 65535\n" + array.astype(">u2").tobytes())
    else:
        Image.fromarray(array).save(path)
    expected = np.rint(array / 257.0)
    np.testing.assert_array_equal(pixels(read_image(path))[..., 0], expected)


def test_dark_sixteen_bit_gray_stays_dark(tmp_path):
    array = np.full((1, 4), 200, np.uint16)
    Image.fromarray(array).save(tmp_path / "dark.png")
    assert pixels(read_image(tmp_path / "dark.png")).max() == 1


def test_sixteen_bit_rgb(tmp_path):
    values = [0x0102, 0x7FFF, 0xFFFF, 0xFFFF, 0, 0x8000]
    (tmp_path / "deep.png").write_bytes(png(2, 1, 16, 2, b"\0" + struct.pack(">6H", *values)))
    expected = np.array(values).reshape(1, 2, 3) / 257
    np.testing.assert_allclose(pixels(read_image(tmp_path / "deep.png")), expected, atol=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 7, 255]], np.int32), [0, 7, 255]),
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),
        (np.array([[-50, 0, 205]], np.int32), [0, 50, 255]),
        (np.array([[0, 0, 1_000_000]], np.int32), [0, 0, 255]),
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 0.0, 255.0]], np.float32), [0, 0, 255]),
        (np.array([[-1.0, 0.0, 4.0]], np.float32), [0, 51, 255]),
    ],
)
def test_32_bit_and_float_gray(tmp_path, values, expected):
    Image.fromarray(values).save(tmp_path / "deep.tiff")
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "deep.tiff"))[0, :, 0], expected)


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.png", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        assert tuple(pixels(read_image(tmp_path / name))[0, 0]) == (255, 0, 0)


def error_of(path):
    with pytest.raises(InvalidInputError) as error:
        read_image(path)
    text = str(error.value)
    assert "\n" not in text and str(path) in text
    return text


def test_unreadable_files(tmp_path):
    assert "no such file" in error_of(tmp_path / "missing.png")
    assert "directory" in error_of(tmp_path)
    (tmp_path / "empty.png").touch()
    assert "empty" in error_of(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("this is no image\n" * 20)
    assert "something else" in error_of(tmp_path / "text.png")
    (tmp_path / "none.png").write_bytes(png(0, 3, 8, 2, b""))
    error_of(tmp_path / "none.png")
    Image.fromarray(np.array([[np.nan, 1.0]], np.float32)).save(tmp_path / "nan.tiff")
    assert "finite" in error_of(tmp_path / "nan.tiff")


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.7, 0.95])
def test_truncated_files(tmp_path, kind, fraction):
    path = tmp_path / f"whole.{kind}"
    Image.fromarray(noise(64, 64)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    error_of(path)


def test_damaged_png(tmp_path):
    path = tmp_path / "damaged.png"
    Image.fromarray(noise(64, 64)).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    error_of(path)


def test_decompression_bomb(tmp_path):
    limit = Image.MAX_IMAGE_PIXELS
    assert limit is not None
    for name, factor in (("warned.png", 1.2), ("refused.png", 2.5)):
        side = int((limit * factor) ** 0.5)
        (tmp_path / name).write_bytes(png(side, side, 8, 2, b"\0"))
        assert str(limit) in error_of(tmp_path / name)


def test_demo_photo_as_the_reference_pipeline_has_it():
    image = read_image(demo_photos()[0])
    demo = find_card(onnx.ModelProto(), demo_model())
    assert demo is not None
    tensor, view = image_to_tensor(image, demo)
    # Resize the shorter side to 256, then cut the centre.
    width, height = image.size
    resized = image.resize((int(256 * width / height), 256), Image.Resampling.BICUBIC)
    left, top = (resized.width - 224) // 2, (256 - 224) // 2
    cut = np.asarray(resized.crop((left, top, left + 224, top + 224)), np.float32)
    np.testing.assert_allclose(tensor[0], (cut.transpose(2, 0, 1) - 127) / 128, atol=1e-6)
    assert tensor.shape == (1, 3, 224, 224) and tensor.dtype == np.float32
    assert view.size == (350, 350)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(53, 37), (37, 53), (19, 200), (5, 3)])
def test_crop_is_resize_then_cut(interpolation, size):
    image = Image.fromarray(noise(*size))
    crop = card(size=(16, 16), resize="crop", crop_fraction=0.8, interpolation=interpolation)
    tensor, view = image_to_tensor(image, crop)
    short = min(size)
    resized = image.resize(
        (int(20 * size[0] / short), int(20 * size[1] / short)),
        getattr(Image.Resampling, interpolation.upper()),
    )
    left, top = round((resized.width - 16) / 2), round((resized.height - 16) / 2)
    cut = np.asarray(resized.crop((left, top, left + 16, top + 16)))
    np.testing.assert_array_equal(tensor[0].transpose(1, 2, 0), cut)
    assert abs(view.width - 0.8 * short) <= 2 and abs(view.height - 0.8 * short) <= 2


def test_crop_of_a_very_long_photo_is_the_same_without_resizing_all_of_it():
    column = np.repeat(noise(1, 1_000_001), 2, axis=1)
    crop = card(size=(64, 64), resize="crop")
    tensor, _ = image_to_tensor(Image.fromarray(column), crop)
    middle = Image.fromarray(column[499_001:501_000])
    expected, _ = image_to_tensor(middle, crop)
    assert np.abs(tensor - expected).max() <= 2


def test_crop_to_an_oblong_covers_it():
    image = Image.fromarray(noise(100, 100))
    tensor, view = image_to_tensor(image, card(size=(20, 50), resize="crop"))
    assert tensor.shape == (1, 3, 20, 50)
    assert view.size == (100, 40)
    np.testing.assert_array_equal(np.asarray(view), np.asarray(image)[30:70])


@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 5000), (5000, 1)])
def test_tiny_and_extreme_images(resize, size):
    tensor, view = image_to_tensor(Image.new("RGB", size, "red"), card(resize=resize))
    assert tensor.shape == (1, 3, 4, 6) and np.isfinite(tensor).all()
    assert min(view.size) >= 1 and view.width * view.height < 3e7


def test_stretch_sees_the_whole_photo():
    image = Image.fromarray(noise(30, 10))
    tensor, view = image_to_tensor(image, card())
    assert view.size == (30, 10)
    expected = np.asarray(image.resize((6, 4), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(tensor[0].transpose(1, 2, 0), expected)


def test_pad_letterboxes_on_black():
    image = Image.new("RGB", (60, 10), "white")
    tensor, view = image_to_tensor(image, card(size=(12, 12), resize="pad"))
    np.testing.assert_array_equal(tensor[0, 0].any(axis=1), [False] * 5 + [True] * 2 + [False] * 5)
    assert view.size == (60, 60)
    rows = np.asarray(view)[:, 30, 0]
    assert rows[25:35].min() == 255 and rows[:25].max() == rows[35:].max() == 0


def test_channels_layout_and_normalisation():
    image = Image.new("RGB", (8, 8), (10, 20, 30))
    changes = {"scale": 0.5, "mean": (1.0, 2.0, 3.0), "std": (1.0, 2.0, 4.0)}
    nchw, _ = image_to_tensor(image, card(**changes))
    np.testing.assert_allclose(nchw[0, :, 0, 0], [4.0, 4.0, 3.0])
    bgr, _ = image_to_tensor(image, card(**changes, channels="BGR", layout="NHWC"))
    assert bgr.shape == (1, 4, 6, 3)
    np.testing.assert_allclose(bgr[0, 0, 0], [14.0, 4.0, 0.5])
    gray, _ = image_to_tensor(image, card(channels="GRAY"))
    assert gray.shape == (1, 1, 4, 6)
    np.testing.assert_allclose(gray, 0.299 * 10 + 0.587 * 20 + 0.114 * 30, atol=1)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        *((kind, [-0.4, 99.6, 254.6]) for kind in ("float16", "float32", "float64")),
        *((kind, [0, 100, 255]) for kind in ("uint8", "int64")),
        ("int8", [0, 100, 127]),
    ],
)
def test_element_type(dtype, expected):
    image = Image.new("RGB", (8, 8), (0, 100, 255))
    tensor, _ = image_to_tensor(image, card(dtype=dtype, mean=0.4))
    assert tensor.dtype == np.dtype(dtype) and tensor.flags.c_contiguous
    np.testing.assert_allclose(tensor[0, :, 0, 0], expected, rtol=1e-3)


def test_images_opened_by_the_caller_are_converted():
    gray, _ = image_to_tensor(Image.new("L", (8, 8), 9), card())
    assert gray.shape == (1, 3, 4, 6) and (gray == 9).all()
    clear, _ = image_to_tensor(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), card())
    assert (clear == 255).all()
    with pytest.raises(InvalidInputError):
        image_to_tensor(Image.new("RGB", (0, 3)), card())


def test_baselines():
    image = Image.fromarray(noise(80, 60))
    normal, choices = assume_card([1, 3, 40, 50], "float32"), ("black", "white", "mean", "blur")
    tensor, _ = image_to_tensor(image, normal)
    black, white, mean, blur = (baseline_image(choice, image, normal) for choice in choices)
    assert black.shape == white.shape == mean.shape == (1, 3, 1, 1) and blur.shape == tensor.shape
    assert {black.dtype, white.dtype, mean.dtype, blur.dtype} == {np.dtype(np.float32)}
    np.testing.assert_allclose(mean, tensor.mean(axis=(2, 3), keepdims=True), rtol=1e-4, atol=1e-5)
    assert (black < tensor.min(axis=(2, 3), keepdims=True) + 1e-6).all()
    assert blur.std(axis=(2, 3)).max() < 0.25 * tensor.std(axis=(2, 3)).min()
    last = baseline_image("mean", image, assume_card([1, 40, 50, 3], "float32"))
    assert last.shape == (1, 1, 1, 3)


def test_blur_has_the_sigma_it_says():
    point = Image.new("RGB", (100, 100))
    point.paste("white", (45, 45, 55, 55))
    blur = baseline_image("blur", point, card(size=(100, 100)))[0, 0]
    profile = blur.sum(axis=0)
    offsets = np.arange(100) - 49.5
    sigma = np.sqrt((profile * offsets**2).sum() / profile.sum() - 100 / 12)
    assert 8 < sigma < 12


def test_baseline_files(tmp_path):
    image = Image.fromarray(noise(80, 60))
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "base.png")
    from_image = baseline_image(str(tmp_path / "base.png"), image, card())
    np.testing.assert_array_equal(from_image[0, :, 1, 1], [1, 2, 3])
    np.save(tmp_path / "base.npy", np.arange(3, dtype=np.float64).reshape(3, 1, 1))
    array = baseline_image(str(tmp_path / "base.npy"), image, card())
    assert array.dtype == np.float32 and array.shape == (3, 1, 1)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 3, 5, 6)),
        np.zeros((2, 3, 4, 6)),
        np.zeros((1, 1, 3, 4, 6)),
        np.array(["a"]),
        np.array(np.nan),
        np.array(1j),
    ],
)
def test_bad_baseline_arrays(tmp_path, array):
    np.save(tmp_path / "base.npy", array)
    with pytest.raises(InvalidInputError) as error:
        baseline_image(str(tmp_path / "base.npy"), Image.new("RGB", (9, 9)), card())
    assert "[1, 3, 4, 6]" in str(error.value) and "\n" not in str(error.value)


def test_unreadable_baselines(tmp_path):
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "pickled.npy", np.array([object()]), allow_pickle=True)
    (tmp_path / "text.png").write_text("no image")
    for choice in ("blak", "missing.npy", *(str(path) for path in tmp_path.iterdir())):
        with pytest.raises(InvalidInputError) as error:
            baseline_image(choice, Image.new("RGB", (9, 9)), card())
        assert choice in str(error.value) and "\n" not in str(error.value)
