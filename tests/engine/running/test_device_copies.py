"""The loop of Integrated Gradients copies next to nothing from a device, on a made-up device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from support import networks

import onnxplain
from onnxplain.engine.running import plan
from onnxplain.engine.running.session import open_session

STEPS = 8


class OnDevice:
    """A tensor there; reading it is a copy to the host."""

    def __init__(self, values: np.ndarray, log: list[Any]):
        self.values, self.log = values, log

    def numpy(self) -> np.ndarray:
        self.log.append("copied back")
        return self.values


class Device:
    """A session that computes elsewhere: what it is fed from the host it has to copy there.

    Its log has, in order, "placed" for each tensor that `place` copies, "copied back" for each that
    is read, and for each run of `hold` the sizes of what it was fed from the host.
    """

    def __init__(self, model, providers, threads):
        self._session = open_session(model, "cpu", 1)
        self.log: list[Any] = []
        self.lost = False
        self.inputs, self.outputs = self._session.inputs, self._session.outputs
        self.provider, self.type_of = self._session.provider, self._session.type_of
        self.zeros = self._session.zeros

    def cheap_to_see(self, run):
        return run & (run - 1) == 0

    def _read(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {k: v.values if isinstance(v, OnDevice) else v for k, v in feeds.items()}

    def run(self, feeds, names=None):
        self.log.append("run")
        return self._session.run(self._read(feeds), names)

    def hold(self, feeds):
        taken = {name: feeds[name] for name in self.inputs}
        self.log.append([v.size for v in taken.values() if isinstance(v, np.ndarray)])
        results = self._session.run(self._read(taken))
        return {name: OnDevice(values, self.log) for name, values in results.items()}

    def place(self, feeds):
        taken = {name: feeds[name] for name in self.inputs if name in feeds}
        self.log += ["placed" for _ in taken]
        return {name: OnDevice(values, self.log) for name, values in taken.items()}


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_is_copied_along_the_path(monkeypatch, count):
    x = networks.example("resnet").numpy()[:count]
    model = networks.exported("resnet", dynamic=True)
    options = {"steps": STEPS, "quadrature": "gauss-legendre", "providers": "cpu"}
    expected = onnxplain.Explainer(model, "integrated-gradients", **options)(x, 3)
    opened: list[Device] = []

    def open_there(*given):
        opened.append(Device(*given))
        return opened[-1]

    monkeypatch.setattr(plan, "open_session", open_there)
    found = onnxplain.Explainer(model, "integrated-gradients", **options)(x, 3)
    np.testing.assert_array_equal(found.attribution, expected.attribution)
    (log,) = (device.log for device in opened if "placed" in device.log)
    rows = [k for k, entry in enumerate(log) if isinstance(entry, list)]
    assert len(rows) == STEPS // (2 // count)
    # Everything is placed before the first row; that starts from a zero, one number. The sum comes
    # back after the last one, and is looked at (is it a number?) after 1, 2, 4 ... rows.
    assert set(log[: rows[0]]) == {"placed"}
    wanted: list[Any] = []
    for row in range(1, len(rows) + 1):
        wanted += [[1] if row == 1 else []]
        wanted += ["copied back"] if row & (row - 1) == 0 else []
    # At the end also what both halves came to, which tells the error.
    assert log[rows[0] :] == [*wanted, *["copied back"] * 3]
