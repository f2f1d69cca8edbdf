"""Chromium for tests: CHROMIUM says where it is, else it is looked for."""

import os
import shutil
from contextlib import contextmanager

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[browser]'")
axe_api = pytest.importorskip("axe_playwright_python.sync_playwright", reason="'.[browser]'")
_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine", allow_module_level=True)


@contextmanager
def chromium():
    """A browser without a window."""
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()
