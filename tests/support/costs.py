"""What a call costs, counted and not timed: so that it is the same on a busy machine."""

from __future__ import annotations

import json
import math
import resource
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime

import onnxplain
from onnxplain.engine.running.session import Session
from onnxplain.engine.targets.asking import asked_for
from onnxplain.engine.targets.target import fed

PRODUCTS = {"Conv", "ConvTranspose", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"}


class Traffic(NamedTuple):
    """What went in and out of sessions: how often they ran, and bytes that left them as arrays."""

    runs: int
    bytes_out: int


class Work(NamedTuple):
    """What ONNX Runtime's optimised graph does in one run.

    `reorders` are the changes between the blocked layout of convolutions and the plain one.
    """

    multiply_adds: int
    reorders: int
    elementwise: int


def faults(call) -> int:
    """Page faults of a call."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    call()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _bytes(results: Mapping[str, Any]) -> int:
    return sum(v.nbytes for v in results.values() if isinstance(v, np.ndarray))


@contextmanager
def traffic() -> Iterator[list[Traffic]]:
    """What sessions do inside; the list holds it at the end."""
    runs, out = [], []
    own = {name: getattr(Session, name) for name in ("run", "hold")}

    def watched(name):
        def call(session, *arguments, **more):
            results = own[name](session, *arguments, **more)
            runs.append(name)
            out.append(_bytes(results))
            return results

        return call

    found: list[Traffic] = []
    try:
        for name in own:
            setattr(Session, name, watched(name))
        yield found
    finally:
        for name, method in own.items():
            setattr(Session, name, method)
        found.append(Traffic(len(runs), sum(out)))


def stages_of(explainer: onnxplain.Explainer, feeds: Mapping[str, np.ndarray]):
    """The graphs of a second image's explanation, each with what one run of it is fed."""
    plan = explainer._default_plan
    inputs = dict(feeds)
    name = explainer.subject.input.name
    baselines = {b: np.zeros_like(inputs[i]) for b, i in plan.baseline_names.items()}
    asked = asked_for(0, explainer.about, len(inputs[name]))
    assert asked.known is not None
    given = {**inputs, **baselines, **fed(explainer.subject, asked.known)}
    graphs = {}
    for model, own in plan.stages(given):
        graphs.setdefault(id(model), (model, own))
    found = list(graphs.values())
    # The baseline's activations are there already at a second image.
    return found[1:] if len(found) > 1 and not set(inputs) & set(found[0][1]) else found


def work(model: onnx.ModelProto | str | Path, feeds: Mapping[str, Any]) -> Work:
    """One run, by ONNX Runtime's own profile: real shapes, after its optimiser."""
    content = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(content, options, providers=providers)
        names = [value.name for value in session.get_inputs()]
        session.run(None, {name: np.asarray(feeds[name]) for name in names})
        events = json.loads(Path(session.end_profiling()).read_text())
    adds, reorders, elementwise = 0, 0, 0
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        kind = event["args"]["op_name"]
        if kind in PRODUCTS:
            adds += _multiply_adds(kind, event["args"])
        reorders += kind in ("ReorderInput", "ReorderOutput")
        elementwise += kind in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Where", "Clip", "Relu")
    return Work(adds, reorders, elementwise)


def _multiply_adds(kind: str, details: Mapping[str, Any]) -> int:
    ins, outs = (
        [next(iter(tensor.values())) for tensor in details[side]]
        for side in ("input_type_shape", "output_type_shape")
    )
    if kind == "ConvTranspose":
        return math.prod(ins[0]) * math.prod(ins[1][1:])
    if kind in ("Conv", "FusedConv"):
        return math.prod(outs[0]) * math.prod(ins[1][1:])
    shared = ins[0][-1] if "MatMul" in kind else math.prod(ins[0]) // outs[0][0]
    return math.prod(outs[0]) * shared
