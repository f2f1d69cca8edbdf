"""Small networks of several kinds, of which every method is asked the same."""

from __future__ import annotations

import functools

import numpy as np
import onnx
from onnx import numpy_helper, parser

import onnxplain
from support.digits import DATA, digit
from support.served import OF_ATTENTION

FILES = ("digits", "digits of two", "convolutions", "one at a time", "int8")
METHODS = list(onnxplain.methods())
# Few, so that a case takes milliseconds; the other options have their defaults.
FEW = {"samples": 6, "window": 3, "stride": 2}

CONVOLUTIONS = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[{batch},3,12,12] x) => (float[{batch},5] y, float[{batch},5] scores) {{
  a = Conv<strides=[2,2], pads=[1,1,1,1]>(x, k, b)
  r = Relu(a)
  m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
  c = Conv<pads=[1,1,1,1]>(m, k2)
  s = Sigmoid(c)
  w = Mul(c, s)
  t = Add(w, m)
  p = GlobalAveragePool(t)
  f = Flatten(p)
  scores = Gemm(f, g)
  y = Softmax(scores)
}}
"""
INT8 = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,12,12] x) => (float[N,5] y) {
  xq = QuantizeLinear(x, sx, zx)
  xd = DequantizeLinear(xq, sx, zx)
  kd = DequantizeLinear(kq, sk, zk)
  a = Conv<strides=[2,2]>(xd, kd, b)
  r = Relu(a)
  aq = QuantizeLinear(r, sa, za)
  ad = DequantizeLinear(aq, sa, za)
  p = GlobalAveragePool(ad)
  f = Flatten(p)
  y = Gemm(f, g)
}
"""


def parsed(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in weights.items())
    return model


@functools.cache
def source(file: str, method: str) -> onnx.ModelProto:
    """A network that the method serves."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        width = np.sqrt(np.prod(shape[1:] or [4]))
        return (random.normal(size=shape) / width).astype(np.float32)

    if method in OF_ATTENTION or file.startswith("digits"):
        name = "vit_digits" if method in OF_ATTENTION else "jax_digits"
        model = onnx.load(DATA / f"{name}.onnx")
        if file != "digits":
            for value in (*model.graph.input, *model.graph.output):
                value.type.tensor_type.shape.dim[0].dim_value = 2
            del model.graph.value_info[:]
        return model
    weights = {"k": normal(4, 3, 3, 3), "b": normal(4), "k2": normal(4, 4, 3, 3), "g": normal(4, 5)}
    if file == "int8":
        steps = {name: np.float32(value) for name, value in (("sx", 0.05), ("sk", 0.01))}
        steps["sa"] = np.float32(0.02)
        whole = np.rint(weights["k"] / 0.01).clip(-127, 127).astype(np.int8)
        zeros = {"zx": np.int8(0), "zk": np.int8(0), "za": np.int8(-128)}
        del weights["k2"], weights["k"]
        arrays = {n: np.asarray(v) for n, v in {**steps, **zeros}.items()}
        return parsed(INT8, kq=whole, **weights, **arrays)
    batch = "N" if file == "convolutions" else "1"
    return parsed(CONVOLUTIONS.format(batch=batch), **weights)


def images(model: onnx.ModelProto, file: str) -> np.ndarray:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    if len(dims) == 4 and dims[3].dim_value == 1:
        return np.concatenate([digit(k) for k in (3, 7)])
    count = 1 if file == "one at a time" else 3
    return np.random.default_rng(1).normal(size=(count, 3, 12, 12)).astype(np.float32)
