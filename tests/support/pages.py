"""Reports for tests: read back as elements, and made without a model."""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from onnxplain.engine.pictures.heatmap import heatmap_of
from onnxplain.engine.reports.page import Map, Page, Shown, View

# Texts that would be more than text in HTML, in attributes, in JSON, in SVG, in a terminal.
HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script><!--",
    "]]><svg onload=alert(1)>",
    "</style></title></svg><b onclick='alert(1)'>",
    "{{ 7 * 7 }}{% raw %}&lt;&#60;",
    "\u202etac\u2066\x00\x1b[31m\u2028",
    "javascript:alert(1)",
)


class Read(HTMLParser):
    """A page as its elements.

    Attributes:
        elements: (name, attributes) in their order; tags: how often each name and attribute is.
        text: what stands between them, without style and scripts.
        data: what the JSON block holds.
    """

    def __init__(self, content: bytes):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self._inside, self._texts, self._json = "", [], []
        self.feed(content.decode())
        self.close()
        self.text = " ".join(" ".join(self._texts).split())
        self.data = json.loads("".join(self._json))
        self.tags = Counter((name, *sorted(own)) for name, own in self.elements)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = "json" if dict(attrs).get("type") == "application/json" else tag

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, data):
        if self._inside == "json":
            self._json.append(data)
        elif not self._inside:
            self._texts.append(data)

    def all(self, tag, **wanted):
        """The attributes of every element of a name that has these."""
        own = [a for name, a in self.elements if name == tag]
        return [a for a in own if all(a.get(k.rstrip("_")) == v for k, v in wanted.items())]


def read(path: Path) -> Read:
    """A report that lies somewhere."""
    return Read(path.read_bytes())


def pictures_in(content: bytes) -> list[Image.Image]:
    """Every embedded picture, in its order."""
    found = re.findall(rb'"data:image/webp;base64,([^"]+)"', content)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


def page_of_noise(images: int, methods: tuple[str, ...], side: int = 224) -> Page:
    """What compresses worst: photos and maps of noise, but for Grad-CAM's, which are smooth."""
    random = np.random.default_rng(0)
    shown = []
    for number in range(images):
        photo = Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8))
        maps = []
        for method in methods:
            values = random.normal(size=(side, side))
            if method == "grad-cam":
                few = Image.fromarray(random.random((7, 7)).astype(np.float32))
                values = np.asarray(few.resize((side, side), Image.Resampling.BILINEAR))
            maps.append(Map(method, heatmap_of(values, method, None), "for 'tabby'"))
        shown.append(Shown(f"photo-{number}.jpg", photo, [View("tabby", "score 1", maps)]))
    return Page(title="Noise", lead=["Noise."], images=shown, methods=methods)


def luminance(colour):
    """Relative luminance of a #rrggbb colour (WCAG 2.2)."""
    parts = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
