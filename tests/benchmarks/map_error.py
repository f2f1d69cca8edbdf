"""How well `map_error` knows the map's true error: estimate beside error, by network.

    python tests/benchmarks/map_error.py [--network demo]... [--images 30] [--points 2000]

For each network and image, adaptive Integrated Gradients at its defaults, and to a closer
tolerance; the true error is the relative L2 distance from as many fixed points (Gauss-Legendre).
The table has medians, the part of images where the estimate is within a factor of 2 of the error,
and the smallest and the largest estimate / error. The demo model takes a minute for each image.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
from measure import machine, table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support import networks, zoo

import onnxplain
from onnxplain.models.shipped import demo_model

METHOD = "integrated-gradients"
# What each network is for.
NETWORKS = {
    "captum_relu": "ReLU, max pooling",
    "mobilenet_v2": "ReLU6",
    "efficientnet": "SiLU",
    "convnext": "GELU",
    "captum_smooth": "Sigmoid, tanh",
    "densenet": "ReLU, pooling",
    "resnet": "ReLU",
    "vit": "attention",
    "demo": "ReLU6, trained",
}
TOLERANCES = (0.01, 0.001)


def pictures(name: str, count: int) -> np.ndarray:
    """Images for a network: shifted crops of the shipped photos, or blobs and noise."""
    if name != "demo":
        return networks.example(name, batch=count, seed=7).numpy()
    large = [zoo.photo(k, 288) for k in (0, 1)]
    shifts = np.random.default_rng(0).integers(0, 65, (count, 2))
    crops = [large[k % 2][:, :, y : y + 224, x : x + 224] for k, (y, x) in enumerate(shifts)]
    return np.concatenate([crop[..., :: (-1) ** (k // 2)] for k, crop in enumerate(crops)])


def relative(found: np.ndarray, reference: np.ndarray) -> float:
    """The L2 distance, as a part of the reference's length."""
    difference = found.astype(np.float64) - reference
    return float(np.linalg.norm(difference) / np.linalg.norm(reference))


def pairs(name: str, count: int, points: int) -> dict[float, np.ndarray]:
    """By tolerance: (estimate, error, passes) for each image."""
    if name == "demo":
        model, how = str(demo_model()), {"baseline": np.float32(-127 / 128)}
    else:
        model, how = networks.exported(name, "torchscript", 17, True), {"baseline": np.float32(0)}
    exact = onnxplain.Explainer(model, METHOD, providers="cpu", steps=points, **how)
    found: dict[float, list[tuple[float, float, int]]] = {t: [] for t in TOLERANCES}
    explainers = {
        t: onnxplain.Explainer(model, METHOD, providers="cpu", tolerance=t, **how)
        for t in TOLERANCES
    }
    for x in pictures(name, count):
        reference = exact(x[None]).attribution
        for tolerance, explainer in explainers.items():
            e = explainer(x[None])
            assert e.map_error is not None and e.steps is not None
            error = relative(e.attribution, reference)
            found[tolerance].append((float(e.map_error[0]), error, e.steps))
    return {tolerance: np.array(values) for tolerance, values in found.items()}


def row_of(name: str, tolerance: float, values: np.ndarray) -> list[str]:
    """One line of the table."""
    estimate, error, passes = values.T
    ratio = estimate / error
    within = np.mean((ratio >= 0.5) & (ratio <= 2))
    return [
        f"{name} ({NETWORKS[name]}), {tolerance:.1%}",
        f"{np.median(passes):.0f}",
        f"{np.median(error):.2%}",
        f"{np.median(estimate):.2%}",
        f"{within:.0%}",
        f"{ratio.min():.2f} to {ratio.max():.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--points", type=int, default=2000)
    chosen = parser.parse_args()
    logging.getLogger("onnxplain").setLevel(logging.ERROR)
    print(machine(), "\n")
    rows, ratios = [], []
    for name in chosen.network or NETWORKS:
        for tolerance, values in pairs(name, chosen.images, chosen.points).items():
            rows.append(row_of(name, tolerance, values))
            ratios.extend(values[:, 0] / values[:, 1])
            print(rows[-1], file=sys.stderr, flush=True)
    ratio = np.array(ratios)
    within = np.mean((ratio >= 0.5) & (ratio <= 2))
    rows.append(["all", "", "", "", f"{within:.0%}", f"{ratio.min():.2f} to {ratio.max():.2f}"])
    print(table(["", "passes", "error", "estimate", "within 2x", "estimate / error"], rows))


if __name__ == "__main__":
    main()
