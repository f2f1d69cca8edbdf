"""One's own model: cards from pieces, labels and photos of any kind, methods by any name."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from support.digits import write_model, write_photo

import onnxplain
from onnxplain import InvalidInputError, ModelCard
from onnxplain.models.card import read_card
from onnxplain.models.labels import labels_of, read_labels
from onnxplain.models.own_card import PRESETS, parse_numbers, parse_size
from onnxplain.models.shipped import demo_model, demo_photos

NAMES = [f"digit {k}" for k in range(10)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("own")
    write_model(made)
    write_photo(made / "7.png", 7)
    return made


@pytest.fixture(scope="module")
def model(folder):
    return next(folder.glob("*.onnx"))


@pytest.fixture(scope="module")
def card(model):
    return json.loads(model.with_suffix(".json").read_text())


# Photos


def kinds_of_photo():
    path = demo_photos()[0]
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return {
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "file": io.BytesIO(path.read_bytes()),
        "image": Image.fromarray(pixels),
        "array": pixels,
    }


@pytest.fixture(scope="module")
def demo():
    return onnxplain.Explainer(demo_model(), "gradcam")


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "file", "image", "array"])
def test_a_photo_of_any_kind_is_the_same(demo, kind):
    (expected,) = demo.images(demo_photos()[0])
    e = demo.explain(kinds_of_photo()[kind])
    assert e == expected and e.label == "espresso" and e.probability > 0.9
    assert e.picture().tobytes() == expected.picture().tobytes()
    assert e.image == (None if kind not in ("path", "text") else str(demo_photos()[0]))


@pytest.mark.parametrize("photo", [3, None, ["a.png"], io.StringIO("x"), np.zeros((3, 4))])
def test_what_is_no_photo(demo, photo):
    with pytest.raises(InvalidInputError):
        demo.explain(photo)


def test_a_photo_on_its_side_is_turned_whatever_it_is_given_as(demo, tmp_path):
    with Image.open(demo_photos()[0]) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.convert("RGB").save(tmp_path / "side.png", exif=exif)
    with Image.open(tmp_path / "side.png") as image:
        np.testing.assert_array_equal(
            demo.preprocess(image), demo.preprocess(tmp_path / "side.png")
        )


def test_ones_own_preprocessing(model, card, folder):
    explainer = onnxplain.Explainer(model, "saliency")
    x = explainer.preprocess(folder / "7.png")
    for made in (lambda image: x, lambda image: x[0]):
        own = onnxplain.Explainer(model, "saliency", preprocess=made)
        e = own.explain(folder / "7.png")
        assert e == explainer.explain(folder / "7.png")
        assert e.picture().size == e.picture(folder / "7.png").size
    wrong = onnxplain.Explainer(model, "saliency", preprocess=lambda image: np.zeros((2, 2)))
    with pytest.raises(InvalidInputError):
        wrong.explain(folder / "7.png")


# Cards and labels


def test_a_card_is_a_dictionary_a_file_or_a_card(model, card, folder):
    expected = onnxplain.Explainer(model, "deeplift").explain(folder / "7.png")
    for given in (card, model.with_suffix(".json"), read_card(model.with_suffix(".json"))):
        assert onnxplain.Explainer(model, "deeplift", card=given).explain(folder / "7.png") == (
            expected
        )
    assert onnxplain.ModelCard is ModelCard


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sise": [8, 8]}, "did you mean 'size'"),
        ({"preset": "imagnet"}, "expected one of imagenet"),
        ({"labels": 3}, "labels: expected a list"),
        ({"layout": "CHW"}, "layout"),
    ],
)
def test_a_wrong_dictionary(model, card, change, said):
    with pytest.raises(InvalidInputError, match=said):
        onnxplain.Explainer(model, card={**card, **change})
    with pytest.raises(InvalidInputError, match="expected a ModelCard, a dictionary"):
        onnxplain.Explainer(model, card=3)


@pytest.mark.parametrize(
    "given",
    [
        NAMES,
        tuple(NAMES),
        dict(enumerate(NAMES)),
        {str(k): name for k, name in enumerate(NAMES)},
        {name: k for k, name in enumerate(NAMES)},
        {"id2label": {str(k): name for k, name in enumerate(NAMES)}, "model_type": "x"},
        {"names": NAMES},
    ],
)
def test_labels_of_any_kind(given, tmp_path, model, folder):
    assert labels_of(given) == tuple(NAMES)
    (tmp_path / "labels.json").write_text(json.dumps(given))
    assert read_labels(tmp_path / "labels.json") == tuple(NAMES)
    e = onnxplain.Explainer(model, "saliency", labels=given).explain(folder / "7.png", "digit 7")
    assert e.label == "digit 7"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({0: "a", 2: "c"}, "got none for 1"),
        ({"a": "b"}, "expected a class's index, got 'a'"),
        ([], "expected a list"),
        ([1, 2], "expected a list"),
        (b"abc", "expected a list"),
        ({}, "got none for 0"),
    ],
)
def test_no_labels(given, said):
    with pytest.raises(InvalidInputError, match=said):
        labels_of(given)


def test_labels_that_are_too_many(model):
    with pytest.raises(InvalidInputError, match="got 11 labels"):
        onnxplain.Explainer(model, labels=[*NAMES, "more"])


# The command line


def test_facts_in_place_of_a_card(command, tmp_path, model, card, folder):
    """A model without a card beside it, and all of the card said on the command line."""
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(model.read_bytes())

    def text(key):
        value = card[key]
        return ",".join(map(str, value)) if isinstance(value, list) else str(value)

    size = "x".join(map(str, card["size"]))
    facts = [f"--{key}={text(key)}" for key in ("scale", "mean", "std")]
    facts += [f"--size={size}", *(f"--{key}={card[key]}" for key in ("layout", "channels"))]
    facts += [f"--resize={card['resize']}"]
    (tmp_path / "l.json").write_text(json.dumps(NAMES))
    one = command("explain", model, folder / "7.png", "-m", "deeplift", "-o", tmp_path / "a")
    two = command(
        *("explain", bare, folder / "7.png", "-m", "deeplift", "-o", tmp_path / "b", *facts),
        *("--labels", tmp_path / "l.json"),
    )
    assert one[0] == two[0] == 0, two[2]
    assert "assumed" not in two[2] and "digit 7" in two[1]
    a, b = (np.load(next((tmp_path / k).glob("*.npz")))["attribution"] for k in "ab")
    np.testing.assert_array_equal(a, b)


def test_what_is_not_said_stays_assumed(command, tmp_path, model, folder):
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(model.read_bytes())
    told = command("explain", bare, folder / "7.png", "-m", "saliency", "-o", tmp_path / "a")
    less = command(
        *("explain", bare, folder / "7.png", "-m", "saliency", "-o", tmp_path / "b"),
        *("--preset", "unit"),
    )
    assert "pixels / 255" in told[2] and "pixels" not in less[2] and "layout" in less[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--preset", "imagnet"], "expected one of imagenet, unit"),
        (["--mean", "a"], "--mean"),
        (["--size", "8x8x8"], "--size"),
        (["--mean", "1,2"], "mean"),
        (["-m", "saliency", "--steps", "10"], "--steps is for integrated-gradients"),
        (["-m", "grad-cam", "--rule", "epsilon"], "--rule is for"),
        (["-m", "lrp:rule=epsilom"], "rule"),
        (["-m", "lrp:epsilon=x"], "expected a number"),
        (["-m", "lrp:steps=3"], "lrp: expected options of rule="),
        (["-m", "lrp:rule=gamma", "-m", "lrp:rule=epsilon"], "one choice of its options"),
        (["-m", "lrp", "-m", "lrp:rule=epsilon"], "one choice of its options"),
    ],
)
def test_wrong_options(command, tmp_path, model, folder, arguments, said):
    status, _, err = command("explain", model, folder / "7.png", "-o", tmp_path, *arguments)
    assert status == 2 and said in err and len(err.splitlines()) == 1


def test_each_methods_own_options(command, tmp_path, model, folder):
    asked = ["-m", "lrp:rule=epsilon,epsilon=0.01", "-m", "deeplift:rule=reveal-cancel"]
    status, _, err = command("explain", model, folder / "7.png", "-o", tmp_path, *asked)
    assert status == 0, err
    records = json.loads((tmp_path / "results.json").read_text())
    options = {record["method"]: record["options"] for record in records}
    assert options["lrp"]["rule"] == "epsilon" and options["lrp"]["epsilon"] == 0.01
    assert options["deeplift"]["rule"] == "reveal-cancel"
    e = onnxplain.Explainer(model, "lrp", rule="epsilon", epsilon=0.01).explain(folder / "7.png")
    saved = np.load(next(tmp_path.glob("*.lrp.*.npz")))["attribution"]
    np.testing.assert_array_equal(saved, e.attribution)


@pytest.mark.parametrize(
    ("name", "method"),
    [("gradcam", "grad-cam"), ("Grad_CAM++", "grad-cam++"), ("IG", "integrated-gradients")],
)
def test_names_that_people_use(command, model, name, method):
    assert onnxplain.Explainer(model, name).method == method
    status, out, _ = command("methods", name)
    assert status == 0 and out.startswith(method)


def test_methods_are_listed(command):
    status, out, _ = command("methods")
    assert status == 0 and all(name in out for name in onnxplain.methods())
    found = json.loads(command("methods", "--json")[1])
    assert [one["name"] for one in found] == list(onnxplain.methods())
    for name, method in onnxplain.methods().items():
        told = command("methods", name)[1]
        assert all(option.name in told for option in method.options) and method.cite in told


def test_what_there_is_to_complete():
    found = dir(onnxplain)
    assert {"Explainer", "ModelCard", "inspect", "__version__"} <= set(found)
    assert not {"Any", "TYPE_CHECKING", "shown", "import_module"} & set(found)


# Reading


@pytest.mark.parametrize(
    ("text", "size"), [("224", (224, 224)), ("480x640", (480, 640)), ("8X9", (8, 9))]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "a", "1x2x3", "-3", "3.5", "x", "²"])
def test_no_sizes(text):
    with pytest.raises(InvalidInputError, match="size"):
        parse_size(text)


def test_numbers():
    assert parse_numbers("mean", "0.5") == 0.5
    assert parse_numbers("scale", "1/255") == 1 / 255
    assert parse_numbers("mean", "1, 2,3") == (1, 2, 3)
    for text in ("", "a", "1/0", "1,,2"):
        with pytest.raises(InvalidInputError, match="mean"):
            parse_numbers("mean", text)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_what_they_say(name):
    """White and black under each."""
    ends = {
        "unit": (0, 1),
        "half": (-1, 1),
        "raw": (0, 255),
        "caffe": (-123.68, 151.061),
        "imagenet": (-2.1179, 2.64),
        "clip": (-1.7923, 2.1459),
    }[name]
    given = {"size": [8, 8], "resize": "crop", "layout": "NCHW", "channels": "RGB", "preset": name}
    card = onnxplain.models.own_card.card_from(given)
    scale, mean, std = (np.asarray(one) for one in (card.scale, card.mean, card.std))
    low, high = (0 * scale - mean) / std, (255 * scale - mean) / std
    assert (low.min(), high.max()) == pytest.approx(ends, abs=1e-3)
