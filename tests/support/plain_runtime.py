"""A process with nothing but onnxruntime and numpy: `plain_runtime.py JOBS.json`.

Each job names an exported model, an .npz of its inputs and an .npz to write its outputs to.
"""

import json
import sys

import numpy as np
import onnxruntime

with open(sys.argv[1]) as file:
    jobs = json.load(file)
for job in jobs:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(
        job["model"], options, providers=["CPUExecutionProvider"]
    )
    assert not session.get_overridable_initializers()
    names = [value.name for value in session.get_outputs()]
    with np.load(job["inputs"]) as arrays:
        feeds = {value.name: arrays[value.name] for value in session.get_inputs()}
        assert set(feeds) == set(arrays.files), (set(feeds), set(arrays.files))
    found = session.run(names, feeds)
    np.savez(job["outputs"], **dict(zip(names, found, strict=True)))

others = {"onnx", "onnxplain", "torch", "onnx_graphsurgeon"} & set(sys.modules)
assert not others, others
