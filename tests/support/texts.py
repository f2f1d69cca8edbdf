"""A small classifier of token ids, and a tokenizer.json beside it, written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from .small import INT64, node, small, value

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "act", "##ing", "."]
TABLE = np.random.default_rng(7).normal(size=(len(WORDS), 4)).astype(np.float32)
W = np.random.default_rng(8).normal(size=(4, 2)).astype(np.float32)


def tokenizer(pad: str | None = "[PAD]") -> dict:
    """As the tokenizers library writes a WordPiece of BERT."""
    names = [w for w in WORDS if w.startswith("[") and (pad or w != "[PAD]")]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": WORDS.index(w), "content": w, "special": True, **flags} for w in names]
    vocabulary = {w: k for k, w in enumerate(WORDS) if pad or w != "[PAD]"}
    ends = {w: {"id": w, "ids": [WORDS.index(w)], "tokens": [w]} for w in ("[CLS]", "[SEP]")}
    single = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    pieces = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    bert = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None}
    return {
        "version": "1.0",
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0,
                       "direction": "Right"},
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", **bert, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": single,
                           "special_tokens": ends},
        "decoder": None,
        "model": {**pieces, "max_input_chars_per_word": 100, "vocab": vocabulary},
    }  # fmt: skip


def classifier(length: int | str = "T", masked: bool = True) -> onnx.ModelProto:
    """y = (sum of the embeddings under the mask) W: an embedding's part of a score is its own."""
    nodes = [node("Gather", ["table", "input_ids"], ["e"])]
    last = "e"
    if masked:
        nodes += [
            node("Cast", ["attention_mask"], ["m"], to=1),
            node("Unsqueeze", ["m", "two"], ["m2"]),
            node("Gather", ["types", "token_type_ids"], ["t"]),
            node("Add", ["e", "t"], ["et"]),
            node("Mul", ["et", "m2"], ["em"]),
        ]
        last = "em"
    nodes += [
        node("ReduceSum", [last, "one"], ["p"], keepdims=0),
        node("MatMul", ["p", "w"], ["y"]),
    ]
    weights = {"table": TABLE, "w": W, "one": np.array([1]), "two": np.array([2])}
    weights |= {"types": np.stack([np.zeros(4), np.full(4, 1e6)]).astype(np.float32)}
    names = ["input_ids", "attention_mask", "token_type_ids"][: 3 if masked else 1]
    inputs = [value(name, ["N", length], INT64) for name in names]
    return small(nodes, inputs, [value("y", ["N", 2])], weights)


def write_text_model(folder: Path, length: int | str = "T", masked: bool = True) -> Path:
    """The model and its tokenizer; the library is needed to read texts."""
    pytest.importorskip("tokenizers", reason="texts need onnxplain[text]")
    onnx.save(classifier(length, masked), folder / "model.onnx")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    return folder / "model.onnx"
