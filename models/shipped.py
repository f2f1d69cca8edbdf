"""The model and the photos that ship with the package, so that a first try needs no download."""

import json
from pathlib import Path
from typing import Any

_DEMO = Path(__file__).resolve().parent / "demo"


def demo_model() -> Path:
    """Return the path of EfficientNet-Lite0 (ImageNet, 1000 classes); its card lies beside it."""
    return _DEMO / "efficientnet-lite0-w16.onnx"


def demo_numbers() -> dict[str, Any]:
    """What explanations of the first photo come to: target, score, steps, and sizes by method.

    A size is the sum of a map's magnitudes, float64.
    """
    return json.loads((_DEMO / "numbers.json").read_text(encoding="utf-8"))


def demo_photos() -> list[Path]:
    """Return the paths of two photos: a cup of espresso (600 x 400), a cat's face (451 x 300)."""
    return [_DEMO / "coffee.png", _DEMO / "chelsea.png"]
