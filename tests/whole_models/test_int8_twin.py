"""The demo model beside its int8 twin, made by ONNX Runtime's own quantiser: what changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from onnxruntime.quantization import CalibrationDataReader, quantize_static

import onnxplain
from onnxplain.engine.inputs.image import image_to_tensor, read_image
from onnxplain.models.card import read_card
from onnxplain.models.shipped import demo_model, demo_photos


class Photos(CalibrationDataReader):
    """The demo's photos, one after the other."""

    def __init__(self) -> None:
        card = read_card(demo_model().with_suffix(".json"))
        self._left = [image_to_tensor(read_image(path), card)[0] for path in demo_photos()]

    def get_next(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        return {"input": self._left.pop()} if self._left else None


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("twin") / "int8.onnx"
    quantize_static(demo_model(), path, Photos(), per_channel=True)
    shutil.copyfile(demo_model().with_suffix(".json"), path.with_suffix(".json"))
    labels = demo_model().with_name("imagenet_labels.txt")
    shutil.copyfile(labels, path.with_name(labels.name))
    return path


def test_what_quantising_moved(twin: Path, tmp_path: Path) -> None:
    found = onnxplain.compare(
        demo_model(), demo_photos(), ["grad-cam", "deeplift"], against=twin, provider="cpu"
    )
    mean = {row["method"]: row["spearman"]["mean"] for row in found.summary()}
    # Regions stay, pixels do not: 8-bit weights in the first layers are another function.
    assert mean["grad-cam"] > 0.8 > mean["deeplift"]
    assert all(abs(s.other_score - s.score) > 0 for s in found.scores)
    (finding,) = found.findings
    print(finding)
    assert finding.startswith("int8.onnx beside efficientnet-lite0-w16.onnx")
    assert "grad-cam maps are" in finding and "deeplift maps are" in finding
    written = found.save(tmp_path)
    assert "report.html" in written and (tmp_path / "panel.png").stat().st_size > 100_000
