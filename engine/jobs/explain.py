"""Explaining image files: pictures, arrays and one results.json."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ... import OnnxplainError
from ..checking.assumed import tell_assumed, tell_of_skipped
from ..files.members import stem_of
from ..files.writing import is_full, reason_of, sweep, writable_folder
from ..inspection import QUANTISED_RULE
from ..records.journal import Entry, Journal, JournalError
from ..records.keys import failure_key, key_of, real_path
from ..records.record import Failure, Json, Record, record_of_json
from ..reports.explain_page import Explained, Seen, explain_page, seen
from ..reports.html import MOST_IMAGES, REPORT_FILE, write_report
from ..running.stopping import check_stopped
from ..running.stopwatch import measured, phase
from .asked import Options
from .image_explainer import ImageExplainer
from .naming import names_of
from .provenance import image_stat
from .results import Output, Result, write_panel, write_result
from .sources import find_images

__all__ = ["Options", "Output", "Report", "explain_files"]

Progress = Callable[[str, float], None]
Done = Record | Failure


@dataclass(frozen=True)
class Report:
    """What a job did.

    Attributes:
        results: what it put on record: for each image, method and target, and for each image that
            failed.
        skipped: method -> why it was left out, where none was asked for in particular.
        resumed: how many images were on record already, with all that was asked for; None: it was
            not asked to leave them out.
        stopped: why nothing more could be written before all was done, or None.
        seconds: where the time went: seconds for each of `stopwatch.PHASES`, and OTHER.
    """

    results: list[Done]
    skipped: dict[str, str]
    resumed: int | None = None
    stopped: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def records(self) -> list[Json]:
        """The results as results.json has them; those of images that failed have an "error"."""
        return [one.to_json() for one in self.results]

    @property
    def explained(self) -> list[Record]:
        """The results but for failures."""
        return [one for one in self.results if isinstance(one, Record)]

    @property
    def failed(self) -> list[Failure]:
        """The images that failed."""
        return [one for one in self.results if isinstance(one, Failure)]

    @property
    def done(self) -> bool:
        """Whether anything was explained."""
        return bool(self.explained)

    @property
    def status(self) -> int:
        """0: all done; 1: some of it; 2: nothing could be written."""
        if self.stopped is not None and not self.done:
            return 2
        return 1 if self.failed or self.stopped is not None else 0

    @property
    def notes(self) -> list[str]:
        """What there is to say behind the results, for people to read.

        What was assumed is said before anything is explained; see `assumed`.
        """
        lines = []
        if self.resumed is not None:
            lines.append(f"images skipped, because their results are there: {self.resumed}")
        return lines + self.problems

    @property
    def problems(self) -> list[str]:
        """What went wrong, for people to read."""
        lines = [one.line for one in self.failed]
        return [*lines, *([] if self.stopped is None else [self.stopped])]


def explain_files(
    model: str | os.PathLike[str],
    images: Sequence[str],
    folder: str | os.PathLike[str],
    options: Options,
    progress: Progress | None = None,
    output: Output | None = None,
    on_image: Callable[[list[Done]], None] | None = None,
) -> Report:
    """Explain every image and write pictures, arrays and results.json; a bad image stops no other.

    What is finished is on record at once, in the folder's journal, and in results.json at the end,
    also when this ends by an exception. Records that are there of the same image, model, method,
    options and target are replaced; others stay.

    Args:
        model: path of the model.
        images: files, folders or glob patterns; see `sources.find_images`. A folder without images
            is a failure as a bad image is.
        folder: where to write; made if missing. Several processes may write to it.
        options: methods, targets and so on.
        progress: called with a text and the fraction of the whole work that is done.
        output: what is written and what is left out.
        on_image: called with the results of each image when it is done.

    Raises:
        UnsupportedModelError: the model cannot be read, or not be explained by a method that was
            asked for.
        InvalidInputError: a wrong option, labels that are not as many as the classes, a model
            whose input is no image, or a folder that cannot be written to.
        OSError: results.json cannot be written; the journal has what is finished.
    """
    with measured() as seconds:
        job = _Job(model, images, folder, options, progress, output or Output(), on_image)
        try:
            job.run()
            job.close()
        except BaseException:
            # Also when interrupted: what is written is on record.
            with contextlib.suppress(OSError):
                job.close()
            raise
    return replace(job.report(), seconds=seconds)


class _Job:
    """One call of `explain_files`."""

    def __init__(
        self,
        model: str | os.PathLike[str],
        images: Sequence[str],
        folder: str | os.PathLike[str],
        options: Options,
        progress: Progress | None,
        output: Output,
        on_image: Callable[[list[Done]], None] | None,
    ):
        self._tell = progress or (lambda text, done: None)
        self._on_image = on_image or (lambda results: None)
        self._output = output
        self._images = find_images(images, output.recursive)
        directory = writable_folder(folder)
        self._explainer = ImageExplainer(
            model, options, lambda text: self._tell(text, 0.0), files=self._images
        )
        tell_of_skipped(self._explainer.skipped)
        if self._explainer.file.quantised:
            tell_assumed(f"quantised model: {QUANTISED_RULE}")
        self._journal = Journal(directory)
        with self._journal.locked():
            sweep(directory)
        for image in self._images:
            # What is explained is not written over, whatever it is called.
            if Path(real_path(image.path)).parent == Path(real_path(str(directory))):
                self._journal.reserve(stem_of(image.path))
        self._names = names_of([image.path for image in self._images])
        self._results: list[Done] = []
        self._for_panel: list[Result] = []
        # What the report shows of images, which are read once.
        self._seen: dict[str, Seen] = {}
        # What was there before, where that is left out: the report shows it, too.
        self._on_record: list[Record] = []
        self._resumed = 0 if output.resume else None
        self._stopped: str | None = None

    def run(self) -> None:
        for number, image in enumerate(self._images):
            check_stopped()
            before = len(self._results)
            try:
                if image.problem is None:
                    self._explain(number, image.path)
                else:
                    self._fail(image.path, image.problem)
                if len(self._results) > before:
                    self._journal.write_results_if_cheap()
            except JournalError as error:
                self._stop(error)
            if len(self._results) > before:
                self._on_image(self._results[before:])
            if self._stopped is not None:
                return
        try:
            with phase("draw"):
                self._draw_all()
        except OSError as error:
            self._stop(error)

    def _draw_all(self) -> None:
        """What shows all images: the panel and the report."""
        folder = self._journal.folder
        if self._output.panel is not None and self._for_panel:
            write_panel(self._for_panel, folder / self._output.panel)
        if self._output.report:
            self._tell(REPORT_FILE, 1.0)
            results = [*self._on_record, *self._results]
            places = {real_path(image.path): place for place, image in enumerate(self._images)}
            results.sort(key=lambda one: places.get(real_path(one.image), len(places)))
            notes = [f"{method}: {why}" for method, why in self._explainer.skipped.items()]
            page = explain_page(self._explained, results, folder, notes, self._seen)
            write_report(page, folder)

    @property
    def _explained(self) -> Explained:
        """What the report tells of the model."""
        own = self._explainer
        return Explained(
            own.model, own.file.sha256, own.into, own.card.assumed, own.options, own.read
        )

    def close(self) -> None:
        """Write results.json; where nothing could be written any more, as far as that goes."""
        try:
            self._journal.write_results()
        except JournalError:
            if self._stopped is None:
                raise

    def report(self) -> Report:
        return Report(self._results, self._explainer.skipped, self._resumed, self._stopped)

    def _explain(self, number: int, path: str) -> None:
        """Explain one image, and put it or its failure on record."""

        def step(done: float) -> None:
            check_stopped()
            self._tell(Path(path).name, (number + done) / len(self._images))

        targets = None
        if self._output.resume:
            targets = self._explainer.open_targets(path, self._is_done)
            if not targets:
                self._resumed = (self._resumed or 0) + 1
                return
        try:
            for result in self._explainer.explain(path, step, targets):
                what = result.tensor, result.attribution, result.record, result.shared
                evidence = self._explainer.checked_by_hiding(*what)
                result = replace(result, record=replace(result.record, evidence=evidence))
                with phase("draw"):
                    write_result(result, self._journal, self._output, self._names[path])
                self._results.append(result.record)
                self._keep(path, result)
        except OnnxplainError as error:
            self._fail(path, str(error))
        except JournalError:
            raise
        except OSError as error:
            if is_full(error):
                self._stop(error)
                return
            self._fail(path, reason_of(error))
        else:
            self._forget_failure(path)

    def _keep(self, path: str, result: Result) -> None:
        """Keep what is shown of all images together in the end."""
        if self._output.panel is not None:
            self._for_panel.append(result)
        path = real_path(path)
        if self._output.report and path not in self._seen and len(self._seen) < MOST_IMAGES:
            self._seen[path] = seen(result.kind, result.view)

    def _is_done(self, path: str, question: str, asked: str) -> bool:
        """Whether a target of an image is on record, its files are there and the image is the same.

        Args:
            path: the image.
            question: see `keys.question_of`.
            asked: the target, as `Entry.asked` has it.
        """
        # Whatever it was asked for as: a class is the same.
        entry = self._journal.answer(question, asked) or self._journal.entry(
            key_of(question, asked)
        )
        found = None if entry is None or entry.record is None else record_of_json(entry.record)
        if entry is None or found is None or entry.image_stat != image_stat(path):
            return False
        kinds = {Path(name).suffix for name in found.files}
        wanted = {".png", ".npz"} if self._output.pictures else {".npz"}
        done = wanted <= kinds and all((self._journal.folder / n).is_file() for n in found.files)
        if done:
            self._journal.keep(key_of(question, found.target.key))
        # Whatever they were asked for as, two targets may have come to one record.
        if done and self._output.report and found not in self._on_record:
            self._on_record.append(found)
        return done

    def _fail(self, path: str, error: str) -> None:
        failure = self._explainer.failure(path, error)
        with self._journal.locked():
            key = failure.key(self._explainer.file.sha256)
            self._journal.append(key, Entry(failure.to_json()))
        self._results.append(failure)

    def _forget_failure(self, path: str) -> None:
        """Take an earlier run's failure away: the image is done."""
        with self._journal.locked():
            for model in (self._explainer.file.sha256, self._explainer.model):
                key = failure_key(path, model)
                if self._journal.entry(key) is not None:
                    self._journal.append(key, Entry(None))

    def _stop(self, error: OSError) -> None:
        done = sum(isinstance(one, Record) for one in self._results)
        self._stopped = (
            f"cannot write {reason_of(error)}; stopped, with {done} of this run's results on record"
        )
