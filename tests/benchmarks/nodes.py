"""Seconds by the number of nodes: whether any stage takes more than linear time.

    python tests/benchmarks/nodes.py [--nodes 1000]... [--shape chain]...

Chains, residual blocks and a mesh of many paths, from bytes to the first answer; each in a process
of its own, whose peak memory is the last column. Above the limit on nodes, the limit is raised.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import time

import numpy as np
import onnx
from measure import machine, table
from onnx import TensorProto, helper, numpy_helper

import onnxplain
from onnxplain.engine.running.stopwatch import PHASES, measured
from onnxplain.graph_passes.methods import default_methods

SHAPES = ("chain", "residual", "mesh")


def network(nodes: int, shape: str) -> onnx.ModelProto:
    """A network of so many nodes behind a convolution's map."""
    c = numpy_helper.from_array(np.float32(1.0001), "c")
    k = numpy_helper.from_array(np.eye(3, dtype=np.float32)[:, :, None, None], "k")
    made = [helper.make_node("Conv", ["x", "k"], ["map"])]
    made.append(helper.make_node("GlobalAveragePool", ["map"], ["pooled"]))
    made.append(helper.make_node("Flatten", ["pooled"], ["t2"]))
    last = {"chain": 1, "residual": 4, "mesh": 30}[shape]
    operators = ("Mul", "Relu", "Add", "Sigmoid")
    for index in range(3, nodes):
        operator = operators[index % 4]
        second = "c" if shape == "chain" else f"t{max(2, index - last)}"
        inputs = [f"t{index - 1}", *([second] if operator in ("Mul", "Add") else [])]
        made.append(helper.make_node(operator, inputs, [f"t{index}"]))
    graph = helper.make_graph(
        made,
        shape,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info(f"t{nodes - 1}", TensorProto.FLOAT, ["N", 3])],
        [c, k],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def stages(nodes: int, shape: str, method: str) -> list[str]:
    """Seconds of each stage, in all, and peak memory."""
    logging.getLogger("onnxplain").setLevel(logging.ERROR)
    data = network(nodes, shape).SerializeToString()
    x = np.random.default_rng(0).random((1, 3, 8, 8), np.float32)
    began = time.perf_counter()
    with measured() as seconds:
        options = {} if method == "grad-cam" else {"baseline": 0}
        limits = onnxplain.Limits(nodes=max(20_000, 10 * nodes))
        onnxplain.Explainer(data, method, providers="cpu", limits=limits, **options)(x, 0)
    whole = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    names = [name for name in PHASES if name != "draw"]
    return [*(f"{seconds.get(name, 0):.1f}" for name in names), f"{whole:.1f}", f"{peak:,}"]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, action="append")
    parser.add_argument("--shape", action="append", choices=SHAPES)
    options = parser.parse_args()
    rows = []
    for shape in options.shape or SHAPES:
        for nodes in options.nodes or (1000, 2000, 4000, 10_000, 20_000):
            for method in default_methods():
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    found = pool.apply(stages, (nodes, shape, method))
                rows.append([shape, f"{nodes:,}", method, *found])
    names = [name for name in PHASES if name != "draw"]
    print(machine())
    print(table(["network", "nodes", "method", *names, "s in all", "peak MB"], rows))


if __name__ == "__main__":
    main()
