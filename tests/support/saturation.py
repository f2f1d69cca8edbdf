"""Whether ONNX Runtime's 8-bit products are exact on this processor.

Without VNNI its kernels for x86-64 add pairs of products in 16 bits, which saturate: twice 255 x
127 is 32,767 there. What a deployed model answers then is not what its file says.
"""

import functools

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper


@functools.cache
def saturates() -> bool:
    a, b = np.full((4, 64), 255, np.uint8), np.full((64, 16), 127, np.int8)
    inputs = [
        helper.make_tensor_value_info("a", TensorProto.UINT8, a.shape),
        helper.make_tensor_value_info("b", TensorProto.INT8, b.shape),
    ]
    outputs = [helper.make_tensor_value_info("c", TensorProto.INT32, [4, 16])]
    nodes = [helper.make_node("MatMulInteger", ["a", "b"], ["c"])]
    graph = helper.make_graph(nodes, "product", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=providers)
    (found,) = session.run(None, {"a": a, "b": b})
    return bool((found != a.astype(int) @ b.astype(int)).any())


def skip_where_saturated():
    """Skip a test that holds our numbers against ONNX Runtime's 8-bit kernels."""
    if saturates():
        pytest.skip("ONNX Runtime's 8-bit products saturate on this processor (no VNNI)")
