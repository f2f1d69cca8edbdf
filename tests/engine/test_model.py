"""A model is opened once: read, checked and prepared once for all that a command asks of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support import networks
from support.digits import digit, write_model, write_photo

import onnxplain
from onnxplain.engine import model as opening
from onnxplain.engine.running import prepared as preparing
from onnxplain.models import load as loading


@pytest.fixture
def counts(monkeypatch) -> dict[str, int]:
    """How often a file is parsed, checked, prepared and read."""
    found = dict.fromkeys(("parse", "check", "prepare", "read"), 0)

    def counted(module, name: str, kind: str) -> None:
        own = getattr(module, name)

        def wrapped(*arguments, **more):
            found[kind] += 1
            return own(*arguments, **more)

        monkeypatch.setattr(module, name, wrapped)

    counted(loading, "_parse", "parse")
    counted(loading, "_read", "read")
    counted(loading, "check", "check")
    counted(preparing, "prepare", "prepare")
    preparing._kept.clear()
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "MODEL", "PHOTO"],
        ["explain", "MODEL", "PHOTO", "-t", "rank2", "-m", "saliency", "-m", "lrp"],
        ["export", "MODEL", "-m", "deeplift", "-o", "FILE"],
        ["inspect", "MODEL"],
        ["inspect", "MODEL", "--trace-delta", "PHOTO"],
    ],
)
def test_once_a_command(command, tmp_path, counts, arguments):
    places = {"MODEL": write_model(tmp_path), "FILE": tmp_path / "e.onnx"}
    places["PHOTO"] = write_photo(tmp_path / "seven.png", 7)
    out = ["-o", tmp_path / "out"] if arguments[0] == "explain" else []
    status, _, err = command(*(places.get(part, part) for part in arguments), *out)
    assert status == 0, err
    once = 2 if "--trace-delta" in arguments else 1
    assert counts == {"parse": once, "check": once, "prepare": 1, "read": once}


def test_an_explainer_reads_its_file_once(tmp_path, counts):
    """And once more where it is compared with the file, since it keeps no weights for that."""
    explainer = onnxplain.Explainer(write_model(tmp_path), "deeplift", providers="cpu")
    explainer(digit(7))
    assert counts["read"] == counts["parse"] == 1
    explainer.verify(digit(7))
    explainer.verify(digit(3))
    assert counts["read"] == counts["parse"] == 2


@pytest.mark.parametrize("name", ["resnet", "vit", "unet"])
def test_nothing_changes_what_was_read(name):
    file = opening.Model(networks.exported(name, dynamic=True))
    before = file.proto.SerializeToString(deterministic=True)
    x = networks.example(name).numpy()
    for method in ("saliency", "integrated-gradients", "deeplift"):
        explainer = onnxplain.Explainer(file, method, steps=3, baseline=0, providers="cpu")
        explainer(x, (1, 2, 3) if name == "unet" else 1)
    file.session("cpu", 1).run({"input": x})
    assert file.proto.SerializeToString(deterministic=True) == before


def test_of_every_kind(tmp_path):
    """A path, bytes and a proto give one digest, card and number; so does what lies beside."""
    path = write_model(tmp_path)
    beside = tmp_path / "beside.onnx"
    onnx.save(onnx.load(path), beside, save_as_external_data=True, size_threshold=0)
    kinds = [path, str(path), path.read_bytes(), onnx.load(path), beside]
    files = [opening.opened(kind) for kind in kinds]
    for kind, file in zip(kinds, files, strict=True):
        assert file.sha256 == loading.sha256(kind)
        assert (file.path is None) == (not isinstance(kind, str | Path))
        assert opening.opened(file) is file
    found = [onnxplain.Explainer(f, "saliency", providers="cpu")(digit(7)) for f in files]
    for e in found[1:]:
        np.testing.assert_array_equal(e.attribution, found[0].attribution)
    assert files[0].card is not None and files[2].card is None
    files[0].let_go()
    assert files[0].proto.graph.node
