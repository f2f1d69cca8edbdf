"""Integrated Gradients to a tolerance: passes and seconds by quadrature, beside Captum.

    python tests/benchmarks/adaptive.py [--network lite0|shapes|resnet50]... [--images 5]

For each network (lite0 and shapes, unless told otherwise) two tables, of medians over the images,
the worst in brackets:

1. Passes and seconds until |delta| is at most 5%, 1% and 0.2% of the score's difference. Fixed
   rules double their steps until it is, as Captum's users must, and pay for every try; adaptive
   adds to what it has. Captum's points are those of Gauss-Legendre here, so its row has that one's
   passes, at Captum's own seconds for a pass (measured at 32 steps). The last row is Captum's
   seconds by those of adaptive: the median over the images where both get there, the least in
   brackets.
2. The map's error against 1024 steps, and |delta|, at as many passes.
"""

from __future__ import annotations

import argparse
import logging
import time
from functools import partial

import captum.attr
import numpy as np
import torch
from measure import machine, table
from subjects import NETWORKS, Network

import onnxplain

TOLERANCES = (0.05, 0.01, 0.002)
MOST = 512
METHOD = "integrated-gradients"
FIXED = ("gauss-legendre", "trapezoid")


def explain(network: Network, x: np.ndarray, **options):
    explainer = onnxplain.Explainer(
        network.model, METHOD, providers="cpu", threads=torch.get_num_threads(), **options
    )
    explainer._default_plan._session("explain")  # sessions are opened once for all images
    explainer._default_plan._session("path")
    began = time.perf_counter()
    found = explainer(x, baseline=network.baseline)
    return found, time.perf_counter() - began


def doubling(network: Network, x: np.ndarray, quadrature: str) -> dict[float, tuple[int, float]]:
    """(passes, seconds) in all until each tolerance; steps 8, 16, 32 ..."""
    done: dict[float, tuple[int, float]] = {}
    steps, passes, seconds = 8, 0, 0.0
    while len(done) < len(TOLERANCES) and steps <= MOST:
        found, spent = explain(network, x, quadrature=quadrature, steps=steps)
        reached = found.relative_delta.item()
        passes, seconds = passes + steps, seconds + spent
        done |= {t: (passes, seconds) for t in TOLERANCES if reached <= t and t not in done}
        steps *= 2
    return done


def captums_seconds(network: Network, x: np.ndarray, steps: int = 32) -> float:
    """For one pass; Captum's |delta| must be that of this library."""
    inputs, start = torch.from_numpy(x), torch.from_numpy(network.baseline)
    with torch.no_grad():
        logits = network.module(inputs)
        target = int(logits.argmax())
        gap = float(logits[0, target] - network.module(start)[0, target])
    began = time.perf_counter()
    # Captum's default, Gauss-Legendre; chunks as small as are fastest on a CPU.
    _, delta = captum.attr.IntegratedGradients(network.module).attribute(
        inputs,
        start,
        target=target,
        n_steps=steps,
        internal_batch_size=4,
        return_convergence_delta=True,
    )
    seconds = time.perf_counter() - began
    found, _ = explain(network, x, steps=steps)
    assert abs(abs(float(delta) / gap) - found.relative_delta.item()) < 1e-3
    return seconds / steps


def to_tolerance(network: Network, images: np.ndarray, with_captum: bool) -> str:
    found: dict[str, list[dict[float, tuple[int, float]]]] = {"adaptive": []}
    for x in images:
        reached = {}
        for tolerance in TOLERANCES:
            e, seconds = explain(network, x[None], tolerance=tolerance, steps=MOST)
            if e.relative_delta.item() <= tolerance:
                reached[tolerance] = (e.steps, seconds)
        found["adaptive"].append(reached)
        for quadrature in FIXED:
            found.setdefault(quadrature, []).append(doubling(network, x[None], quadrature))
        if with_captum:
            one = captums_seconds(network, x[None])
            tries = found["gauss-legendre"][-1]
            found.setdefault("captum", []).append({t: (n, n * one) for t, (n, _) in tries.items()})
    rows = []
    for quadrature, results in found.items():
        row = [quadrature]
        for tolerance in TOLERANCES:
            values = [r[tolerance] for r in results if tolerance in r]
            missed = len(results) - len(values)
            if len(values) <= missed:
                row.append(f"not in {MOST} steps: {missed} of {len(results)}")
                continue
            passes, seconds = np.median(values, axis=0)
            most = max(p for p, _ in values)
            row.append(f"{passes:.0f} ({most}), {seconds:.2f} s" + f"; {missed} not" * bool(missed))
        rows.append(row)
    if with_captum:
        rows.append(["captum / adaptive", *map(partial(_ratio, found), TOLERANCES)])
    return table(["passes (most), seconds to", *(f"{t:.1%}" for t in TOLERANCES)], rows)


def _ratio(found: dict[str, list[dict[float, tuple[int, float]]]], tolerance: float) -> str:
    pairs = zip(found["captum"], found["adaptive"], strict=True)
    ratios = [c[tolerance][1] / a[tolerance][1] for c, a in pairs if tolerance in c.keys() & a]
    missed = len(found["captum"]) - len(ratios)
    if not ratios:
        return ""
    return f"{np.median(ratios):.1f}x ({min(ratios):.1f}x)" + f"; {missed} not" * bool(missed)


def map_errors(network: Network, images: np.ndarray) -> str:
    rows = {q: [q] for q in ("adaptive", *FIXED)}
    references = [
        explain(network, x[None], steps=1024)[0].attribution.astype(np.float64) for x in images
    ]
    for steps in (32, 64, 128):
        for quadrature, row in rows.items():
            values = []
            for x, reference in zip(images, references, strict=True):
                e, _ = explain(network, x[None], steps=steps, quadrature=quadrature)
                error = np.linalg.norm(e.attribution - reference) / np.linalg.norm(reference)
                values.append((error, e.relative_delta.item()))
            (error, delta), (most, worst) = np.median(values, axis=0), np.max(values, axis=0)
            row.append(f"{error:.3f} ({most:.3f}); {delta:.1%} ({worst:.1%})")
    heads = ["map's error; |delta|, at", *(f"{n} passes" for n in (32, 64, 128))]
    return table(heads, list(rows.values()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--no-captum", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    logging.getLogger("onnxplain").setLevel(logging.ERROR)
    print(machine())
    for name in chosen.network or ("lite0", "shapes"):
        network = NETWORKS[name]()
        images = network.x[: chosen.images]
        print(f"\n{network.name}, {len(images)} images\n")
        print(to_tolerance(network, images, not chosen.no_captum), "\n", flush=True)
        print(map_errors(network, images), flush=True)


if __name__ == "__main__":
    main()
