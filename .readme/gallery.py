"""Draws gallery.jpg: every method on the shipped photo of a cup, by `python .readme/gallery.py`."""

from pathlib import Path

from PIL import Image, ImageDraw

import onnxplain
from onnxplain.engine.pictures.heatmap import FAINT, INK, PAPER, blend, heatmap_of
from onnxplain.engine.pictures.lettering import write
from onnxplain.models.shipped import demo_model, demo_photos

COLUMNS, CELL, GAP, HEAD = 6, 190, 12, 26
# What would take minutes otherwise, or looks like sand.
OPTIONS = {"rise": {"samples": 1000}, "occlusion": {"window": 32, "stride": 16}}


def main() -> None:
    """Explain, and lay the maps out in a grid."""
    photo = demo_photos()[0]
    cells = []
    for name, method in onnxplain.methods().items():
        explainer = onnxplain.Explainer(demo_model(), name, **OPTIONS.get(name, {}))
        e = next(explainer.images(photo))
        axis = 0 if e.attribution[0].ndim == 3 else None
        heatmap = heatmap_of(e.attribution[0], name, axis)
        cells.append((method.title, blend(e.origin.view, heatmap, (CELL, CELL))))
        print(name)
    rows = -(-len(cells) // COLUMNS)
    size = COLUMNS * (CELL + GAP) + GAP, rows * (CELL + GAP + HEAD) + GAP + 20
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    for place, (title, picture) in enumerate(cells):
        left = GAP + place % COLUMNS * (CELL + GAP)
        top = GAP + place // COLUMNS * (CELL + GAP + HEAD)
        write(draw, (left, top), title, 15, INK, 0.0)
        canvas.paste(picture, (left, top + HEAD))
    text = "Each map has its own scale. Red raises the score of espresso, blue lowers it."
    write(draw, (GAP, size[1] - 24), text, 13, FAINT, 0.0)
    canvas.save(Path(__file__).with_name("gallery.jpg"), quality=85)


if __name__ == "__main__":
    main()
