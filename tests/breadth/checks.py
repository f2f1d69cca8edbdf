"""One exported file: does it load, and is each method's answer PyTorch's?"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch

from breadth.exporting import ROWS, export, rows_of, session_of
from breadth.maps import error_of_map
from breadth.network import Network
from breadth.oracle import Oracle, Slopes, relative

# A relative error up to this is right, and up to this many times PyTorch's own in float32.
CLOSE, TIMES = 1e-3, 5.0
# Where PyTorch's own float32 is as far off, the network is chaotic: nothing can be asked of it.
NOISE = 0.1
METHODS = ("gradient", "integrated-gradients", "deeplift", "grad-cam")


def check(
    network: Network,
    exporter: str,
    batch: str,
    path: str,
    note: Callable[[dict[str, Any]], Any] = lambda record: None,
) -> dict[str, Any]:
    """The record of one exported file; see `tests/architectures.py`.

    `note` is called with what is known so far, in case nothing more ever will be.
    """
    import onnxplain

    record: dict[str, Any] = {"note": network.note}
    started = time.monotonic()
    failure = _exported(network, exporter, batch, path)
    if failure is not None and hasattr(network.module, "plainly"):
        record["note"] += " (plain attention)"
        if _exported(network._replace(module=network.module.plainly()), exporter, batch, path):
            return record | {"exported": False, "reason": failure}
    elif failure is not None:
        return record | {"exported": False, "reason": failure}
    record |= {"exported": True, "export_s": round(time.monotonic() - started, 1)}
    x = rows_of(network, ROWS[batch])
    try:
        found = session_of(path).run(["y"], {"x": x.numpy()})[0]
    except Exception as error:
        return record | {"loads": False, "reason": _line(error)}
    record |= {"loads": True, "nodes": len(onnx.load(path, load_external_data=False).graph.node)}
    oracle = Oracle(network, x)
    try:
        expected = oracle.y
    except RuntimeError:  # a part of it insists on float32
        oracle.double, oracle.precision = _Single(oracle.single), "float32"
        expected = oracle.y
    record["precision"] = oracle.precision
    record["score"] = {
        "error": relative(found, expected),
        "torch": relative(oracle.y32.numpy(), expected),
    }
    works = {
        "gradient": lambda: _beside_kinks(_gradient, onnxplain, oracle, path),
        "integrated-gradients": lambda: _beside_kinks(_integrated, onnxplain, oracle, path),
        "deeplift": lambda: _deeplift(onnxplain, oracle, path),
        "grad-cam": lambda: _beside_kinks(_grad_cam, onnxplain, oracle, path),
    }
    for method, work in works.items():
        note(record)
        record[method] = _answered(onnxplain, work)
    return record


def _exported(network: Network, exporter: str, batch: str, path: str) -> str | None:
    """Write the file; the first cause of what went wrong, if anything did."""
    try:
        export(network, exporter, batch, path)
    except Exception as error:
        while error.__cause__ is not None:
            error = error.__cause__
        return _line(error)
    return None


class _Single(torch.nn.Module):
    """A network that takes and returns float64, and computes in float32."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x.float()).double()


def _answered(onnxplain, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    started = time.monotonic()
    try:
        answer = work()
    except onnxplain.UnsupportedModelError as error:
        answer = {"status": "refused", "reason": str(error)}
    except MemoryError:
        answer = {"status": "crashed", "reason": "out of memory"}
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename.rpartition('/')[2]}:{where.lineno}"
        answer = {"status": "crashed", "reason": f"{_line(error)} ({place})"}
    return answer | {"s": round(time.monotonic() - started, 1)}


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:400]


def _judged(oracle: Oracle, asked: Slopes, found: np.ndarray) -> dict[str, Any]:
    """Right where it is as close as `CLOSE`, as PyTorch's float32 is, or as differences are."""
    expected = oracle.expected(asked)
    error = relative(found, expected)
    own = relative(oracle.expected(asked, double=False), expected)
    answer = {"error": error, "torch": own, "status": "ok"}
    if own > NOISE:
        answer["status"] = "noise"
    elif error > max(CLOSE, TIMES * own):
        if oracle.sides_with(asked, found, expected):
            answer["arbiter"] = "central differences side with the file, not with autograd"
        else:
            answer["status"] = "wrong"
    return answer


def _beside_kinks(judge: Callable, onnxplain, oracle: Oracle, path: str) -> dict[str, Any]:
    """The judgement, or the best of those at two further inputs.

    Within a float32's rounding of a ReLU's bend either slope is right, and one element of a map
    changes the whole gradient. What is wrong elsewhere too is wrong.
    """
    answer = judge(onnxplain, oracle, path)
    for scale in (0.9, 1.1):
        if answer["status"] == "wrong":
            elsewhere = judge(onnxplain, oracle.at(scale * oracle.x), path)
            if elsewhere["status"] == "ok":
                return elsewhere | {"beside_a_kink": answer["error"]}
    return answer


def _gradient(onnxplain, oracle: Oracle, path: str) -> dict[str, Any]:
    model = onnxplain.vjp(path, ["x"], ["y"])
    feeds = {"x": oracle.x.numpy(), "cotangent_y": oracle.gradient.cotangent.numpy()}
    (found,) = session_of(model).run(["grad_x"], feeds)
    return _judged(oracle, oracle.gradient, found)


def _integrated(onnxplain, oracle: Oracle, path: str) -> dict[str, Any]:
    explainer = onnxplain.Explainer(
        path,
        "integrated-gradients",
        steps=2,
        quadrature="middle",
        providers="cpu",
        threads=1,
        baseline=0.0,
    )
    e = explainer(oracle.x.numpy(), oracle.network.target)
    return _judged(oracle, oracle.integrated, e.attribution)


def _deeplift(onnxplain, oracle: Oracle, path: str) -> dict[str, Any]:
    """Its sum; the scores' own float32 error is what cannot be asked of it."""
    explainer = onnxplain.Explainer(path, "deeplift", providers="cpu", threads=1, baseline=0.0)
    e = explainer(oracle.x.numpy(), oracle.network.target)
    rows = np.abs(e.attribution.astype(np.float64)).reshape(len(e.score), -1).sum(axis=1)
    gap = np.abs(e.score - e.baseline_score)
    with torch.no_grad():
        zero = oracle.double(torch.zeros_like(oracle.x).double()).detach().numpy()
    weights = oracle.integrated.cotangent.numpy().reshape(len(rows), -1)
    exact = (weights * (oracle.y - zero).reshape(len(rows), -1)).sum(axis=1)
    answer = {
        "error": float(np.max(np.abs(e.delta) / gap)),
        "of_the_sizes": float(np.max(np.abs(e.delta) / np.maximum(rows, gap))),
        "sizes_by_gap": float(np.max(rows / gap)),
        "gap": float(np.max(np.abs(np.abs(exact) - gap) / np.abs(exact))),
        "status": "ok",
    }
    finite = np.isfinite(e.attribution).all() and np.isfinite(gap).all()
    # Terms that cancel to a thousandth leave a thousand times the rounding of each.
    close = answer["error"] <= CLOSE or (
        answer["of_the_sizes"] <= 1e-5 and answer["sizes_by_gap"] <= 1e4
    )
    # Nor does a difference of scores hold more than theirs.
    close = close or bool(np.all(np.abs(e.delta) <= 3e-6 * np.abs(e.score)))
    if not finite or not close:
        # A sum of terms a million times its size has no figure left in float32.
        rounding = finite and answer["of_the_sizes"] <= 1e-6 and answer["sizes_by_gap"] > 1e6
        answer["status"] = "noise" if rounding else "wrong"
    return answer


def _grad_cam(onnxplain, oracle: Oracle, path: str) -> dict[str, Any]:
    explainer = onnxplain.Explainer(path, "grad-cam", providers="cpu", threads=1)
    e = explainer(oracle.x.numpy(), oracle.network.target)
    name = str(e.feature_map)
    answer: dict[str, Any] = {"map": name, "before": share_before(path, name), "status": "ok"}
    if not np.isfinite(e.attribution).all():
        return answer | {"status": "wrong"}
    value = _value_of(explainer.model, name, oracle, e)
    answer["shape"] = list(value.shape)
    errors = error_of_map(oracle, value, e.attribution)
    if errors is not None:
        answer |= {"oracle": "autograd at a submodule", "error": errors[0], "torch": errors[1]}
    else:
        error = _error_by_cut(onnxplain, oracle, path, name, value, e)
        answer |= {"oracle": "none" if error is None else "the file cut at the map", "error": error}
    if (answer["error"] or 0.0) > max(2 * CLOSE, TIMES * answer.get("torch", 0.0)):
        answer["status"] = "wrong"
    return answer


def _value_of(model: onnx.ModelProto, name: str, oracle: Oracle, e) -> np.ndarray:
    """The feature map's value, from the explaining graph itself."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    if name not in {value.name for value in shown.graph.output}:
        shown.graph.output.append(onnx.ValueInfoProto(name=name))
    session = session_of(shown)
    # Which score is asked for does not change the map's values.
    width = next((i.shape[1:] for i in session.get_inputs() if i.name == "target"), [])
    target = np.zeros([len(oracle.x), *width], np.int64)
    given = {"x": oracle.x.numpy(), "target": target}
    return session.run([name], {i.name: given[i.name] for i in session.get_inputs()})[0]


def _error_by_cut(onnxplain, oracle: Oracle, path: str, name: str, value, e) -> float | None:
    """The formula with the slopes that the rest of the file has, differentiated by itself."""
    from breadth.maps import maps_of

    model = onnx.load(path)
    try:
        rest = onnx.utils.Extractor(model).extract_model(["x", name], ["y"])
        found = session_of(onnxplain.vjp(rest, [name], ["y"]))
        cotangent = oracle.integrated.cotangent.numpy()
        feeds = {"x": oracle.x.numpy(), name: value, "cotangent_y": cotangent}
        feeds = {value.name: feeds[value.name] for value in found.get_inputs()}
        (slope,) = found.run([f"grad_{name}"], feeds)
    except Exception:
        return None
    pairs = [
        (torch.from_numpy(value).movedim(axis, 0), torch.from_numpy(slope).movedim(axis, 0))
        for axis, size in enumerate(value.shape)
        if size == len(e.attribution)  # PyTorch's attention has the batch second
    ]
    candidates = (c for pair in pairs for c in maps_of(*pair, e.attribution.shape[1:]))
    return min(
        (relative(e.attribution, c) for c in candidates if np.abs(c).max() > 0), default=None
    )


def share_before(path: str, name: str) -> float | None:
    """The share of the nodes between `x` and `y` that the tensor depends on."""
    graph = onnx.load(path, load_external_data=False).graph
    makers = {output: node for node in graph.node for output in node.output}
    reached = {"x"}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and reached & set(node.input):
            reached.update(node.output)

    def behind(start: str) -> set[str]:
        found, waiting = set(), [start]
        while waiting:
            node = makers.get(waiting.pop())
            if node is not None and node.output[0] not in found and reached & set(node.output):
                found.add(node.output[0])
                waiting.extend(node.input)
        return found

    every = behind("y")
    return round(len(behind(name)) / len(every), 3) if name in makers else None
