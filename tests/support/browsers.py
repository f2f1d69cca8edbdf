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
def watched(browser):
    """What opens blank pages; at the end all requests were own ones, and nothing complained.

    It is called with (the address of a request) -> whether that page may make it.
    """
    opened, wrong = [], []

    def blank(is_own, **how):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **how})
        opened.append(context)
        page = context.new_page()
        page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        context.on("request", lambda one: is_own(one.url) or wrong.append(one.url))
        return page

    yield blank
    for context in opened:
        context.close()
    assert wrong == []


@contextmanager
def chromium():
    """A browser without a window."""
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()
