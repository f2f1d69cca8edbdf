"""Limits hold in each thread and task by themselves."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from support.hostile_constants import parsed

import onnxplain
from onnxplain import Limits
from onnxplain.engine.running.workers import side_by_side
from onnxplain.graph_passes.graph.limits import in_force, within

X = np.ones((1, 4), np.float32)


def chain(nodes: int, seed: int = 0) -> bytes:
    body = f"t0 = LeakyRelu <alpha = 0.{seed + 1}> (x) "
    body += " ".join(f"t{k} = Relu (t{k - 1})" for k in range(1, nodes - 1))
    return parsed(f"{body} y = Identity (t{nodes - 2})").SerializeToString()


def built(nodes: int, seed: int, most: int) -> str:
    """What comes of a model of so many nodes under a limit of so many."""
    try:
        explainer = onnxplain.Explainer(
            chain(nodes, seed), "saliency", providers="cpu", limits=Limits(nodes=most)
        )
    except onnxplain.UnsupportedModelError as error:
        return str(error)
    explainer(X, 0)
    assert in_force() == Limits()
    return "explained"


def test_two_explainers_at_once() -> None:
    """Each is held to its own limits, whoever builds beside it; also where it runs later."""
    start, found = threading.Barrier(4), {}

    def work(most: int, seed: int) -> None:
        start.wait()
        found[most, seed] = [built(12, seed, most) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(m, s)) for m in (9, 100) for s in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for (most, _), results in found.items():
        for result in results:
            assert ("expected at most 9, got 12" in result) == (most == 9), result


def test_two_tasks_at_once() -> None:
    """A task that waits inside its limits leaves those of the others alone."""

    async def held(most: int, turns: int) -> list[int]:
        seen = []
        with within(Limits(nodes=most)):
            for _ in range(turns):
                seen.append(in_force().nodes)
                await asyncio.sleep(0)
        return [*seen, in_force().nodes]

    async def both() -> list[list[int]]:
        return await asyncio.gather(held(7, 4), held(900, 3))

    first, second = asyncio.run(both())
    assert first == [7, 7, 7, 7, Limits().nodes] and second == [900, 900, 900, Limits().nodes]


@pytest.mark.parametrize("at_once", [1, 2])
def test_jobs_side_by_side_have_the_limits_of_who_asked(at_once: int) -> None:
    with within(Limits(loop_seconds=77)):
        assert [*side_by_side([lambda: in_force().loop_seconds] * 3, at_once)] == [77] * 3
    assert [*side_by_side([lambda: in_force().loop_seconds] * 3, at_once)] == [15] * 3


def test_a_model_made_later_is_held_to_the_explainers_own_limits() -> None:
    """`model` and `export` build when they are asked, outside of the constructor."""
    seen = []
    data = chain(12)
    explainer = onnxplain.Explainer(data, "saliency", providers="cpu", limits=Limits(nodes=123_456))
    plan = explainer._default_plan

    class Watched:
        def contract_model(self, several: int):
            seen.append(in_force().nodes)
            return plan.contract_model(several)

    explainer._default_plan = Watched()  # type: ignore[assignment]
    assert explainer.model.graph.node and seen == [123_456]


def test_sizes_that_the_file_leaves_open_count_as_they_are_handed_in() -> None:
    """A map of all positions by all: as many bytes as the square of the input's."""
    model = parsed(
        "f = Flatten (x) u = Unsqueeze (f, two) v = Unsqueeze (f, one_) p = Mul (u, v) "
        "y = ReduceMean <keepdims = 0> (p, two)",
        ", int64[1] two = {2}, int64[1] one_ = {1}",
        shape="N, 1, H, W",
    )
    explainer = onnxplain.Explainer(
        model, "saliency", providers="cpu", limits=Limits(activations_bytes=10_000_000)
    )
    assert explainer(np.ones((2, 1, 20, 20), np.float32), 0).attribution.shape == (2, 1, 20, 20)
    for work in (explainer, explainer.scores):
        with pytest.raises(
            onnxplain.UnsupportedModelError,
            match=r"bytes of all tensors for inputs of .*200.*--limit activations_bytes=N",
        ):
            work(np.ones((1, 1, 200, 200), np.float32), 0)
