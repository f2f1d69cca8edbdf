"""The rows of a batch: which go together, and how their results are joined again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ... import InvalidInputError, OnnxplainError, UnsupportedModelError
from ...graph_passes import finish
from ...graph_passes.graph.dims import same_dim
from ...graph_passes.select.rows.places import Lost, Place, join_rows
from ...graph_passes.select.subject import Subject
from ...models.text import counted
from ..targets.asking import Asked
from ..targets.target import Target, fed, settled
from .adaptive import Progress
from .apart import Run, check_apart
from .plan import Plan
from .settings import Settings

# Inputs that go through a graph at once where there is much to fill, so that memory stays bounded
# for any number of them. On a CPU each method says how many, so that the caches hold what one
# operator hands to the next: DeepLIFT, which carries two activations, took 1.1 to 1.3 times as long
# for each of 2 to 16 inputs at once as for one.
_MOST_AT_ONCE = 8


def batch_size(subject: Subject, settings: Settings, kind: str, adaptive: bool, count: int) -> int:
    """How many of N inputs go through the graph at once; `kind` and `adaptive` are a plan's.

    Raises:
        InvalidInputError: N is no multiple of the batch that the file fixes.
    """
    fixed = subject.batch
    if isinstance(fixed, int):
        if count % fixed:
            raise InvalidInputError(
                f"the model takes exactly {counted(fixed, 'input')} at a time, got {count}"
            )
        return fixed
    # Inputs with points of their own share no pass, unless the file demands it.
    if adaptive:
        return 1
    return min(count, settings.method.at_once if kind == "cpu" else _MOST_AT_ONCE)


def check_rows(subject: Subject, feeds: Mapping[str, np.ndarray], count: int) -> None:
    """Refuse explained inputs of different batches.

    Raises:
        InvalidInputError: one has another number of rows than the first.
    """
    for source in subject.sources[1:]:
        array = feeds[source.input.name]
        if array.shape[:1] != (count,):
            raise InvalidInputError(
                f"input {source.input.name!r}: expected {counted(count, 'row')}, as many as "
                f"{subject.input.name!r} has, got an array of {list(array.shape)}"
            )


def with_rows(
    subject: Subject, feeds: Mapping[str, np.ndarray], count: int
) -> tuple[set[str], bool]:
    """The feeds with a row for each of N inputs, and whether the file is sure of that.

    It is not where a further input has the batch on another axis, or has N elements on the first,
    but another name for them: a table that all rows share, say.
    """
    explained = {source.input.name for source in subject.sources}
    given = {t.name: t.shape or [None] for t in subject.graph.inputs}
    batch, rowed, sure = subject.batch, set(), True
    for name, array in feeds.items():
        if name in given and name not in explained:
            first, *rest = given[name]
            sure = sure and not any(same_dim(dim, batch) for dim in rest)
            if isinstance(first, int) and first != batch:
                continue
            sure = sure and (same_dim(first, batch) or array.shape[:1] != (count,))
        if array.shape[:1] == (count,):
            rowed.add(name)
    return rowed, sure or count == 1


def rows_of(feeds: Mapping[str, np.ndarray], rowed: set[str], rows: slice) -> dict[str, np.ndarray]:
    """These rows of what has rows, and all of the rest, as arrays that ONNX Runtime takes."""
    return {
        name: np.asarray(v[rows] if name in rowed else v, order="C") for name, v in feeds.items()
    }


def all_alike(arrays: Sequence[np.ndarray]) -> bool:
    """Whether N rows are one input N times, as callers write it to ask for N targets of it.

    Their forward passes are one then: five Grad-CAM targets of EfficientNet-Lite0 take 1.2 forward
    passes instead of 5.
    """
    return all((array == array[:1]).all() for array in arrays)


def may_be_shared(subject: Subject) -> bool:
    """Whether equal rows may go through the graph as one: nothing depends on how many there are."""
    constants = any(rows is None for rows in subject.rows.values())
    return not isinstance(subject.batch, int) and not constants and subject.coupled is None


def size_of_coupled(subject: Subject, count: int, size: int) -> int:
    """Rows that go at once: `size`, or fewer where they may not be apart.

    Raises:
        UnsupportedModelError: several rows whose scores depend on each other.
    """
    lost, fixed = subject.coupled, subject.batch
    if lost is None or count == 1:
        return size
    if lost.kind == "mixed" or (lost.kind == "quantiser" and isinstance(fixed, int)):
        raise UnsupportedModelError(
            f"the rows of {subject.input.name!r} are not explained apart: {lost.reason}; "
            "explain one row at a time, or export the model with a batch of 1"
        )
    return fixed if isinstance(fixed, int) else 1


def joined(
    subject: Subject,
    name: str,
    parts: Sequence[np.ndarray],
    whole: Mapping[str, np.ndarray],
    file: Run,
) -> np.ndarray:
    """One result of all batches.

    Args:
        subject: what is explained.
        name: of the result.
        parts: of each batch.
        whole: what the model was given of all rows.
        file: runs the model as it was given.
    """
    if len(parts) == 1:
        return parts[0]
    rows = subject.rows.get(name, Place(0))
    if isinstance(rows, Place):
        return join_rows(rows, [np.atleast_1d(part) for part in parts])
    if rows is None and all(np.array_equal(parts[0], part) for part in parts):
        return parts[0]
    if isinstance(rows, Lost) and rows.kind == "quantiser":
        return np.concatenate([np.atleast_1d(part) for part in parts])
    fixed = subject.batch
    if isinstance(fixed, int):
        # The file takes no more at once: what it returns of each goes side by side.
        rowed = all(np.shape(part)[:1] == (fixed,) for part in parts)
        return np.concatenate(parts) if rowed else np.stack(parts)
    # Where its rows are is not known: the file itself says it.
    return file(whole, [name])[name]


def share_of(report: Progress | None, index: int, of: int) -> Progress:
    """Progress of one batch, told as part of all batches."""

    def tell(done: int, passes: int) -> None:
        if report is not None:
            report(index * passes + done, of * passes)

    return tell


class Parted(NamedTuple):
    """How the rows of a call go through a plan.

    Attributes:
        batches: their rows, or targets.
        fed: what they are fed, all of it.
        rowed: the names in `fed` of what has rows.
        size: rows, or targets of one row, in a batch.
        shared: whether there is one row for all targets, whose forward pass they share.
        alike: of how many equal rows that one stands for; 0: of itself.
        whole: what the model was given of all rows.
        targets: what is asked for, one for each row or for the one row.
        own: the inputs that have a row for each of N.
        inputs: N.
    """

    batches: list[slice]
    fed: dict[str, np.ndarray]
    rowed: set[str]
    size: int
    shared: bool
    alike: int
    whole: dict[str, np.ndarray]
    targets: Asked
    own: set[str]
    inputs: int

    def given(self, index: int) -> dict[str, np.ndarray]:
        """What one batch is fed; made when it is its turn, for it may be a copy."""
        rows = self.batches[index]
        return rows_of(self.fed, self.rowed, rows)

    def asked(self, index: int) -> Asked:
        """What is asked for of one batch."""
        return self.targets.of(self.batches[index])

    def holding(self, row: int, targets: Sequence[Target]) -> dict[str, np.ndarray]:
        """What the batch with this row of the attributions is fed, its targets, too."""
        subject, index = self.targets.about.subject, min(row // self.size, len(self.batches) - 1)
        own = targets[row : row + 1] if self.shared else targets[self.batches[index]]
        return self.given(index) | fed(subject, own)


def parted(
    subject: Subject,
    settings: Settings,
    plan: Plan,
    feeds: Mapping[str, np.ndarray],
    baselines: Mapping[str, np.ndarray],
    targets: Asked,
    count: int,
    several: bool,
) -> Parted:
    """Part the rows of a call into batches.

    Args:
        subject: what is explained.
        settings: how.
        plan: what runs.
        feeds: the model's inputs.
        baselines: in the graph's shapes; with `several` they are a set, and have no rows.
        targets: of N inputs, or K of one row.
        count: N.
        several: whether the baselines are a set.

    Raises:
        UnsupportedModelError: several rows whose scores depend on each other.
        InvalidInputError: N is no multiple of the batch that the file fixes.
    """
    alone = _is_one_sample(subject, feeds, count)
    if alone and len(targets) > 1:
        raise InvalidInputError(
            f"the rows of {subject.input.name!r} are one sample, which is explained for one target "
            f"at a time, got {len(targets)}"
        )
    size = 1 if alone else batch_size(subject, settings, plan.kind, plan.apart, count)
    rowed, sure = with_rows(subject, feeds if several else {**feeds, **baselines}, count)
    fed = {**feeds, **baselines}
    if not sure and not isinstance(subject.batch, int):
        size = count
    size = size_of_coupled(subject, count, size)
    free = may_be_shared(subject) and sure and count > 1
    alike = free and all_alike([fed[name] for name in rowed])
    whole, own = dict(fed), rowed
    # What the answer tells may be several targets of the only input.
    shared = alike or len(targets) > count or (count == 1 and targets.known is None)
    if shared:
        fed, size, rowed = rows_of(fed, rowed, slice(1)), len(targets), set()
    batches = [slice(first, first + size) for first in range(0, len(targets), size)]
    return Parted(
        batches, fed, rowed, size, shared, count if alike else 0, whole, targets, own, count
    )


def _is_one_sample(subject: Subject, feeds: Mapping[str, np.ndarray], count: int) -> bool:
    """Whether all rows are one sample; see `samples_in`."""
    return count == 1 and np.shape(feeds[subject.input.name])[:1] not in ((), (1,))


def _check_whole(subject: Subject, plan: Plan, parts: Parted, results: Mapping) -> None:
    """Refuse a method that takes the first axis of a sample for its rows.

    Raises:
        UnsupportedModelError: the attributions are not of the inputs' shape.
    """
    for key, name in plan.attributions.items():
        if results[key].shape != parts.whole[name].shape:
            raise UnsupportedModelError(
                f"{plan.method} needs a batch axis; the rows of {name!r} are one sample"
            )


def run_parts(
    subject: Subject,
    plan: Plan,
    parts: Parted,
    file: Run,
    progress: Progress | None,
    blame: Callable[[OnnxplainError], OnnxplainError],
) -> tuple[dict[str, np.ndarray], list[Target]]:
    """The results of all batches, joined, and the targets that they are of.

    Args:
        subject: what is explained.
        plan: what runs.
        parts: the batches.
        file: runs the model as it was given.
        progress: called with (passes done, passes in all).
        blame: what to raise for an error of the graph.

    Raises:
        UnsupportedModelError: the first axis of the input is not the batch, or rows depend on each
            other.
    """
    check_apart(subject, parts.whole, parts.own, parts.inputs, file)
    run = plan.run_shared if parts.shared else plan.run
    done, targets = [], []
    for index in range(len(parts.batches)):
        share = share_of(progress, index, len(parts.batches))
        try:
            results, found = run(parts.given(index), parts.asked(index), share)
        except OnnxplainError as error:
            raise blame(error) from error
        done.append(results)
        targets += found
    join = partial(joined, subject, whole=parts.whole, file=file)
    # Each part is let go once it is joined.
    results = {k: join(k, [part.pop(k) for part in done]) for k in [*done[0]]}
    if _is_one_sample(subject, parts.whole, parts.inputs):
        _check_whole(subject, plan, parts, results)
    targets = settled(subject, targets, results[finish.RESOLVED_PLACES])
    if len(results[finish.SCORE]) != len(targets):
        raise UnsupportedModelError(
            f"{counted(len(targets), 'row')} of {subject.input.name!r} gave "
            f"{counted(len(results[finish.SCORE]), 'score')}: "
            "its first axis is not the batch"
        )
    if parts.alike:
        own = [tensor.name for tensor in subject.graph.outputs]
        results |= {k: join(k, [results[k]] * parts.alike) for k in own}
    return results, targets
