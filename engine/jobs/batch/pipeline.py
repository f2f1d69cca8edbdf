"""Reading, decoding, explaining and writing at the same time, by several processes, in order."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Any

from .... import OnnxplainError
from .items import Item
from .processes import Pool, ProcessEndedError, serve, start_method
from .question import Question
from .rows import failed_row
from .work import (
    Answer,
    Decoded,
    Explaining,
    begin,
    decode,
    decode_all,
    decode_and_explain,
    explain_all,
)

# Images that go through a process together: sending them costs little then, and there is little to
# do again where a process ends.
_CHUNK, _CHUNK_WITH_PICTURES = 8, 2
# Bytes of a chunk, and of all that are on their way, at which no more are added.
_MOST_OF_A_CHUNK, _MOST_AHEAD = 2**24, 2**28
# Images in a row whose process has ended by itself: then it is not the images.
_MOST_ENDED = 3


class ProcessesEndedError(OnnxplainError):
    """Processes end by themselves, whatever they are given."""


def answers(
    items: Iterable[Item], question: Question, folder: str | None, workers: int, decoders: int
) -> Generator[Answer]:
    """The answer to each item, in order.

    At any time a fixed number of images is in flight, however many there are in all.

    Args:
        items: in order; read as they are needed.
        question: what is asked.
        folder: where pictures go.
        workers: processes that explain; 0: this one does all of it.
        decoders: processes that decode; 0: those that explain do that, too.

    Raises:
        OnnxplainError: the model can no longer be opened, or processes end whatever they are given.
        OSError: a picture cannot be written.
    """
    if not workers:
        explaining = Explaining(question, folder)
        for chunk in _chunks(items, _CHUNK):
            yield from explaining.all_of([decode(item, question) for item in chunk])
        return
    chunks = _chunks(items, _CHUNK_WITH_PICTURES if question.form.pictures else _CHUNK)
    pools = _Pools(question, folder, workers, decoders)
    try:
        yield from _in_order(chunks, pools, 3 * workers + 2 * decoders)
    finally:
        pools.close()


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """So many items at a time, or fewer where they are large."""
    chunk: list[Item] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size or _bytes(chunk) >= _MOST_OF_A_CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _bytes(chunk: Sequence[Item]) -> int:
    return sum(item.size for item in chunk)


def _in_order(chunks: Iterator[list[Item]], pools: _Pools, ahead: int) -> Iterator[Answer]:
    """Keep `ahead` chunks on their way, and give out what comes back in order."""
    pending: deque[tuple[list[Item], Future[list[Answer]]]] = deque()
    ended = 0
    while True:
        while (
            len(pending) < ahead
            and sum(_bytes(chunk) for chunk, _ in pending) < _MOST_AHEAD
            and (chunk := next(chunks, None)) is not None
        ):
            pending.append((chunk, pools.submit(chunk)))
        if not pending:
            return
        chunk, answered = pending[0]
        try:
            found = answered.result()
        except ProcessEndedError:
            # Which image it was nobody knows: they go again, one by one and with nothing beside
            # them, since what they lacked may have been memory.
            wait([other for _, other in pending])
            for item in chunk:
                answer = pools.alone(item)
                ended = 0 if answer is not None else ended + 1
                if ended > _MOST_ENDED:
                    raise ProcessesEndedError(
                        "processes end by themselves, whatever image they are given (is there "
                        "enough memory?)"
                    ) from None
                error = f"image {item.name}: the process that explained it ended by itself"
                yield answer or Answer([failed_row(item.name, error)])
            pending.popleft()
            continue
        pending.popleft()
        yield from found


class _Pools:
    """Processes that decode, and processes that explain."""

    def __init__(self, question: Question, folder: str | None, workers: int, decoders: int):
        if start_method() == "forkserver":
            multiprocessing.set_forkserver_preload([begin.__module__])
        task = explain_all if decoders else decode_and_explain
        self._workers = Pool(workers, serve, task, begin, question, folder)
        self._decoders = None
        if decoders:
            self._decoders = Pool(decoders, serve, decode_all, begin, question, folder)

    def submit(self, chunk: Sequence[Item]) -> Future[list[Answer]]:
        """Send a chunk on its way."""
        if self._decoders is None:
            return self._workers.submit(chunk)
        answered: Future[list[Answer]] = Future()

        def explain(decoded: list[Decoded]) -> None:
            explaining = self._workers.submit(decoded)
            explaining.add_done_callback(lambda done: _then(done, answered.set_result, answered))

        decoding = self._decoders.submit(chunk)
        decoding.add_done_callback(lambda done: _then(done, explain, answered))
        return answered

    def alone(self, item: Item) -> Answer | None:
        """The answer to one item while nothing else is done; None where the process ends of it."""
        try:
            return self.submit([item]).result()[0]
        except ProcessEndedError:
            return None

    def close(self) -> None:
        """End all processes at once."""
        for pool in (self._workers, self._decoders):
            if pool is not None:
                pool.close()


def _then(done: Future[Any], go_on: Callable[[Any], object], answered: Future[Any]) -> None:
    """Go on with a result, or hand the error to whom waits for the end of it all."""
    try:
        go_on(done.result())
    except BaseException as error:
        answered.set_exception(error)
