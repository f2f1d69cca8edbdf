"""A page that explains photos in a browser: a folder of files that any web server hands out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from ... import InvalidInputError, UnsupportedModelError
from ...graph_passes.finish import MAP_ERROR, SCORE
from ...graph_passes.graph.dims import describe
from ...graph_passes.methods import find_method
from ...models.shipped import demo_photos
from ..export.exporting import export_for_page
from ..files.writing import to_json, writable_folder, write_whole
from ..inputs.framing import framing_of
from ..records.captions import EXACT
from ..reports.words import how_to_read
from ..running.settings import DOUBTFUL
from .runtime import PACKAGE, VERSION

if TYPE_CHECKING:
    from ..explaining.explainer import Explainer

# What the browser is handed as it lies here.
STATIC = ("index.html", "page.css", "page.js", "worker.js")
# Servers know the type of .js; that of .mjs many do not.
RUNTIME_NAMES = {
    "ort.wasm.bundle.min.mjs": "ort.js",
    "ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
}
FACTS, METHODS, RUNTIME, SAMPLES = "page.json", "methods", "runtime", "samples"
_HERE = Path(__file__).parent


def write_page(
    folder: str | os.PathLike[str],
    explainers: Sequence[Explainer],
    name: str,
    runtime: Mapping[str, bytes],
    keep: Callable[[Path], None] = lambda path: None,
) -> list[str]:
    """Write a page into a folder; returns the names of its files there.

    Args:
        folder: made where it is missing; other files in it stay.
        explainers: one for each method, the first of which is shown first.
        name: of the model.
        runtime: the files of onnxruntime-web, of `runtime_files`.
        keep: raises where a path that is to be written is one that must stay.

    Raises:
        InvalidInputError: nobody knows how a photo becomes the input, or the folder cannot be
            written to.
        OSError: a file cannot be written.
    """
    own = writable_folder(folder)
    for inside in (METHODS, RUNTIME, SAMPLES):
        writable_folder(own / inside)
    contents = {name: (_HERE / name).read_bytes() for name in STATIC}
    contents |= {f"{RUNTIME}/{RUNTIME_NAMES[k]}": content for k, content in runtime.items()}
    samples = [f"{SAMPLES}/{photo.name}" for photo in demo_photos()]
    contents |= {s: p.read_bytes() for s, p in zip(samples, demo_photos(), strict=True)}
    made = []
    for explainer in explainers:
        file = f"{METHODS}/{explainer.method}.onnx"
        keep(own / file)
        model = export_for_page(explainer, own / file)
        made.append(_facts_of_method(explainer, model, file, own / file))
    facts = {"model": name, **_facts_of_model(explainers[0]), "methods": made, "samples": samples}
    facts["runtime"] = f"{PACKAGE} {VERSION}"
    contents[FACTS] = to_json(facts)
    for one, content in contents.items():
        keep(own / one)
        write_whole(own / one, lambda file, content=content: file.write(content))
    return [*contents, *(one["file"] for one in made)]


def check_for_page(explainer: Explainer) -> None:
    """Refuse what the page does not ask: a photo has one score for each class, and that is all.

    Raises:
        UnsupportedModelError: the model gives a photo no score for each class, or takes more.
        InvalidInputError: its input is no photo, or nobody knows how a photo becomes it.
    """
    subject = explainer.subject
    wanted = "the page shows models that take one photo and give it a score for each class; "
    others = [tensor.name for tensor in subject.graph.inputs if tensor is not subject.input]
    if others:
        raise UnsupportedModelError(f"{wanted}this one has further inputs: {', '.join(others)}")
    if not explainer._reading.classes or subject.by_index:
        shape = describe(subject.output.shape)
        raise UnsupportedModelError(
            f"{wanted}got output {subject.output.name!r} {shape}: use onnxplain explain --report"
        )
    try:
        framing_of(explainer.into, of_photo=True)
    except InvalidInputError as error:
        raise InvalidInputError(f"{wanted}{error}") from None


def _facts_of_model(explainer: Explainer) -> dict[str, Any]:
    """What the page must know to name classes and to read the model's answer."""
    reading = explainer._reading
    labels = explainer.about.labels
    return {
        "input": explainer.into.name,
        "output": reading.output,
        "labels": None if labels is None else [*map(str, labels)],
        "activation": reading.activation,
        "probability": reading.given,
        "raw": reading.raw,
        "exact": EXACT,
        "doubtful": DOUBTFUL,
    }


def _facts_of_method(
    explainer: Explainer, model: onnx.ModelProto, file: str, path: Path
) -> dict[str, Any]:
    method = find_method(explainer.method)
    outputs = [value.name for value in model.graph.output]
    return {
        "name": method.name,
        "title": method.title,
        "cite": method.cite,
        "reading": how_to_read(method.name),
        "file": file,
        "bytes": path.stat().st_size,
        "score": SCORE if SCORE in outputs else None,
        "delta": "delta" if "delta" in outputs else None,
        "mapError": MAP_ERROR if MAP_ERROR in outputs else None,
        "owes": method.owes,
    }
