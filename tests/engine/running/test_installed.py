"""Two builds of ONNX Runtime in one folder: which one lies there, and what is said about it."""

import base64
import hashlib

import pytest

from onnxplain.engine.export import facts
from onnxplain.engine.jobs import doctor
from onnxplain.engine.running import installed
from onnxplain.engine.running.installed import builds, in_place, overlap, without_cuda


def put(folder, name, version, files):
    """Install a made-up package: its files, and what pip writes down of them."""
    lines = []
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content)}")
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("\n".join([*lines, f"{info.name}/RECORD,,"]))


def files(build, size=100):
    return {
        "onnxruntime/__init__.py": f"package_name = '{build}'".encode(),
        "onnxruntime/capi/state.so": build[-1:].encode() * size,
        "onnxruntime/LICENSE": b"MIT",
        "bin/test": b"both have one",
    }


@pytest.fixture
def both(tmp_path):
    put(tmp_path, "onnxruntime-gpu", "1.22.0", files("onnxruntime-gpu"))
    put(tmp_path, "onnxruntime", "1.23.0", files("onnxruntime"))
    return [str(tmp_path)]


def test_the_last_one_lies_on_top(both, tmp_path):
    found = builds(both)
    assert [(b.name, b.version) for b in found] == [
        ("onnxruntime", "1.23.0"),
        ("onnxruntime-gpu", "1.22.0"),
    ]
    assert in_place(found) == found[0]
    text = overlap(found)
    assert text is not None and "\n" not in text
    for part in (
        "onnxruntime 1.23.0 and onnxruntime-gpu 1.22.0 are both installed",
        "those of onnxruntime are in place",
        "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install one of them",
    ):
        assert part in text
    for name, content in files("onnxruntime-gpu").items():
        (tmp_path / name).write_bytes(content)
    assert in_place(builds(both)) == builds(both)[1]


def test_some_of_each(both, tmp_path):
    (tmp_path / "onnxruntime/__init__.py").write_bytes(
        files("onnxruntime-gpu")["onnxruntime/__init__.py"]
    )
    assert in_place(builds(both)) is None
    assert "some of each are in place" in str(overlap(builds(both)))


def test_large_files_are_told_by_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "_MOST_HASHED", 50)
    for name, size in (("onnxruntime-gpu", 400), ("onnxruntime", 300)):
        put(tmp_path, name, "1.0", {"onnxruntime/state.so": b"x" * size})
    found = builds([str(tmp_path)])
    assert in_place(found) == found[0] and found[0].name == "onnxruntime"


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-gpu"])
def test_one_alone_is_well(tmp_path, name):
    put(tmp_path, name, "1.23.0", files(name))
    found = builds([str(tmp_path)])
    assert overlap(found) is None and in_place(found) == found[0]


def test_what_is_installed_is_not_advised(tmp_path, both):
    """The CPU's build must go before CUDA's comes; one that is there is put right, not added."""
    gpu = tmp_path / "gpu"
    put(gpu, "onnxruntime-gpu", "1.23.0", files("onnxruntime-gpu"))
    cpu = tmp_path / "cpu"
    put(cpu, "onnxruntime", "1.23.0", files("onnxruntime"))
    assert "(pip uninstall -y onnxruntime, then pip install onnxruntime-gpu)" in without_cuda(
        builds([str(cpu)])
    )
    alone = without_cuda(builds([str(gpu)]))
    assert "onnxruntime-gpu 1.23.0 is installed" in alone and "--force-reinstall" in alone
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in without_cuda(builds(both))
    assert without_cuda([]).endswith("(pip install onnxruntime-gpu)")


def test_doctor_says_so(both, monkeypatch):
    numbers = {**doctor.demo_numbers(), "sizes": {}}
    monkeypatch.setattr(doctor, "demo_numbers", lambda: numbers)
    assert doctor.examine().problems == []
    found = builds(both)
    for module in (doctor, facts):
        monkeypatch.setattr(module, "builds", lambda: found)
    health = doctor.examine()
    assert health.problems == [overlap(found)]
    assert dict(health.rows)["onnxruntime"] == "1.23.0"
