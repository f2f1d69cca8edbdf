"""Life in Python: targets by name, pictures and files, image files, arrays of others."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.digits import LABELS, digit, flat_model, write_model, write_photo
from support.small import FLOAT, node, small, value

import onnxplain
from onnxplain import InvalidInputError

X = np.concatenate([digit(3), digit(7)])


@pytest.fixture
def explainer(model: Path) -> onnxplain.Explainer:
    return onnxplain.Explainer(model, "deeplift", threads=1)


def order(e: onnxplain.Explanation, row: int) -> np.ndarray:
    return np.argsort(-e.outputs["add_out_2"][row])


# Targets


def test_a_label_is_its_class(explainer: onnxplain.Explainer) -> None:
    assert explainer(X, "seven") == explainer(X, 7)
    assert explainer(X, ["seven", "three"]) == explainer(X, [7, 3])
    assert explainer(X[:1], ["seven", 3, "top1"]).target.tolist() == [7, 3, 3]


@pytest.mark.parametrize("place", [1, 2, 10])
def test_ranks_are_each_rows_own(explainer: onnxplain.Explainer, place: int) -> None:
    plain = explainer(X)
    expected = [order(plain, row)[place - 1] for row in range(2)]
    assert explainer(X, f"rank{place}").target.tolist() == expected
    assert explainer(X, ["top1", f"rank{place}"]).target.tolist() == [3, expected[1]]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("sevven", "did you mean 'seven'"),
        ("rank0", "rank0"),
        ("rank11", "the model has 10 classes"),
        (["seven", "sevven"], "did you mean"),
        (["rank2", "rank2", "rank2"], "3 entries for 2 inputs"),
        ("10", "out of range"),
    ],
)
def test_wrong_names(explainer: onnxplain.Explainer, target, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        explainer(X, target)


def test_labels_that_nobody_knows(tmp_path: Path) -> None:
    e = onnxplain.Explainer(write_model(tmp_path, card=None), "saliency")
    with pytest.raises(InvalidInputError, match="no labels are known"):
        e(X, "seven")


# Pictures


@pytest.mark.parametrize("method", ["grad-cam", "deeplift", "saliency"])
def test_a_picture_is_the_command_lines(tmp_path: Path, model: Path, command, method: str) -> None:
    photo = write_photo(tmp_path / "7.png", 7)
    status, *_ = command("explain", model, photo, "-m", method, "-o", tmp_path / "out")
    assert status == 0
    with Image.open(tmp_path / "out" / f"7.{method}.7.png") as drawn:
        expected = np.asarray(drawn.convert("RGB"))
    explainer = onnxplain.Explainer(model, method)
    (e,) = explainer.images(photo)
    e.save(tmp_path / "own.png")
    with Image.open(tmp_path / "own.png") as own:
        found = np.asarray(own.convert("RGB"))
    # But for what hiding the evidence does, which the command line tries: below the colour bar.
    above = len(found) - 40
    np.testing.assert_array_equal(found[:above], expected[:above])
    same = explainer(e.origin.inputs["in_0"]).picture(photo)
    np.testing.assert_array_equal(np.asarray(same), np.asarray(e.picture()))


def test_without_a_photo_the_input_is_drawn(explainer: onnxplain.Explainer) -> None:
    e = explainer(X)
    first, second = (np.asarray(e.picture(row=row)) for row in (0, 1))
    assert first.shape == second.shape and (first != second).any()
    shown = Image.open(io.BytesIO(e._repr_png_() or b""))
    assert np.abs(np.asarray(shown.convert("RGB"), int) - first).max() <= 2
    with pytest.raises(InvalidInputError, match="row 2"):
        e.picture(row=2)


def test_a_blob_view_has_no_negative_evidence(explainer: onnxplain.Explainer) -> None:
    e = explainer(X[1:])
    blob, signed = np.asarray(e.picture(smooth=1.0)), np.asarray(e.picture())
    assert blob.shape[1] == signed.shape[1] and not np.array_equal(blob, signed)


def test_what_is_no_photo(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    w = np.ones((5, 2), np.float32)
    model = small(nodes, [value("x", ["N", 5], FLOAT)], [value("y", ["N", 2])], {"w": w})
    e = onnxplain.Explainer(model, "saliency")(np.ones((1, 5), np.float32))
    shown = e._repr_png_()
    assert shown is not None and shown.startswith(b"\x89PNG")
    assert e.picture().width > 500
    e.save(tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as arrays:
        np.testing.assert_array_equal(arrays["attribution"], e.attribution)
        np.testing.assert_array_equal(arrays["input"], np.ones((1, 5)))
    with pytest.raises(InvalidInputError, match=r"\.png or \.npz"):
        e.save(tmp_path / "e.jpg")


def test_origins_travel_and_do_not_count(explainer: onnxplain.Explainer) -> None:
    e = explainer(X)
    again = pickle.loads(pickle.dumps(e))
    assert again == e and "origin" not in repr(e)
    np.testing.assert_array_equal(np.asarray(again.picture()), np.asarray(e.picture()))


# Image files


def test_images_of_files_and_folders(tmp_path: Path, explainer: onnxplain.Explainer) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in (3, 7):
        write_photo(folder / f"{number}.png", number)
    (folder / "notes.txt").write_text("no image")
    told: list[tuple[int, int]] = []
    found = list(explainer.images(folder, progress=lambda done, of: told.append((done, of))))
    assert [e.target.tolist() for e in found] == [[3], [7]] and told == [(1, 2), (2, 2)]
    assert [Path(e.image or "").name for e in found] == ["3.png", "7.png"]
    assert found[0].attribution.shape == (1, 8, 8, 1)
    several = list(explainer.images([folder / "7.png", str(folder)], "rank2", baseline="white"))
    assert len(several) == 3 and several[0] == several[2]


def test_a_bad_image_is_named_or_raised(tmp_path: Path, explainer: onnxplain.Explainer) -> None:
    bad, good = tmp_path / "bad.png", write_photo(tmp_path / "7.png", 7)
    bad.write_bytes(b"nothing")
    failed: list[str] = []
    found = list(explainer.images([bad, good], on_error=lambda path, error: failed.append(path)))
    assert len(found) == 1 and failed == [str(bad)]
    with pytest.raises(InvalidInputError, match=r"bad\.png"):
        list(explainer.images([bad, good]))


def test_images_need_a_card(tmp_path: Path) -> None:
    path = flat_model(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(InvalidInputError, match="give card="):
        list(onnxplain.Explainer(path, "saliency").images(write_photo(tmp_path / "7.png", 7)))


# Arrays of other libraries


class OnlyDlpack:
    """An array that knows no numpy."""

    def __init__(self, values: np.ndarray):
        self._values = values

    def __dlpack__(self, **how):
        return self._values.__dlpack__(**how)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


@pytest.mark.parametrize("wanted", [False, True])
def test_tensors_of_pytorch(explainer: onnxplain.Explainer, wanted: bool) -> None:
    tensor = torch.tensor(X, requires_grad=wanted)
    assert explainer(tensor, baseline=torch.zeros(1, 8, 8, 1)) == explainer(X, baseline=0)


def test_anything_with_dlpack(explainer: onnxplain.Explainer) -> None:
    assert explainer(OnlyDlpack(X.copy())) == explainer(X)


@pytest.mark.parametrize(
    "what", ["text", object(), [[1, 2], [3]], torch.ones(1, 8, 8, 1).bfloat16()]
)
def test_what_is_no_array_is_one_line(explainer: onnxplain.Explainer, what) -> None:
    with pytest.raises(InvalidInputError, match="input 'in_0'"):
        explainer(what)


def test_labels_are_the_cards(explainer: onnxplain.Explainer) -> None:
    assert tuple(explainer.card.labels) == LABELS
