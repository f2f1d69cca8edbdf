"""Bad arguments through the Python API: InvalidInputError, in one line that names what came."""

import shutil

import numpy as np
import pytest
from support.digits import digit, flat_model, write_model
from support.networks import example, exported

from onnxplain import Explainer, InvalidInputError


@pytest.fixture(scope="module")
def explainer(tmp_path_factory):
    return Explainer(write_model(tmp_path_factory.mktemp("model")), "deeplift")


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((8, 8, 1), np.float32), "[8, 8, 1]"),
        (np.zeros((1, 8, 9, 1), np.float32), "[1, 8, 9, 1]"),
        (np.zeros((0, 8, 8, 1), np.float32), "[0, 8, 8, 1]"),
        (np.zeros((1, 8, 8, 1), np.int32), "int32"),
        (np.full((1, 8, 8, 1), "a"), "float32 [B, 8, 8, 1]"),
        (np.full((1, 8, 8, 1), np.nan, np.float32), "NaN"),
        (np.full((1, 8, 8, 1), np.inf, np.float32), "infinite"),
        ([[1.0], [1.0, 2.0]], "no array"),
        ({"other": np.zeros((1, 8, 8, 1), np.float32)}, "'other'"),
        ({}, "'in_0'"),
        (None, "'in_0'"),
    ],
)
def test_arrays(explainer, x, words):
    with pytest.raises(InvalidInputError) as error:
        explainer(x)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("target", [10, -2, 1.5, [], [1, 10], (1, 2), (10,), [[1]], True])
def test_array_targets(explainer, target):
    with pytest.raises(InvalidInputError) as error:
        explainer(digit(7), target)
    assert "target" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "baseline", [np.zeros((1, 7, 8, 1)), np.zeros((3, 8, 8, 1)), np.nan, "whit", [[1], [2, 3]]]
)
def test_array_baselines(explainer, baseline):
    with pytest.raises(InvalidInputError) as error:
        explainer(digit(7), baseline=baseline)
    assert "baseline" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "lime"},
        {"method": "deeplift", "rule": "epsilon"},
        {"rule": "nothing"},
        {"quadrature": "simpson"},
        {"steps": 0},
        {"steps": 2.5},
        {"output": "nothing"},
        {"input": "nothing"},
        {"score": "probability"},
        {"providers": "tpu"},
        {"threads": 0},
        {"layer": "nothing"},
    ],
)
def test_explainer_options(model, options):
    method = options.pop("method", "grad-cam" if "layer" in options else "integrated-gradients")
    with pytest.raises(InvalidInputError) as error:
        Explainer(model, method, **options)(digit(7))
    assert "\n" not in str(error.value)


def test_a_model_changed_after_it_was_read_is_read_again(tmp_path, model):
    """Caches go by content, not by path."""
    before = Explainer(model, "deeplift")(digit(7))
    shutil.copyfile(flat_model(tmp_path), model)
    assert Explainer(model, "deeplift")(digit(7)).score != before.score


@pytest.mark.parametrize("target", [(4, 200, 48), (99, 0, 0)])
def test_index_out_of_range_of_a_size_known_at_run_time(target) -> None:
    """A symbolic height says nothing before the run; the message is the same."""
    model = exported("unet", "torchscript", 17, dynamic=True)
    explainer = Explainer(model, "integrated-gradients", steps=1, providers="cpu")
    x = np.asarray(example("unet"), np.float32)
    with pytest.raises(InvalidInputError, match="out of range"):
        explainer(x, target)
