"""The server of a page: for this machine alone, with the right types, and nothing but the page."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from pathlib import Path

import pytest

from onnxplain import InvalidInputError
from onnxplain.engine.page import server as page_server
from onnxplain.engine.page.server import LOOPBACK, POLICY, TYPES, served
from onnxplain.engine.page.writing_page import STATIC

PAGE = Path(page_server.__file__).parent


@pytest.fixture
def site(tmp_path):
    """A folder that is served, its port, and what asks for something there."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "inside").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    for suffix in (*TYPES, ".strange"):
        (folder / f"file{suffix}").write_bytes(b"content")
    (folder / "index.html").write_text("a page")
    with served(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        port = server.server_address[1]

        def ask(path, method="GET", **headers):
            connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            found = answer.status, answer.headers, answer.read()
            connection.close()
            return found

        yield ask, port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("suffix", TYPES)
def test_types(site, suffix):
    status, headers, content = site[0](f"/file{suffix}")
    assert (status, content) == (200, b"content")
    assert headers["Content-Type"] == TYPES[suffix]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == POLICY


def test_the_page_and_what_is_not_there(site):
    ask, _ = site
    assert ask("/")[::2] == (200, b"a page")
    assert ask("/", "HEAD")[::2] == (200, b"")
    assert ask("/file.strange")[1]["Content-Type"] == "application/octet-stream"
    for path in ("/nothing", "/inside/", "/../secret.txt", "/%2e%2e/secret.txt", "//secret.txt"):
        status, headers, content = ask(path)
        assert status == 404 and b"secret" not in content, path
        assert headers["Content-Security-Policy"] == POLICY
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask("/", method)[0] == 501


def test_only_this_machines_names_are_answered(site):
    """A page elsewhere whose name means 127.0.0.1 gets nothing."""
    ask, port = site
    for host in (f"{LOOPBACK}:{port}", f"localhost:{port}", f"LOCALHOST:{port}"):
        assert ask("/", Host=host)[0] == 200
    wrong = ["evil.example", f"evil.example:{port}", LOOPBACK, f"{LOOPBACK}:{port + 1}", ""]
    wrong += [f"{LOOPBACK}:{port}.evil.example", f"127.0.0.2:{port}", f"0.0.0.0:{port}"]
    for host in wrong:
        for method in ("GET", "HEAD"):
            status, _, content = ask("/", method, Host=host)
            assert status == 403 and b"a page" not in content, host


def test_it_is_bound_to_loopback(site):
    with served(".") as server:
        assert server.server_address[0] == LOOPBACK
    own = socket.gethostbyname(socket.gethostname())
    if own != LOOPBACK and not own.startswith("127."):
        with pytest.raises(OSError):
            socket.create_connection((own, site[1]), timeout=5)


def test_a_taken_port_is_one_line(site):
    said = rf"port {site[1]}: it is in use; give another"
    with pytest.raises(InvalidInputError, match=said), served(".", site[1]):
        pass


def test_the_pages_own_policy_is_the_servers():
    """Where another server hands the page out, it holds by itself."""
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    # A page cannot say itself who may frame it.
    assert f"{policy}; frame-ancestors 'none'" == POLICY
    assert "http://" not in POLICY and "https:" not in POLICY and "unsafe-inline" not in POLICY


def test_the_page_names_nothing_elsewhere():
    for name in STATIC:
        text = (PAGE / name).read_text(encoding="utf-8")
        assert not re.findall(r"(?:https?:)?//\w+\.\w+", text), name
        assert "style=" not in text and not re.findall(r"\son\w+=", text), name
