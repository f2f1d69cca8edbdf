"""Where onnxruntime-web comes from: a folder, an archive, an address, the cache; or one line."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from onnxplain import InvalidInputError
from onnxplain.engine.page import runtime
from onnxplain.engine.page.runtime import FILES, archive_address, cache_folder, runtime_files

CONTENT = {name: f"content of {name}".encode() for name in FILES}


def archive(files=CONTENT, folder="package/dist") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as opened:
        for name, content in {"package.json": b"{}", **files}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return made.getvalue()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def registry(monkeypatch, tmp_path):
    """A registry with an archive that counts as the pinned one, and an empty cache."""
    asked, answers = [], {}
    content = archive()
    monkeypatch.setattr(runtime, "SHA256", digest(content))
    monkeypatch.setattr(runtime, "FILES", {name: digest(CONTENT[name]) for name in FILES})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, body = answers.get("now", (200, content))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("npm_config_registry", f"{address}/")
        for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
            monkeypatch.setenv(name, str(tmp_path / "cache"))
        yield address, asked, answers
        server.shutdown()


def test_it_is_fetched_once(registry):
    address, asked, _ = registry
    said = []
    assert runtime_files(None, said.append) == CONTENT
    assert asked == ["/onnxruntime-web/-/onnxruntime-web-1.30.0.tgz"]
    assert len(said) == 1 and said[0].endswith(f"from {address}{asked[0]}")
    assert runtime_files(None, said.append) == CONTENT and len(asked) == len(said) == 1
    # What was damaged in the cache is fetched again.
    (cache_folder() / next(iter(FILES))).write_bytes(b"damaged")
    assert runtime_files(None) == CONTENT and len(asked) == 2


def test_a_cache_that_cannot_be_written_is_said(registry):
    cache_folder().parent.mkdir(parents=True)
    cache_folder().write_text("no folder")
    said = []
    assert runtime_files(None, said.append) == CONTENT
    assert len(said) == 2 and said[1].startswith("not kept for the next time: cannot write")


def test_an_address(registry):
    address, asked, _ = registry
    assert runtime_files(f"{address}/mirror/web.tgz") == CONTENT and asked == ["/mirror/web.tgz"]
    assert not cache_folder().exists()


@pytest.mark.parametrize(
    "answer", [(404, b""), (500, b"x"), (200, b"other"), (200, archive()[:99])]
)
def test_what_is_fetched_must_be_it(registry, answer):
    registry[2]["now"] = answer
    with pytest.raises(InvalidInputError) as caught:
        runtime_files(None)
    said = str(caught.value)
    if answer[0] == 200:
        assert f"is not onnxruntime-web 1.30.0: expected SHA-256 {runtime.SHA256}" in said
    else:
        assert said.startswith(f"cannot fetch {archive_address()} (") and "--runtime FILE" in said
    assert not cache_folder().exists()


def test_no_network_is_one_line(registry, monkeypatch):
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    with pytest.raises(InvalidInputError) as caught:
        runtime_files(None)
    assert "\n" not in str(caught.value) and "download that file elsewhere" in str(caught.value)
    for wrong in ("no address", "file:///etc", "https://"):
        monkeypatch.setenv("npm_config_registry", wrong)
        with pytest.raises(InvalidInputError, match=r"cannot fetch|is not onnxruntime-web"):
            runtime_files(None)


@pytest.mark.parametrize(
    "inside", ["", "dist", "package/dist", "node_modules/onnxruntime-web/dist"]
)
def test_folders(tmp_path, inside):
    (tmp_path / inside).mkdir(parents=True, exist_ok=True)
    for name, content in CONTENT.items():
        (tmp_path / inside / name).write_bytes(content)
    assert runtime_files(str(tmp_path)) == CONTENT


def test_archives(tmp_path):
    path = tmp_path / "web.tgz"
    path.write_bytes(archive())
    assert runtime_files(str(path)) == CONTENT
    name = next(iter(FILES))
    path.write_bytes(archive({name: b"alone"}))
    with pytest.raises(InvalidInputError, match=r"lacks ort-wasm-simd-threaded\.wasm"):
        runtime_files(str(path))


@pytest.mark.parametrize("content", [b"", b"no archive", archive()[:150], b"\x1f\x8b" + b"\0" * 50])
def test_what_is_no_archive(tmp_path, content):
    path = tmp_path / "web.tgz"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"^--runtime: .*(expected the archive|lacks)"):
        runtime_files(str(path))


def test_what_is_nowhere(tmp_path):
    for given in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InvalidInputError, match=r"expected a folder with ort\.wasm\.bundle"):
            runtime_files(str(given))


def test_the_registry_is_npms_by_default(monkeypatch):
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    assert archive_address().startswith("https://registry.npmjs.org/onnxruntime-web/-/")
