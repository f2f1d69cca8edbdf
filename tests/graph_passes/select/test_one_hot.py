"""Ids that become rows of zeros with a one: explained as ids, however the file writes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import parser
from support import networks
from torch import nn
from torch.nn import functional as F

import onnxplain

TOKENS, VOCABULARY, CLASSES = 5, 7, 3
RANDOM = np.random.default_rng(4)
W = RANDOM.standard_normal((VOCABULARY, 4)).astype(np.float32)
V = RANDOM.standard_normal((4 * TOKENS, CLASSES)).astype(np.float32)


def text(values: np.ndarray) -> str:
    return f"[{', '.join(map(str, values.shape))}]", "{" + ", ".join(map(str, values.ravel())) + "}"


# ids [N, TOKENS] -> h [N, TOKENS, VOCABULARY], as exporters write it.
FORMS = {
    "OneHot": "h = OneHot <axis = -1> (ids, depth, ends)",
    "OneHot of whole numbers": "o = OneHot <axis = 2> (ids, depth, whole) h = Cast <to = 1> (o)",
    "compared": "u = Unsqueeze (ids, last) e = Equal (u, line) h = Cast <to = 1> (e)",
    "the other way": "u = Unsqueeze (ids, last) e = Equal (line, u) h = Cast <to = 1> (e)",
    "by two casts": """u = Unsqueeze (ids, last) e = Equal (u, line)
        i = Cast <to = 7> (e) h = Cast <to = 1> (i)""",
    "jax": """u = Reshape (ids, column) x = Expand (u, wide) e = Equal (x, block)
        h = Cast <to = 1> (e)""",
}
LINE = ", ".join(map(str, range(VOCABULARY)))


def model_of(form: str):
    (w_shape, w), (v_shape, v) = text(W), text(V)
    return parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 17]>
        net (int64[N, {TOKENS}] ids) => (float[N, {CLASSES}] y)
        <int64 depth = {{{VOCABULARY}}}, float[2] ends = {{0, 1}}, int64[2] whole = {{0, 1}},
         int64[1] last = {{-1}}, int64[{VOCABULARY}] line = {{{LINE}}},
         int64[1, 1, {VOCABULARY}] block = {{{LINE}}}, int64[3] column = {{-1, {TOKENS}, 1}},
         int64[3] wide = {{1, {TOKENS}, {VOCABULARY}}}, int64[2] flat = {{-1, {4 * TOKENS}}},
         float{w_shape} w = {w}, float{v_shape} v = {v}>
        {{ {form} m = MatMul (h, w) t = Tanh (m) f = Reshape (t, flat) y = MatMul (f, v) }}""")


def slopes(ids: np.ndarray, target: int) -> np.ndarray:
    """The gradient times the row of each id, summed: [N, TOKENS]."""
    hot = F.one_hot(torch.tensor(ids), VOCABULARY).double().requires_grad_()
    score = torch.tanh(hot @ torch.tensor(W).double()).flatten(1) @ torch.tensor(V).double()
    (slope,) = torch.autograd.grad(score[:, target].sum(), hot)
    return (slope * hot).sum(-1).detach().numpy()


@pytest.mark.parametrize("name", FORMS)
def test_the_gradient_of_ids(name):
    ids = RANDOM.integers(0, VOCABULARY, (3, TOKENS))
    e = onnxplain.Explainer(model_of(FORMS[name]), "input-x-gradient")(ids, 1)
    np.testing.assert_allclose(e.attribution, slopes(ids, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("method", ["integrated-gradients", "deeplift", "expected-gradients"])
def test_ids_as_the_baseline(name, method):
    """The padding's row, of ids as they are given: what is summed is the score's difference."""
    ids = RANDOM.integers(0, VOCABULARY, (2, TOKENS))
    pads = np.full((1, TOKENS), 2)
    options = {} if method != "integrated-gradients" else {"tolerance": 1e-4}
    explainer = onnxplain.Explainer(model_of(FORMS[name]), method, baseline=pads, **options)
    e = explainer(ids, 0)
    own = onnxplain.Explainer(model_of(FORMS[name]), "saliency")
    gap = own(ids, 0).score - own(pads, 0).score
    if method != "expected-gradients":
        np.testing.assert_allclose(e.attribution.sum(1), gap, atol=2e-4 * np.abs(gap).max() + 1e-5)
    assert not e.attribution[:, :][ids == 2].any()


def test_a_comparison_with_one_number_is_no_look_up():
    model = model_of("u = Unsqueeze (ids, last) e = Equal (u, depth) h = Cast <to = 1> (e)")
    with pytest.raises(onnxplain.OnnxplainError):
        onnxplain.Explainer(model, "integrated-gradients")(np.zeros((1, TOKENS), np.int64), 0)


class Characters(nn.Module):
    """A network of characters, as people export it."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.Conv1d(VOCABULARY, 8, 3), nn.Linear(8, CLASSES)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hot = F.one_hot(ids, VOCABULARY).float()
        return self.head(torch.relu(self.rnn(hot.transpose(1, 2))).mean(2))


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_exported_characters(exporter):
    module, ids = networks_of(exporter)
    e = onnxplain.Explainer(module[1], "deeplift", baseline=0.0)(ids, 2)
    gap = module[0](torch.tensor(ids))[:, 2].detach().numpy() - e.baseline_score
    assert e.attribution.shape == ids.shape
    np.testing.assert_allclose(e.attribution.sum(1), gap, atol=1e-5)


def networks_of(exporter: str):
    torch.manual_seed(1)
    module, ids = Characters().eval(), RANDOM.integers(0, VOCABULARY, (2, 12))
    return (module, networks.export(module, torch.tensor(ids), exporter, None, {0: "N"})), ids


# What TensorFlow's exporter makes of ids below 0: the number of rows is added to them.
WRAPPED = """
    more = Add (ids, rows) small = Cast <to = 1> (ids) below = Less (small, none)
    above = Not (below) keep = Cast <to = 7> (above) kept = Mul (ids, keep)
    wrap = Cast <to = 7> (below) wrapped = Mul (wrap, more) index = Add (wrapped, kept)"""


def wrapped(more: str = ""):
    (w_shape, w), (v_shape, v) = text(W), text(V)
    return parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 17]>
        net (int64[N, {TOKENS}] ids) => (float[N, {CLASSES}] y)
        <int64 rows = {{{VOCABULARY}}}, float none = {{0}}, int64[2] flat = {{-1, {4 * TOKENS}}},
         int64[1] last = {{-1}}, float{w_shape} w = {w}, float{v_shape} v = {v}>
        {{ {WRAPPED} m = Gather (w, index) t = Tanh (m) {more}
           f = Reshape ({"u" if more else "t"}, flat) y = MatMul (f, v) }}""")


@pytest.mark.parametrize("method", ["integrated-gradients", "deeplift", "input-x-gradient"])
def test_ids_below_zero_are_wrapped(method):
    ids = RANDOM.integers(-VOCABULARY, VOCABULARY, (3, TOKENS))
    options = {"tolerance": 1e-4} if method == "integrated-gradients" else {}
    e = onnxplain.Explainer(wrapped(), method, **options)(ids, 1)
    if method == "input-x-gradient":
        np.testing.assert_allclose(e.attribution, slopes(ids % VOCABULARY, 1), rtol=1e-5, atol=1e-6)
    else:
        gap = np.tanh(W[ids]).reshape(3, -1) @ V[:, 1]
        np.testing.assert_allclose(e.attribution.sum(1), gap, atol=2e-4 * np.abs(gap).max())


def test_ids_that_are_numbers_as_well_are_no_look_up():
    model = wrapped("q = Cast <to = 1> (ids) p = Unsqueeze (q, last) u = Mul (t, p)")
    with pytest.raises(onnxplain.UnsupportedModelError):
        onnxplain.Explainer(model, "input-x-gradient")(np.zeros((1, TOKENS), np.int64), 1)
