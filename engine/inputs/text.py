"""Texts: `.txt` files, of which a `tokenizer.json` beside the model makes token ids.

Read by the `tokenizers` library, an extra. Each token gets one number: the sum over its embedding.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ... import InvalidInputError
from ...graph_passes.select.features import Features
from ...models.files import beside, check_regular, parse_json, read_text, while_unchanged
from ...models.plain_card import Card
from ...models.text import counted, shown
from ..pictures.heatmap import Heatmap, Picture
from ..pictures.words import Token, words, words_map
from . import array
from .kind import InputKind, ModelInput, Named, Reading, Shape, check_keys, described

KEYS = ("tokenizer",)
FILE = "tokenizer.json"
# The library's own, and what it makes of a text.
Tokenizer: TypeAlias = Any
Encoding: TypeAlias = Any
INSTALL = "texts need the tokenizers library, which is not installed: pip install 'onnxplain[text]'"
# Bytes of a tokenizer with a vocabulary of a million words.
_MOST_BYTES = 2**27
_PADS = "[PAD]", "<pad>", "<PAD>", "<|pad|>", "<|finetune_right_pad_id|>"
_MASKS = "[MASK]", "<mask>", "<MASK>"
# Further inputs by the names that exporters give them.
_MASK_INPUTS = "attention_mask", "input_mask", "mask"
_TYPE_INPUTS = "token_type_ids", "segment_ids"


class Tokens(NamedTuple):
    """A text as a model takes it.

    Attributes:
        ids: [T].
        shown: the tokens as pictures show them, without the padding behind them.
        name: what messages call it.
    """

    ids: np.ndarray
    shown: tuple[Token, ...]
    name: str


def _suffixes() -> frozenset[str]:
    return frozenset({".txt"})


def _path(into: ModelInput) -> Path | None:
    """Where the tokenizer lies: beside the model, or one folder up from `onnx/`."""
    if into.folder is None:
        return None
    own = into.card is not None and into.card.kind == "text"
    name = str(into.card.settings.get("tokenizer", FILE)) if own and into.card else FILE
    folder = Path(into.folder)
    folders = [folder, folder.parent] if folder.resolve().name == "onnx" else [folder]
    found = (beside(one, name) for one in folders)
    return next((path for path in found if path is not None and path.is_file()), None)


def _is_ids(into: ModelInput) -> bool:
    whole = np.dtype(into.dtype).kind in "iu"
    return whole and into.shape is not None and len(into.shape) == 2


def _takes(into: ModelInput) -> bool:
    return _is_ids(into) and _path(into) is not None


def _refuse(into: ModelInput) -> None:
    if not _is_ids(into):
        raise InvalidInputError(
            f"a text needs a model that takes token ids, integers [N, tokens], and its input "
            f"{into.name!r} is {described(into)}"
        )
    where = "a model that was given as bytes" if into.folder is None else "the model"
    raise InvalidInputError(f"a text needs a {FILE} beside {where}, and there is none")


def _read(given: Any, how: Reading, into: ModelInput) -> Tokens:
    """A text file as token ids, padded to the model's length.

    Raises:
        InvalidInputError: it is no UTF-8 text, has more tokens than the model takes, or there is no
            tokenizer or no library.
    """
    if not _takes(into):
        _refuse(into)
    if isinstance(given, str):
        text = read_text(given, "text")
    elif isinstance(given, bytes):
        try:
            text = given.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InvalidInputError(f"text {how.name}: expected UTF-8, got other bytes") from None
    else:
        raise InvalidInputError(f"text {how.name}: expected a file, got {type(given).__name__}")
    path = _path(into)
    assert path is not None
    try:
        found = _tokenizer(path).encode(text)
    except InvalidInputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInputError(
            f"text {how.name}: {path.name} cannot encode it, {reason}"
        ) from None
    if not found.ids:
        raise InvalidInputError(f"text {how.name}: expected a text, got no tokens")
    return _padded(Tokens(np.array(found.ids), _shown(text, found), how.name), into, path)


def _tokenizer(path: Path) -> Tokenizer:
    if importlib.util.find_spec("tokenizers") is None:
        raise InvalidInputError(INSTALL)
    check_regular(path, "tokenizer", _MOST_BYTES)
    return _loaded(str(path))


@while_unchanged(2)
def _loaded(path: str) -> Tokenizer:
    try:
        found = import_module("tokenizers").Tokenizer.from_file(path)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InvalidInputError(
            f"tokenizer {path}: expected a tokenizer.json of the tokenizers library, {reason}"
        ) from None
    # A text as long as it is: what is cut off or added is decided by the model's length.
    found.no_truncation()
    found.no_padding()
    return found


def _shown(text: str, found: Encoding) -> tuple[Token, ...]:
    """Each token's own part of the text, and whether a space stands ahead of it."""
    tokens, end = [], 0
    columns = found.tokens, found.offsets, found.special_tokens_mask, found.word_ids
    for name, (first, last), special, word in zip(*columns, strict=True):
        part = text[first:last].strip()
        if special or not part:
            tokens.append(Token(shown(name), special=True))
            continue
        first += len(text[first:last]) - len(text[first:last].lstrip())
        joined = bool(tokens) and first <= end and not tokens[-1].special
        tokens.append(Token(shown(part), joined, word=word))
        end = last
    return tuple(tokens)


def _padded(thing: Tokens, into: ModelInput, path: Path) -> Tokens:
    length = None if into.shape is None else into.shape[1]
    count = len(thing.ids)
    if not isinstance(length, int) or length < 1 or length == count:
        return thing
    if count > length:
        raise InvalidInputError(
            f"text {thing.name}: expected at most {counted(length, 'token')}, as the model's input "
            f"{into.name!r} has, got {count}"
        )
    pad = _special_id(path, _PADS)
    if pad is None:
        raise InvalidInputError(
            f"text {thing.name}: expected {counted(length, 'token')}, got {count}, and {path.name} "
            "has no token to pad with"
        )
    return thing._replace(ids=np.append(thing.ids, np.full(length - count, pad)))


def _special_id(path: Path, names: tuple[str, ...]) -> int | None:
    return _special_ids(str(path)).get(names[0])


@while_unchanged(4)
def _special_ids(path: str) -> dict[str, int]:
    """The ids of padding and of the mask by `_PADS[0]` and `_MASKS[0]`, of those that there are."""
    check_regular(path, "tokenizer", _MOST_BYTES)
    content = parse_json(Path(path).read_bytes(), f"tokenizer {path}")
    content = content if isinstance(content, Mapping) else {}
    known: dict[str, int] = {}
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, Mapping) else None
    if isinstance(vocabulary, Mapping):
        known |= {name: vocabulary[name] for name in (*_PADS, *_MASKS) if name in vocabulary}
    for one in content.get("added_tokens") or ():
        if isinstance(one, Mapping) and isinstance(one.get("content"), str):
            known[one["content"]] = one.get("id", -1)
    padding = content.get("padding")
    found = {}
    for names in (_PADS, _MASKS):
        ids = [known[name] for name in names if name in known]
        if names is _PADS and isinstance(padding, Mapping):
            ids = [padding.get("pad_id"), *ids]
        whole = [i for i in ids if isinstance(i, int) and i >= 0]
        found |= {names[0]: whole[0]} if whole else {}
    return found


def _id_of(into: ModelInput, names: tuple[str, ...]) -> int | None:
    path = _path(into)
    return None if path is None else _special_id(path, names)


def _pad(into: ModelInput, thing: Any) -> np.ndarray:
    """Nothing but padding, as ids."""
    del thing
    return _row_of(into, _PADS, "to pad with")


def _mask(into: ModelInput, thing: Any) -> np.ndarray:
    """Nothing but the token that stands for a word that is hidden, as ids."""
    del thing
    return _row_of(into, _MASKS, "that hides a word")


def _row_of(into: ModelInput, names: tuple[str, ...], what: str) -> np.ndarray:
    found = _id_of(into, names)
    if found is None:
        raise InvalidInputError(f"baseline: the tokenizer has no token {what}, such as {names[0]}")
    return np.full((1, 1), found, np.int64)


def _default_baseline(into: ModelInput) -> str | None:
    try:
        return None if _id_of(into, _PADS) is None else "pad"
    except InvalidInputError:
        return None  # who reads a text says what is wrong with the tokenizer


def _filled(into: ModelInput, name: str, x: np.ndarray) -> np.ndarray | None:
    """Masks: 0 at the padding behind a text, else 1; types: 0; positions: from 0."""
    if name in _TYPE_INPUTS:
        return np.zeros_like(x)
    if name == "position_ids":
        return np.broadcast_to(np.arange(x.shape[-1]), x.shape)
    if name not in _MASK_INPUTS:
        return None
    pad = _id_of(into, _PADS)
    if pad is None:
        return np.ones_like(x)
    behind = np.logical_and.accumulate((x == pad)[:, ::-1], axis=1)[:, ::-1]
    # A text of padding alone, as a baseline is, has no end.
    return np.where(behind & ~behind.all(axis=1, keepdims=True), 0, 1)


def _fit(thing: Tokens, into: ModelInput) -> np.ndarray:
    del into
    return thing.ids[None]


def _features(card: Card, shape: Shape) -> Features | None:
    del shape
    check_keys(card.settings, KEYS)
    name = card.settings.get("tokenizer", FILE)
    if not isinstance(name, str) or not name:
        raise InvalidInputError(
            f"'tokenizer': expected the name of a file beside the model, got {json.dumps(name)}"
        )
    return None


def _view(thing: Tokens, into: ModelInput) -> Picture:
    del into
    return words(thing.shown, len(thing.ids) - len(thing.shown))


def _named(thing: Tokens, values: np.ndarray) -> list[tuple[str, float]]:
    """The words of a text, each with the sum of its tokens."""
    found: list[tuple[str, float]] = []
    before = None
    for token, value in zip(thing.shown, values.reshape(-1).tolist(), strict=False):
        if token.word is not None and token.word == before:
            text, own = found.pop()
            found.append((text + token.text, own + value))
        else:
            found.append((token.text, value))
        before = token.word
    return found


def _draw(values: np.ndarray, into: ModelInput, method: str, **how: Any) -> Heatmap:
    del into
    return words_map(np.asarray(values, np.float64).reshape(-1), method, **how)


KIND = InputKind(
    name="text",
    title="a text",
    suffixes=_suffixes,
    takes=_takes,
    read=_read,
    fit=_fit,
    tensor=array.tensor,
    features=_features,
    view=_view,
    draw=_draw,
    baselines={"zeros": Named(array.zeros), "pad": Named(_pad), "mask": Named(_mask)},
    refuse=_refuse,
    default_baseline=_default_baseline,
    filled=_filled,
    named=_named,
    place=80,
)
