"""Rows that the file makes itself, one for each of the batch: a cell's first state, a query."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from support import networks
from support.often import thinned
from support.small import node, small, value
from torch import nn

import onnxplain
from onnxplain.graph_passes.prepare.pipeline import prepare
from onnxplain.graph_passes.select.rows.follow import follow_rows
from onnxplain.graph_passes.select.rows.places import Lost, Place

WIDTH, STEPS, CLASSES = 6, 5, 4


UNROLLED = list(
    product(["lstm", "gru"], ["zeros", "like", "learnt"], [True, False], ["torchscript", "dynamo"])
)


class Unrolled(nn.Module):
    """A recurrent cell, step by step, as people write decoders; scores [T, N, C] or [N, C]."""

    def __init__(self, cell: str, state: str, time_first: bool):
        super().__init__()
        self.lstm = cell == "lstm"
        self.cell = (nn.LSTMCell if self.lstm else nn.GRUCell)(3, WIDTH)
        self.first, self.state = nn.Parameter(torch.randn(1, WIDTH)), state
        self.head, self.time_first = nn.Linear(WIDTH, CLASSES), time_first

    def begin(self, x: torch.Tensor) -> torch.Tensor:
        if self.state == "zeros":
            return torch.zeros(x.shape[0], WIDTH, dtype=x.dtype)
        if self.state == "like":
            return torch.zeros_like(x[:, 0, :1]).repeat(1, WIDTH)
        return torch.tanh(self.first.expand(x.shape[0], -1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = self.begin(x)
        seen = []
        for step in x.unbind(1):
            if self.lstm:
                h, c = self.cell(step, (h, c))
            else:
                h = self.cell(step, h)
            seen.append(h)
        return self.head(torch.stack(seen, 0) if self.time_first else h)


@pytest.mark.parametrize(("cell", "state", "time_first", "exporter"), thinned(UNROLLED, 5))
def test_an_unrolled_cell(cell, state, time_first, exporter):
    torch.manual_seed(3)
    module = Unrolled(cell, state, time_first).eval()
    x = torch.randn(3, STEPS, 3)
    model = networks.export(module, x, exporter, None, {0: "batch"})
    target = (2, 1) if time_first else 1
    e = onnxplain.Explainer(model, "input-x-gradient")(x.numpy(), target)
    moved = x.double().requires_grad_()
    wanted = module.double()(moved)
    score = wanted[2, :, 1] if time_first else wanted[:, 1]
    (slope,) = torch.autograd.grad(score.sum(), moved)
    expected = (slope * moved).detach().numpy()
    np.testing.assert_allclose(e.attribution, expected, atol=1e-5 * np.abs(expected).max())


def place_of(*nodes, **weights):
    read = [node("Shape", ["x"], ["s"]), node("Gather", ["s", "zero"], ["n"], axis=0)]
    read += [node("Unsqueeze", ["n", "at"], ["rows"])]
    given = {"zero": np.array(0), "at": np.array([0]), "w": np.eye(4, dtype=np.float32), **weights}
    model = small([*read, *nodes], [value("x", ["N", 4])], [value("y", None)], given, 17)
    return follow_rows(prepare(model), {"x": Place(0)}).get("y")


SIZE = node("Concat", ["rows", "four"], ["size"], axis=0)
FOUR = {"four": np.array([4])}
ROW = {**FOUR, "c": np.array([[1, 2, 3, 4]], np.float32)}
LINE = {**FOUR, "c": np.array([1, 2, 3, 4], np.float32)}
APART = {
    "a matrix behind": ((SIZE, node("ConstantOfShape", ["size"], ["z"])), FOUR),
    "a row repeated": ((SIZE, node("Expand", ["c", "size"], ["z"])), ROW),
    "a vector repeated": ((SIZE, node("Expand", ["c", "size"], ["z"])), LINE),
}
READ = (node("MatMul", ["z", "w"], ["m"]), node("Add", ["m", "x"], ["y"]))
# The number of rows lies along what is no batch, or is itself a number.
MIXED = {
    "along the features": (
        node("Concat", ["four", "rows"], ["size"], axis=0),
        node("ConstantOfShape", ["size"], ["z"]),
        node("ReduceSum", ["z", "last"], ["m"], keepdims=0),
        node("Add", ["m", "x"], ["y"]),
    ),
    "summed": (
        SIZE,
        node("ConstantOfShape", ["size"], ["z"]),
        node("Exp", ["z"], ["e"]),
        node("ReduceSum", ["e", "at"], ["m"]),
        node("Add", ["m", "x"], ["y"]),
    ),
    "a number": (
        node("Cast", ["rows"], ["f"], to=1),
        node("Mul", ["f", "x"], ["y"]),
    ),
}


@pytest.mark.parametrize("name", APART)
def test_rows_made_are_apart(name):
    nodes, weights = APART[name]
    assert place_of(*nodes, *READ, **weights) == Place(0)


@pytest.mark.parametrize("name", MIXED)
def test_a_number_of_rows_is_no_row(name):
    weights = {**FOUR, "last": np.array([1])}
    assert isinstance(place_of(*MIXED[name], **weights), Lost)
