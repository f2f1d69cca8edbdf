"""Models whose gradient is well-posed in float32, for comparing gradients at a given input.

A deep network has millions of units, so some lie within rounding of their kink (Relu at 0, Clip at
its bounds), and float32 and float64 fall to different sides: both gradients are right, and differ.
Here each channel's bias is moved by up to a hundredth of the channel's spread, to the middle of the
widest stretch in which none of its units meets a kink. The graph stays as it is.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from support.torch_runner import as_dtype, constant, run_node

_REACH = 0.01
_DTYPE = torch.float64


def away_from_kinks(model: onnx.ModelProto, feeds: dict[str, torch.Tensor]) -> onnx.ModelProto:
    """Return a copy with moved biases; units that no bias of their own leads to stay."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _Walk(copy, feeds).run()
    return copy


class _Walk:
    """One run of the graph in float64 that stops at every kink."""

    def __init__(self, model: onnx.ModelProto, feeds: dict[str, torch.Tensor]):
        graph = model.graph
        self.nodes = list(graph.node)
        self.opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.values: dict[str, torch.Tensor | None] = {"": None}
        self.values.update((k, constant(t, _DTYPE)) for k, t in self.initializers.items())
        self.values.update((k, as_dtype(v, _DTYPE)) for k, v in feeds.items())
        self.producers = {y: i for i, node in enumerate(self.nodes) for y in node.output}
        self.uses = Counter(x for node in self.nodes for x in node.input)

    def run(self) -> None:
        with torch.no_grad():
            for index, node in enumerate(self.nodes):
                if node.op_type in ("Relu", "Clip"):
                    self._move(index, node)
                self._compute(node)

    def _compute(self, node: onnx.NodeProto) -> None:
        inputs = [self.values[name] for name in node.input]
        outputs = run_node(node, inputs, self.opset, _DTYPE)
        self.values.update(zip(node.output, outputs, strict=False))

    def _move(self, index: int, node: onnx.NodeProto) -> None:
        bias = self._bias_of(node.input[0])
        if bias is None:
            return
        name, first = bias
        x = self.values[node.input[0]]
        assert x is not None
        shift = best_shift(x, self._kinks(node))
        tensor = self.initializers[name]
        old = numpy_helper.to_array(tensor).astype(np.float64)
        new = (old + shift.numpy().reshape(old.shape)).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(new, name))
        self.values[name] = torch.from_numpy(new).to(_DTYPE)
        for again in self.nodes[first:index]:
            self._compute(again)

    def _kinks(self, node: onnx.NodeProto) -> list[float]:
        if node.op_type == "Relu":
            return [0.0]
        attributes = [a.f for a in node.attribute if a.name in ("min", "max")]
        inputs = [self.values[name] for name in node.input[1:] if name]
        return attributes + [float(value) for value in inputs if value is not None]

    def _bias_of(self, tensor: str) -> tuple[str, int] | None:
        """The initializer that is added to this tensor's channels, and the node to redo first."""
        if self.uses[tensor] != 1 or tensor not in self.producers:
            return None
        index = self.producers[tensor]
        node = self.nodes[index]
        if node.op_type in ("Conv", "Gemm", "BatchNormalization"):
            return self._initializer(node.input[2], index) if len(node.input) > 2 else None
        if node.op_type in ("Add", "Sum"):
            for name in node.input:
                found = self._initializer(name, index) or self._bias_of(name)
                if found is not None:
                    return found
        return None

    def _initializer(self, name: str, reader: int) -> tuple[str, int] | None:
        """An initializer that only one node reads, directly, unsqueezed or cast."""
        if self.uses[name] != 1:
            return None
        if name in self.initializers:
            return name, reader
        if name in self.producers:
            index = self.producers[name]
            node = self.nodes[index]
            if node.op_type in ("Unsqueeze", "Cast", "Identity"):
                return self._initializer(node.input[0], index)
        return None


def best_shift(x: torch.Tensor, kinks: list[float]) -> torch.Tensor:
    """For each channel of [N, C, ...], the shift that leaves every unit furthest from all kinks."""
    channels = x.transpose(0, 1).flatten(1)
    reach = _REACH * max(float(channels.std()), 1e-3)
    meets = torch.cat([kink - channels for kink in kinks], 1).clamp(-reach, reach)
    ends = torch.tensor([-reach, reach], dtype=x.dtype).expand(len(channels), 2)
    edges = torch.cat([meets, ends], 1).sort(1).values
    widest = edges.diff(dim=1).argmax(1, keepdim=True)
    return (edges.gather(1, widest) + edges.gather(1, widest + 1)).flatten() / 2
