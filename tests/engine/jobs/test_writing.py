"""Files are whole or not there; a model's own files are not written over."""

import errno
import io
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from support.digits import write_model
from support.left_behind import limited

import onnxplain
from onnxplain.engine.files import writing
from onnxplain.engine.files.model_files import refuse_own_files
from onnxplain.engine.files.writing import sweep, write_draft, write_whole

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")
FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")


def hello(file):
    file.write(b"hello")


def half(file):
    file.write(b"hel")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path):
    path = tmp_path / "a.bin"
    with pytest.raises(OSError, match="No space") as error:
        write_whole(path, half)
    assert error.value.filename == str(path) and os.listdir(tmp_path) == []
    write_whole(path, hello)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, half)
    assert path.read_bytes() == b"hello" and os.listdir(tmp_path) == ["a.bin"]


@POSIX
def test_permissions_and_links_stay(tmp_path):
    path, link = tmp_path / "a.bin", tmp_path / "link"
    before = os.umask(0o027)
    try:
        write_whole(path, hello)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o604)
    link.symlink_to(path)
    write_whole(link, lambda file: file.write(b"new"))
    assert link.is_symlink() and path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o604


@POSIX
def test_a_pipe_is_written_to(tmp_path):
    reading, writing = os.pipe()
    write_whole(f"/dev/fd/{writing}", hello)
    os.close(writing)
    with open(reading, "rb") as file:
        assert file.read() == b"hello"


def test_drafts_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path):
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from onnxplain.engine.files.writing import write_draft\n"
        "write_draft(Path(sys.argv[1]), lambda file: None); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, tmp_path]).returncode == 9
    (dead,) = os.listdir(tmp_path)
    alive = write_draft(tmp_path, hello)
    (tmp_path / "mine.tmp").touch()
    sweep(tmp_path)
    assert set(os.listdir(tmp_path)) == {alive.path.name, "mine.tmp"} and dead != alive.path.name
    writing.drop(alive)
    assert os.listdir(tmp_path) == ["mine.tmp"]


@pytest.fixture
def external(tmp_path):
    """A model whose weights lie in another file."""
    path = tmp_path / "big.onnx"
    model = onnx.load(write_model(tmp_path))
    onnx.save(model, path, save_as_external_data=True, location="big.data", size_threshold=0)
    return path


def test_export_never_writes_over_its_source(tmp_path, external):
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    os.link(external, tmp_path / "hard.onnx")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "big.data")
    explainer = onnxplain.Explainer(external, "deeplift")
    for name, what in (
        ("big.onnx", "the model itself"),
        ("hard.onnx", "the model itself"),
        ("link.onnx", "external data"),
    ):
        with pytest.raises(onnxplain.InvalidInputError, match=what):
            explainer.export(tmp_path / name)
    with pytest.raises(onnxplain.InvalidInputError, match="a folder"):
        explainer.export(tmp_path)
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(onnxplain.InvalidInputError, match="card"):
        refuse_own_files(other, external, [other])
    with pytest.raises(onnxplain.InvalidInputError, match="card"):
        refuse_own_files(tmp_path / "digits.json", tmp_path / "digits.onnx")
    for name, content in before.items():
        assert (tmp_path / name).read_bytes() == content
    explainer.export(tmp_path / "new.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "new.onnx"))


@POSIX
def test_a_failed_export_leaves_nothing(tmp_path):
    """As on a disk that is full: a limit on the size of a file."""
    model = write_model(tmp_path)
    old = tmp_path / "old.onnx"
    old.write_bytes(b"old")
    names = set(os.listdir(tmp_path))
    for name in ("new.onnx", "old.onnx"):
        done = limited(2000, "export", model, "-m", "grad-cam", "-o", tmp_path / name)
        assert done.returncode == 2 and "File too large" in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1 and name in done.stderr
    assert set(os.listdir(tmp_path)) == names and old.read_bytes() == b"old"


@POSIX
@FULL
def test_export_to_stdout_and_to_a_full_device(tmp_path):
    command = [sys.executable, "-m", "onnxplain.cli", "export", str(write_model(tmp_path))]
    command += ["-m", "grad-cam", "-o"]
    done = subprocess.run([*command, "/dev/stdout"], capture_output=True)
    assert done.returncode == 0 and done.stderr.startswith(b"/dev/stdout: inputs in_0, target;")
    onnx.checker.check_model(onnx.load(io.BytesIO(done.stdout)))
    done = subprocess.run([*command, "/dev/full"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "onnxplain: cannot write /dev/full: No space left on device\n"


def test_arrays_are_saved_as_they_are(tmp_path):
    """The shared part of an archive is packed once, and numpy reads the whole."""
    from onnxplain.engine.jobs.results import _with_array

    one, other = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([[1, 2]], np.int64)
    path = tmp_path / "a.npz"
    path.write_bytes(_with_array(_with_array(b"", "input", other, 4), "attribution", one, 1))
    with np.load(path) as saved:
        assert set(saved.files) == {"input", "attribution"}
        np.testing.assert_array_equal(saved["attribution"], one)
        np.testing.assert_array_equal(saved["input"], other)
