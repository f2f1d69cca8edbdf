"""What an exported file says of itself, in its metadata: what its attribution means."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

import numpy as np
import onnx

from ... import __version__
from ...graph_passes.select.subject import Subject
from ...models.card import METADATA_KEY, card_to_json
from ...models.plain_card import Card
from ...models.text import shown_json
from ..running.installed import builds, in_place
from ..running.settings import Settings

KEY = "onnxplain"
# A baseline of more numbers than this is told by its shape, range and digest; the numbers are in
# the file itself.
_MOST_NUMBERS = 16


def facts_of(
    subject: Subject,
    settings: Settings,
    card: Card | None,
    baselines: Mapping[str, Mapping[str, Any]],
    **more: Any,
) -> dict[str, Any]:
    """Every setting of an exported file, for JSON.

    Args:
        subject: what is explained.
        settings: how.
        card: the model's, or what was assumed of it.
        baselines: by input, as `described` makes them.
        more: method, score, feature map, digest.
    """
    method = settings.method
    facts: dict[str, Any] = {"onnxplain": __version__, "method": method.name, **more}
    facts |= {
        "input": [source.input.name for source in subject.sources],
        "output": subject.output.name,
        "activation_left_out": subject.activation,
        "quantiser_left_out": subject.quantised,
    }
    if method.takes("baseline"):
        facts["baseline"] = dict(baselines)
    facts |= method.facts(settings.options)
    if card is None:
        return facts | {"card": None, "card_is": "none"}
    content = json.loads(card_to_json(card))
    if card.assumed:
        return facts | {"card": content, "card_is": "assumed", "assumed": list(card.assumed)}
    return facts | {"card": content, "card_is": "given"}


def described(
    kind: str | None, baselines: Mapping[str, np.ndarray]
) -> dict[str, Mapping[str, Any]]:
    """Baselines in words and numbers; no kind where the file takes them as inputs."""
    if kind is None:
        return {name: {"is": "an input of the file"} for name in baselines}
    return {name: {"is": kind, **_numbers_of(values)} for name, values in baselines.items()}


def _numbers_of(values: np.ndarray) -> dict[str, Any]:
    found: dict[str, Any] = {"shape": list(values.shape)}
    if values.size <= _MOST_NUMBERS:
        return found | {"values": values.tolist()}
    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    ends = [float(values.min()), float(values.max())]
    return found | {"range": ends, "dtype": str(values.dtype), "sha256": digest}


def write_facts(
    model: onnx.ModelProto,
    facts: Mapping[str, Any],
    card: Card | None,
    own: Mapping[str, str],
) -> None:
    """Put the facts into a model's metadata, in place, beside what the source file had there.

    Args:
        model: the explaining model.
        facts: from `facts_of`.
        card: written for whoever reads the file as a model, labels inside, unless it was assumed.
        own: the source file's metadata.
    """
    found = {**own, KEY: shown_json(json.dumps(facts, ensure_ascii=False))}
    if card is not None and not card.assumed:
        found[METADATA_KEY] = card_to_json(card)
    onnx.helper.set_model_props(model, found)


def facts_in(model: onnx.ModelProto) -> dict[str, Any]:
    """What an exported file says of itself; empty where it says nothing."""
    return next((json.loads(p.value) for p in model.metadata_props if p.key == KEY), {})


def versions() -> dict[str, str]:
    """The versions of onnxplain and of what it computes with."""
    found = {"onnxplain": __version__}
    known = builds()
    runtime = in_place(known)
    if known:
        found["onnxruntime"] = (
            " or ".join(build.version for build in known) if runtime is None else runtime.version
        )
    for name in ("onnx", "numpy", "scipy"):
        for version in _installed(name):
            found[name] = version
    return found


def _installed(name: str) -> Iterator[str]:
    try:
        yield metadata.version(name)
    except metadata.PackageNotFoundError:
        return
