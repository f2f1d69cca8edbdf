"""Twelve lines of the coverage table: every method on networks that nobody here wrote.

`python tests/architectures.py` holds the rest, which takes hours.
"""

from __future__ import annotations

import importlib.util

import pytest

MISSING = [name for name in ("timm", "transformers") if importlib.util.find_spec(name) is None]
if MISSING:
    reason = f"{' and '.join(MISSING)} not installed: pip install -e '.[architectures]'"
    pytest.skip(reason, allow_module_level=True)

from breadth import library  # noqa: E402
from breadth.checks import METHODS, check  # noqa: E402

# Name, exporter, batch, and the methods that have nothing to explain there.
LINES = [
    ("timm/vision_transformer:test_vit", "torchscript", "dynamic", set()),
    ("timm/convnext:test_convnext", "dynamo", "static", set()),
    ("timm/byobnet:test_byobnet", "torchscript", "static", set()),
    ("timm/maxxvit:test_coatnet", "torchscript", "dynamic", set()),
    ("timm/efficientnet:test_efficientnet", "torchscript", "dynamic", set()),
    ("transformers/swin", "torchscript", "dynamic", set()),
    ("transformers/resnet", "dynamo", "dynamic", set()),
    ("transformers/segformer-map", "torchscript", "static", set()),
    ("transformers/detr", "torchscript", "static", set()),
    ("transformers/bert", "torchscript", "dynamic", {"grad-cam"}),
    ("transformers/wav2vec2", "torchscript", "static", set()),
    ("transformers/vit", "dynamo", "static", set()),
]


@pytest.mark.parametrize(("name", "exporter", "batch", "refused"), LINES)
def test_every_method_is_right(name, exporter, batch, refused, tmp_path):
    record = check(library.build(name), exporter, batch, str(tmp_path / "network.onnx"))
    assert record["exported"], record["reason"]
    assert record["loads"], record["reason"]
    assert record["score"]["error"] < 1e-4
    found = {method: record[method]["status"] for method in METHODS}
    wanted = {method: "refused" if method in refused else "ok" for method in METHODS}
    assert found == wanted, {m: record[m] for m in METHODS if found[m] != wanted[m]}
