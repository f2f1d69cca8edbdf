"""ONNX's own node tests: how many gradients are right, refused and wrong."""

from __future__ import annotations

from collections import Counter

from support.node_suite import judge, node_tests
from support.often import often

# Every fifth by day: the tests of an operator stand together.
STEP = often(5, 1)
# What the installed onnx package's tests came to when this was last raised.
LEAST_RIGHT = {1: 960, 5: 196}[STEP]


def test_node_suite(capsys) -> None:
    """No gradient is wrong, every refusal is a sentence, and no fewer are right than before."""
    verdicts = {test.name: judge(test) for test in list(node_tests())[::STEP]}
    counts = Counter(verdict.kind for verdict in verdicts.values())
    line = ", ".join(f"{counts[kind]} {kind}" for kind in ("right", "refused", "wrong"))
    with capsys.disabled():
        print(f"\nONNX node tests: {line}")
    wrong = {name: verdict.reason for name, verdict in verdicts.items() if verdict.kind == "wrong"}
    assert not wrong
    refusals = [verdict.reason for verdict in verdicts.values() if verdict.kind == "refused"]
    assert all(len(reason) > 20 and "\n" not in reason for reason in refusals)
    assert counts["right"] >= LEAST_RIGHT
