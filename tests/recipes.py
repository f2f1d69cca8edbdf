"""The recipes of docs/recipes.md, run with random weights: `python tests/recipes.py [NAME ...]`.

Needs what the recipes name: `pip install torch timm transformers ultralytics keras scikit-learn
skl2onnx fastapi httpx python-multipart`. Weights that would be downloaded are drawn at random, and
photos are the demo's: what is tried is that each block runs, and that the file it makes is
explained. Prints a line for each recipe; exit status 1 if one fails.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from onnxplain.models.shipped import demo_photos

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"
# What stands in a recipe, and what it takes to run it without a download.
INSTEAD = [
    ("pretrained=True", "pretrained=False"),
    ('YOLO("yolo11n.pt").export(format="onnx")', 'YOLO("yolo11n.yaml").export(format="onnx")'),
    (
        "keras.applications.MobileNetV2()",
        "keras.applications.MobileNetV2(weights=None)\n"
        "model(__import__('numpy').zeros((1, 224, 224, 3), 'float32'))",
    ),
    (
        "AutoModelForImageClassification.from_pretrained(name)",
        "AutoModelForImageClassification.from_config(__import__('transformers').ViTConfig("
        "num_hidden_layers=3, num_labels=10))",
    ),
    (
        "AutoImageProcessor.from_pretrained(name)",
        "__import__('transformers').ViTImageProcessor()",
    ),
    ("cat.jpg", str(demo_photos()[0])),
    ("street.jpg", str(demo_photos()[0])),
]
# What a recipe takes as given.
GIVEN = {
    "PyTorch": "import torch\nmodel = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 4), "
    "torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 5))\n"
    "open('labels.txt', 'w').write('a\\nb\\nc\\nd\\ne\\n')\n",
    "Hugging Face": "import os\nos.makedirs('vit', exist_ok=True)\n",
    "scikit-learn": "import numpy as np\nX = np.random.default_rng(0).normal(size=(60, 4))\n"
    "y = (X[:, 0] + X[:, 1] > 0).astype(int)\n",
}
RUN = ("PyTorch", "timm", "Hugging Face", "Ultralytics", "Keras", "scikit-learn")


def blocks(name: str) -> list[tuple[str, str]]:
    """(language, text) of each block of a recipe."""
    text = PAGE.read_text(encoding="utf-8")
    part = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert part is not None, name
    return re.findall(r"```(python|sh)\n(.*?)```", part[1], re.DOTALL)


def changed(text: str) -> str:
    for own, other in INSTEAD:
        text = text.replace(own, other)
    return text


def ran(name: str, folder: Path) -> str | None:
    """What went wrong with a recipe, or None."""
    python = "\n".join(text for language, text in blocks(name) if language == "python")
    shell = [text for language, text in blocks(name) if language == "sh"]
    command = f"{sys.executable} -c 'from onnxplain.cli import main; main()'"
    scripts = [[sys.executable, "-c", GIVEN.get(name, "") + changed(python)]]
    scripts += [["bash", "-ec", changed(s).replace("onnxplain ", f"{command} ")] for s in shell]
    for script in scripts:
        done = subprocess.run(script, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            return (done.stderr.strip() or done.stdout).splitlines()[-1]
    return None


def main() -> int:
    failed = 0
    for name in sys.argv[1:] or RUN:
        with tempfile.TemporaryDirectory() as folder:
            problem = ran(name, Path(folder))
            pictures = len([*Path(folder).rglob("*.png")])
        print(f"{name}: {problem or f'runs, {pictures} pictures'}", flush=True)
        failed += problem is not None
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
