"""Sessions: cached by content, honest about where they run, and their errors in one line."""

import logging

import numpy as np
import onnx
import pytest
from support.digits import DATA, digit

from onnxplain import InvalidInputError, OnnxplainError, UnsupportedModelError
from onnxplain.engine.running import session
from onnxplain.engine.running.process import warn_once
from onnxplain.engine.running.session import CPU, CUDA, open_session, resolve_providers


@pytest.fixture(scope="module")
def model():
    return onnx.load(DATA / "jax_digits.onnx")


@pytest.fixture
def no_device(monkeypatch):
    monkeypatch.setattr(session, "_cuda_devices", lambda: 0)
    warn_once.cache_clear()


def test_runs_and_names(model):
    opened = open_session(model, "cpu")
    assert (opened.inputs, opened.outputs, opened.provider) == (["in_0"], ["add_out_2"], CPU)
    results = opened.run({"in_0": digit(7), "unknown": digit(1)})
    assert results["add_out_2"].shape == (1, 10) and results["add_out_2"].argmax() == 7


def test_cached_by_content_providers_and_threads(model):
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    first = open_session(model, "cpu")
    assert open_session(copy, "cpu") is first
    assert open_session(model, [CPU]) is first
    assert open_session(model, "cpu", threads=1) is not first
    copy.graph.name = "another"
    assert open_session(copy, "cpu") is not first


def test_the_cache_is_bounded(model):
    for number in range(12):
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        copy.graph.name = f"copy {number}"
        open_session(copy, "cpu")
    assert len(session._cache) <= session._MOST_CACHED


def test_errors_are_one_line(model):
    broken = onnx.ModelProto.FromString(model.SerializeToString())
    broken.graph.node[0].op_type = "Unheard"
    with pytest.raises(UnsupportedModelError) as error:
        open_session(broken, "cpu")
    assert "Unheard" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(OnnxplainError) as error:
        open_session(model, "cpu").run({"in_0": np.zeros((1, 7, 7, 1), np.float32)})
    assert "\n" not in str(error.value)


def test_providers_without_cuda(no_device, caplog):
    caplog.set_level(logging.WARNING, "onnxplain")
    for automatic in (None, "auto", "cpu", [CPU]):
        assert resolve_providers(automatic) == [CPU]
    assert not caplog.records
    assert resolve_providers("cuda") == [CPU]
    assert resolve_providers([CUDA]) == [CPU]
    (record,) = caplog.records
    assert "CUDA was asked for" in record.getMessage() and "\n" not in record.getMessage()


@pytest.mark.parametrize("providers", ["tpu", ["NoSuchProvider"], "CUDAExecution"])
def test_unknown_providers(providers):
    with pytest.raises(InvalidInputError, match="expected auto, cpu, cuda"):
        resolve_providers(providers)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "two"])
def test_threads(model, threads):
    with pytest.raises(InvalidInputError, match="threads"):
        open_session(model, "cpu", threads)
