"""Which images are meant by files, folders and patterns."""

import os

import pytest
from support.digits import CARD, write_photo

from onnxplain import InvalidInputError
from onnxplain.engine.inputs.image import fixed_baseline, image_extensions
from onnxplain.engine.jobs.sources import find_images
from onnxplain.models.card import ModelCard


@pytest.fixture
def photos(tmp_path):
    """b.PNG, a.jpg, .hidden.png, notes.txt, in/c.png, in/deeper/d.png, .git/e.png, empty/."""
    for name in ("b.PNG", "a.jpg", ".hidden.png", "in/c.png", "in/deeper/d.png", ".git/e.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_photo(path, 1)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    return tmp_path


def names(photos, *given, recursive=False):
    found = find_images([str(g) for g in given], recursive)
    return [os.path.relpath(image.path, photos).replace(os.sep, "/") for image in found]


def test_a_folder_is_its_images_sorted(photos):
    assert names(photos, photos) == ["a.jpg", "b.PNG"]
    assert names(photos, photos, recursive=True) == [
        "a.jpg",
        "b.PNG",
        "in/c.png",
        "in/deeper/d.png",
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]),
        ("*", ["a.jpg", "b.PNG"]),
        ("?.*", ["a.jpg", "b.PNG"]),
        ("[ab].jpg", ["a.jpg"]),
        ("**/*.png", ["in/c.png", "in/deeper/d.png"]),
        ("*.txt", ["notes.txt"]),
        ("*.gif", ["*.gif"]),
    ],
)
def test_patterns(photos, pattern, expected):
    assert names(photos, photos / pattern) == expected


def test_an_image_is_taken_once_and_the_order_given_stays(photos):
    (photos / "link.jpg").symlink_to(photos / "a.jpg")
    given = (photos / "b.PNG", photos / "in", photos, photos / "missing.png")
    assert names(photos, *given) == ["b.PNG", "in/c.png", "a.jpg", "missing.png"]


@pytest.mark.skipif(os.name != "posix", reason="no such names elsewhere")
def test_what_exists_is_itself(photos):
    for name in ("a*.png", "[ab].png", "?.png"):
        write_photo(photos / name, 1)
        assert names(photos, photos / name) == [name]


def test_a_folder_without_images_is_named(photos):
    (image,) = find_images([str(photos / "empty")])
    assert image.path == str(photos / "empty") and image.problem is not None
    assert "no image files" in image.problem and str(photos / "empty") in image.problem


def test_own_pictures_are_no_sources(photos):
    own = ("a.grad-cam.7.png", "a.deeplift.1-2-3.png", "a.integrated-gradients.7.0123ab.png")
    for name in (*own, "panel.png"):
        write_photo(photos / name, 1)
    assert own[0] in names(photos, photos)
    (photos / "results.jsonl").touch()
    assert names(photos, photos) == ["a.jpg", "b.PNG"] == names(photos, photos / "*")


def test_what_pillow_reads_is_an_image():
    ends = image_extensions()
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".ppm"} <= ends
    assert not {".pdf", ".h5", ".eps", ".json", ".npz", ""} & ends


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("name", ["pipe.png", "pipe.npy"])
def test_pipes_are_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert os.path.basename(find_images([str(tmp_path)])[0].path) == tmp_path.name
    with pytest.raises(InvalidInputError, match="regular file"):
        fixed_baseline(str(tmp_path / name), ModelCard(**CARD))
