"""The same question makes the same bytes in whatever process: no order hangs on Python's hashes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.folders import TESTS
from support.often import often

SCRIPT = """
import hashlib, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
import onnxplain
from support import zoo
from support.served import OF_ALL

for name in OF_ALL:
    method = onnxplain.methods()[name]
    how = {"baseline": 0} if method.takes("baseline") else {}
    explainer = onnxplain.Explainer(zoo.model("jax_digits"), name, **how)
    parts = [explainer.model, *explainer._default_plan._models.values()]
    data = b"".join(part.SerializeToString(deterministic=True) for part in parts)
    print(name, hashlib.sha256(data).hexdigest())
"""


@pytest.mark.parametrize("seed", often([1], [1, 2, 3]))
def test_no_order_hangs_on_hashes(seed: int) -> None:
    found = [_made(str(number)) for number in (0, seed)]
    assert found[0] == found[1] and len(found[0]) >= 18


def _made(seed: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(TESTS)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
        check=True,
    )
    return done.stdout.splitlines()
