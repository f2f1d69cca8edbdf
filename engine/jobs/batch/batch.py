"""A batch: every image of a source by every method and target, as rows in a folder of shards."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from ....models.text import counted
from ...files.writing import reason_of, sweep, writable_folder, write_whole
from ...records.manifest import agree, locked, shard_path
from ...records.row import Row
from ...running.stopping import check_stopped
from ...running.workers import usable_cores
from ..asked import Options
from .finding import find_source
from .items import Source, SourceLostError
from .pipeline import ProcessesEndedError, answers
from .question import Form, Question, question_for
from .shards import failures_in, schema_of, write_shard
from .work import PICTURES, Answer

IMAGES_OF_A_SHARD = 512
# Errors that are told one by one; all of them are in the rows.
_MOST_TOLD = 10
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Running:
    """How a batch is run, which changes no row.

    Attributes:
        resume: go on where an earlier run of the same question has stopped.
        shard: images of a shard.
        workers: processes that explain; None: one for each core, or for a device one; 0: all is
            done in this process.
        decoders: processes that decode; None: 0 on a CPU, whose cores are all busy as it is (those
            that explain decode, too), and the cores less one for a device.
        column: of a table.
    """

    resume: bool = False
    shard: int = IMAGES_OF_A_SHARD
    workers: int | None = None
    decoders: int | None = None
    column: str | None = None


@dataclass
class Report:
    """What a batch did.

    Attributes:
        images: in the source.
        resumed: of those, in shards that were there already.
        done: images that this run has finished, in shards that are there.
        failed: rows with an error, in all shards that are there.
        errors: the first of this run's.
        damages: images of this run that were explained though their files are damaged.
        damaged: the first of them, and what is wrong.
        shards: that are there, of how many.
        seconds: that explaining took.
        notes: what there is to say, for people.
        stopped: why not all was done, or None.
    """

    images: int
    resumed: int = 0
    done: int = 0
    failed: int = 0
    errors: list[str] = field(default_factory=list)
    damages: int = 0
    damaged: list[str] = field(default_factory=list)
    shards: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    stopped: str | None = None

    @property
    def status(self) -> int:
        """0: all done; 1: some of it; 2: nothing could be written."""
        if self.stopped is not None and not self.shards[0]:
            return 2
        return 1 if self.failed or self.stopped is not None else 0


def explain_batch(
    model: str,
    source: str,
    folder: str,
    options: Options,
    form: Form,
    running: Running | None = None,
    progress: Progress | None = None,
) -> Report:
    """Explain all images of a source, and write a row for each image, method and target.

    Rows are in the source's order, and an image's are the same whatever is explained beside it, so
    that a shard's bytes depend on its images and the question alone.

    Args:
        model: path of the model.
        source: see `find_source`.
        folder: where shards are written; made if missing.
        options: methods, targets and so on.
        form: how attributions are stored.
        running: how it is run.
        progress: called with a text and the fraction that is done.

    Raises:
        UnsupportedModelError: the model cannot be read or explained.
        InvalidInputError: a wrong option, no images, or a folder of other shards.
        OSError: the manifest cannot be written.
    """
    running = running or Running()
    tell = progress or (lambda text, done: None)
    tell("looking for images", 0.0)
    found = find_source(source, running.column, folder)
    tell("reading the model", 0.0)
    question, notes = question_for(model, options, form)
    directory = writable_folder(folder)
    lock = locked(directory)
    try:
        job = _Job(found, question, directory, running, tell, notes)
        job.run()
        return job.report
    finally:
        sweep(directory, alone=True)
        sweep(directory / PICTURES, alone=True)
        lock.release()


class _Job:
    """One call of `explain_batch`, whose folder is locked."""

    def __init__(
        self,
        source: Source,
        question: Question,
        folder: Path,
        running: Running,
        tell: Progress,
        notes: list[str],
    ):
        self._source, self._folder, self._running, self._tell = source, folder, running, tell
        self._workers, self._decoders, threads = _shared_out(question, running)
        self._question = replace(question, options=replace(question.options, threads=threads))
        facts = {
            **question.facts,
            "source_sha256": source.digest,
            "images": source.count,
            "shard": running.shard,
        }
        done = agree(folder, facts, running.resume)
        self._schema = schema_of(question, facts)
        sweep(folder, alone=True)
        self._pictures = None
        if question.form.pictures:
            self._pictures = writable_folder(folder / PICTURES)
            sweep(self._pictures, alone=True)
        shards = -(-source.count // running.shard)
        self.report = Report(source.count, shards=(done, shards), notes=notes)
        self.report.resumed = min(done * running.shard, source.count)
        self.report.failed = sum(failures_in(shard_path(folder, k)) for k in range(done))

    def run(self) -> None:
        """Write all shards that are missing, in order."""
        began = time.perf_counter()
        done, shards = self.report.shards
        rows = self._rows(self.report.resumed, began)
        try:
            for number in range(done, shards):
                first = number * self._running.shard
                count = min(self._running.shard, self._source.count - first)
                self._write(number, islice(rows, count))
                self.report.done += count
                self.report.shards = (number + 1, shards)
        except OSError as error:
            self._stop(f"cannot write {reason_of(error)}")
        except (SourceLostError, ProcessesEndedError) as error:
            self._stop(str(error))
        finally:
            rows.close()
            self.report.seconds = time.perf_counter() - began

    def _write(self, number: int, images: Iterator[list[Row]]) -> None:
        failed: list[str] = []

        def counted() -> Iterator[Row]:
            for row in chain.from_iterable(images):
                if row.error is not None:
                    failed.append(row.error)
                yield row

        path = shard_path(self._folder, number)
        write_whole(path, lambda file: write_shard(file, counted(), self._schema))
        self.report.failed += len(failed)
        room = _MOST_TOLD - len(self.report.errors)
        self.report.errors += failed[: max(room, 0)]

    def _rows(self, start: int, began: float) -> Generator[list[Row]]:
        """The rows of each image from one on."""
        pictures = None if self._pictures is None else os.fspath(self._pictures)
        found = answers(
            self._source.read(start), self._question, pictures, self._workers, self._decoders
        )
        with contextlib.closing(found):
            for number, answer in enumerate(found, start + 1):
                check_stopped()
                if answer.missing:
                    # One that is gone is an error of its own; all of them are not.
                    self._source.check()
                if answer.damage is not None:
                    self._note_damage(answer)
                rate = (number - start) / max(time.perf_counter() - began, 1e-9)
                text = f"{number} of {counted(self._source.count)}, {rate:.1f} a second"
                self._tell(text, number / self._source.count)
                yield answer.rows

    def _note_damage(self, answer: Answer) -> None:
        self.report.damages += 1
        if len(self.report.damaged) < _MOST_TOLD:
            name = answer.rows[0].image if answer.rows else ""
            self.report.damaged.append(
                f"image {name}: {answer.damage}; explained as far as it goes (--strict refuses it)"
            )

    def _stop(self, why: str) -> None:
        done, of = self.report.shards
        self.report.stopped = (
            f"{why}; stopped, with {done} of {counted(of, 'shard')} there (--resume goes on)"
        )


def _shared_out(question: Question, running: Running) -> tuple[int, int, int]:
    """Workers, decoders, and ONNX Runtime's threads in each worker.

    A worker for each core, of one thread each, does more than one of many threads: those of ONNX
    Runtime spin while they wait for each other. EfficientNet-Lite0 takes 10.4 ms of CPU time for an
    image by Grad-CAM on one thread and 22 on two. The numbers are the same, bit for bit: it shares
    out what is computed, and not the terms of a sum.
    """
    cores = usable_cores()
    on_cpu = question.options.provider == "cpu"
    workers, decoders = running.workers, running.decoders
    if workers is None:
        workers = cores if on_cpu else 1
    if decoders is None:
        decoders = 0 if on_cpu or not workers else max(1, cores - workers)
    threads = question.options.threads or max(1, cores // max(workers, 1))
    return workers, decoders, threads
