"""The recipes of docs/deploy.md run, where what they need is installed.

The Python without more than Pillow and ONNX Runtime runs in test_readme.py. Others are skipped with
the package that is missing: fastapi, gradio, mlflow; node and onnxruntime-node (NODE_PATH says
where, else npm installs it); a C++ compiler, with ONNXRUNTIME_HOME (include and lib).
"""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml
from PIL import Image
from support.folders import ROOT

import onnxplain
from onnxplain.models.shipped import demo_model, demo_photos

PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- tested(?: with ([^>]*?))? -->\n```(\w*)\n(.*?)```", re.DOTALL)
TYPES = {
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_INT64": "tensor(int64)",
    "TYPE_FP32": "tensor(float)",
}


def recipes() -> dict[str, str]:
    """What is needed beside ONNX Runtime -> the recipe; "" for all that needs nothing."""
    found: dict[str, str] = {}
    for needs, _, text in BLOCK.findall(PAGE):
        found[needs] = found.get(needs, "") + text
    return found


def needed(*modules: str) -> None:
    for name in modules:
        pytest.importorskip(name, reason=f"no {name} here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with explained.onnx, and what it answers for the first photo."""
    made = tmp_path_factory.mktemp("deployed")
    explainer = onnxplain.Explainer(demo_model(), "grad-cam", providers="cpu")
    explainer.export(made / "explained.onnx", preprocess=True, picture=True)
    return made


@pytest.fixture(scope="module")
def session(folder):
    return onnxruntime.InferenceSession(
        folder / "explained.onnx", providers=["CPUExecutionProvider"]
    )


@pytest.fixture(scope="module")
def expected(session):
    """Class and picture of the first photo."""
    feeds = {"input": photo(), "target": np.array([-1])}
    logits, picture = session.run(["logits", "picture"], feeds)
    return int(logits.argmax()), picture[0]


def photo() -> np.ndarray:
    with Image.open(demo_photos()[0]) as image:
        return np.asarray(image.convert("RGB"))


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """The same picture, as runtimes of other versions round it."""
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 0.1


def ran_here(needs: str, more: str, where: Path) -> dict[str, Any]:
    """The names that the plain recipe and another one leave."""
    names: dict[str, Any] = {}
    before = Path.cwd()
    os.chdir(where)
    try:
        exec(recipes()[""] + recipes()[needs] + more, names)
    finally:
        os.chdir(before)
    return names


def test_the_recipes_are_known():
    assert list(recipes()) == [
        "",
        "fastapi, httpx, python_multipart",
        "gradio",
        "node",
        "c++",
        "triton",
        "yaml",
        "mlflow",
    ]


def test_every_recipe_of_python_can_be_read():
    for _, language, text in BLOCK.findall(PAGE):
        if language == "python":
            compile(text, "deploy.md", "exec")


def test_what_is_told_is_what_the_file_has(session):
    """The table of inputs and outputs."""
    rows = re.findall(r"^\| (in|out) \| .*?`(\w+)` \| (\w+)", PAGE, re.MULTILINE)
    names = {"in": session.get_inputs(), "out": session.get_outputs()}
    for side, values in names.items():
        kinds = {"uint8": "uint8", "int64": "int64", "float32": "float", "as": "float"}
        told = {name: f"tensor({kinds[kind]})" for way, name, kind in rows if way == side}
        assert told == {value.name: value.type for value in values}


def test_fastapi(folder, expected):
    needs = "fastapi, httpx, python_multipart"
    needed(*needs.split(", "))
    client_of = importlib.import_module("fastapi.testclient").TestClient
    client = client_of(ran_here(needs, "", folder)["app"])
    content = demo_photos()[0].read_bytes()
    answer = client.post("/explain", files={"photo": ("cup.png", content)})
    assert answer.status_code == 200 and answer.headers["X-Class"] == str(expected[0])
    same(np.asarray(Image.open(io.BytesIO(answer.content))), expected[1])
    assert client.post("/explain", files={"photo": ("x.png", b"no photo")}).status_code == 400


def test_gradio(folder, expected):
    needed("gradio")
    names = ran_here("gradio", "\nfound = demo.fn(str(photo_path))", folder)
    text, picture = names["found"]
    assert text.startswith(f"class {expected[0]}, score ")
    same(np.asarray(picture), expected[1])


def test_mlflow(folder, expected, monkeypatch):
    needed("mlflow", "pandas")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (folder / "mlruns").as_uri())
    # mlflow-skinny has no database.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    found = ran_here("mlflow", "", folder)["found"]
    assert found["logits"].argmax() == expected[0]
    same(found["picture"][0], expected[1])


def node_modules(folder: Path) -> dict[str, str]:
    """The environment in which Node finds onnxruntime-node; skips where it cannot be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None:
        pytest.skip("no node here")
    check = [node, "-e", "require('onnxruntime-node')"]
    if subprocess.run(check, cwd=folder, capture_output=True).returncode == 0:
        return dict(os.environ)
    if npm is None:
        pytest.skip("no onnxruntime-node here, and no npm")
    # Its script fetches CUDA's library, which is not needed.
    install = [npm, "install", "--ignore-scripts", "--no-audit", "onnxruntime-node@1.30.0"]
    try:
        done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not fetch onnxruntime-node in time")
    if done.returncode:
        pytest.skip(f"npm cannot fetch onnxruntime-node: {done.stderr.strip()[:200]}")
    return dict(os.environ)


def test_node(folder, expected):
    environment = node_modules(folder)
    pixels = photo()
    (folder / "rgb.bin").write_bytes(pixels.tobytes())
    height, width, _ = pixels.shape
    more = (
        'const rgb = new Uint8Array(fs.readFileSync("rgb.bin"));\n'
        f"explain(rgb, {height}, {width}).then((found) => {{\n"
        '  fs.writeFileSync("picture.bin", found.picture);\n'
        "  console.log(JSON.stringify({ index: found.index, shape: found.shape }));\n"
        "});\n"
    )
    (folder / "recipe.js").write_text(recipes()["node"] + more)
    command = ["node", "recipe.js"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["index"] == expected[0]
    same(np.fromfile(folder / "picture.bin", np.uint8).reshape(found["shape"])[0], expected[1])


MAIN = """
#include <fstream>
#include <iterator>
int main(int, char** given) {
  Ort::Env env;
  Ort::Session session(env, "explained.onnx", Ort::SessionOptions{});
  std::ifstream file("rgb.bin", std::ios::binary);
  std::vector<uint8_t> rgb((std::istreambuf_iterator<char>(file)), {});
  auto found = explain(session, rgb, std::stoll(given[1]), std::stoll(given[2]));
  std::ofstream picture("picture.bin", std::ios::binary);
  picture.write(reinterpret_cast<char*>(found.picture.data()), found.picture.size());
  return found.shape[0] == 1 && found.logits.size() == 1000 ? 0 : 3;
}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="built as on Linux")
def test_cpp(folder, expected):
    home, compiler = os.environ.get("ONNXRUNTIME_HOME"), shutil.which("c++")
    if home is None or compiler is None:
        pytest.skip("no C++ compiler, or no ONNXRUNTIME_HOME with include/ and lib/")
    pixels = photo()
    (folder / "rgb.bin").write_bytes(pixels.tobytes())
    (folder / "recipe.cpp").write_text(recipes()["c++"] + MAIN)
    library = next(path for path in sorted(Path(home, "lib").glob("libonnxruntime.*")))
    build = [
        compiler,
        "-std=c++17",
        f"-I{home}/include",
        "recipe.cpp",
        str(library),
        "-o",
        "recipe",
    ]
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    height, width, _ = pixels.shape
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{home}/lib"}
    run = ["./recipe", str(height), str(width)]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    picture = np.fromfile(folder / "picture.bin", np.uint8)
    same(picture.reshape(expected[1].shape), expected[1])


def sizes(shape) -> list[int]:
    return [length if isinstance(length, int) else -1 for length in shape]


def test_triton(session):
    """Names, types and shapes are the file's: what Triton compares when it loads it."""
    text = recipes()["triton"]
    entries = re.findall(r'\{ name: "(\w+)" data_type: (\w+) dims: \[ ([-\d, ]+) \] \}', text)
    told = [(n, TYPES[kind], [*map(int, dims.split(","))]) for n, kind, dims in entries]
    values = [*session.get_inputs(), *session.get_outputs()]
    assert told == [(value.name, value.type, sizes(value.shape)) for value in values]
    try:
        config = importlib.import_module("tritonclient.grpc.model_config_pb2").ModelConfig()
    except (ImportError, RuntimeError):
        return  # Triton's own parser is not here, or without gRPC
    importlib.import_module("google.protobuf.text_format").Parse(text, config)
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 0)


def test_kserve():
    service = yaml.safe_load(recipes()["yaml"])
    assert service["kind"] == "InferenceService"
    model = service["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "onnx"} and model["protocolVersion"] == "v2"
    assert service["metadata"]["name"] in PAGE.partition("## KServe")[2]
