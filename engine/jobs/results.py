"""What a job leaves behind: pictures, arrays, the records of results.json, and the panel."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..comparing.likeness import by_location
from ..explanation.evidence import what_is
from ..explanation.origin import Shared
from ..files.writing import Draft, drop, place, write_draft, write_whole
from ..pictures.heatmap import save_png
from ..pictures.overlay import framed, scale_words
from ..pictures.panel import VIEW, PanelRow, panel, small_view
from ..records.captions import (
    delta_text,
    drawn_score,
    drawn_target,
    evidence_text,
    heading,
    strongest_text,
    texts_of,
)
from ..records.journal import Entry, Journal
from ..records.record import Record
from ..reports.html import REPORT_FILE
from .naming import copied, file_base, make_way

if TYPE_CHECKING:
    from ..inputs.kind import InputKind, ModelInput
    from ..pictures.heatmap import Heatmap, Picture


@dataclass(frozen=True)
class Result:
    """One image, method and target.

    Attributes:
        record: its entry in results.json.
        view: what maps are drawn over: what the model saw of the photo.
        tensor: the model's input, [1, ...].
        attribution: [1, H, W] (Grad-CAM) or the tensor's shape.
        kind: of what was explained.
        into: what the model takes.
        asked: the targets that led to it, as they were asked for; see `journal.Entry`.
        image_stat: size and time of the image's last change.
        region: see `framed`.
        shared: what all results of an image have in common, made when it is first needed.
    """

    record: Record
    view: Picture
    tensor: np.ndarray
    attribution: np.ndarray
    kind: InputKind
    into: ModelInput
    asked: tuple[str, ...] = ()
    image_stat: list[int] | None = None
    shared: Shared = field(default_factory=Shared)
    region: np.ndarray | None = None

    def heatmap(self, **how: Any) -> Heatmap:
        """The map over the view; `how`: see `heatmap_of`."""
        return self.kind.draw(self.attribution[0], self.into, self.record.method, **how)

    @property
    def by_place(self) -> np.ndarray:
        """The map with one number for each place: its channels summed."""
        row = self.attribution[0]
        axis = self.into.features.in_row(row.ndim)
        return row if axis is None else row.sum(axis=axis)


@dataclass(frozen=True)
class Output:
    """What is written and what is left out.

    Attributes:
        pictures: whether pictures are drawn, or arrays only written.
        panel: name of one more picture, with all images and methods side by side; None: none.
        resume: leave out what the folder has on record, as long as its files are there and its
            image has not changed; what failed is tried again.
        recursive: take the images in folders inside folders, too.
        smooth: pictures show the positive evidence only, blurred by this sigma; None: as the method
            is drawn.
        report: write a page with all of it, too.
        detail: see `heatmap_of`.
    """

    pictures: bool = True
    panel: str | None = None
    resume: bool = False
    recursive: bool = False
    smooth: float | None = None
    report: bool = False
    detail: str = "regions"


def write_result(result: Result, journal: Journal, output: Output, stem: str | None = None) -> None:
    """Write `<image>.<method>.<target>.png` and `.npz`, and put the record with both on record.

    A record's files are whole before the record is there. An earlier run's record that has files of
    that name makes way; see `naming`.

    Args:
        result: the result; its record gains `files`.
        journal: of the folder.
        output: whether there is a picture, and how it is drawn.
        stem: what the files' names begin with; None: the image's name.

    Raises:
        OSError: a file cannot be written; nothing of the result is on record then.
    """
    drafts: dict[str, Draft] = {}
    try:
        if output.pictures:
            heatmap = result.heatmap(smooth=output.smooth, detail=output.detail)
            words = scale_words(heatmap, result.record.method, output.smooth)
            texts = texts_of(result.record, not result.attribution.any())
            picture = framed(result.view, heatmap, texts, words, result.region)
            drafts[".png"] = write_draft(journal.folder, lambda file: save_png(picture, file))
        arrays = _npz(result)
        drafts[".npz"] = write_draft(journal.folder, lambda file: file.write(arrays))
        with journal.locked():
            _put_on_record(result, journal, drafts, file_base(result.record, stem))
    finally:
        for draft in drafts.values():
            drop(draft)


def _put_on_record(result: Result, journal: Journal, drafts: dict[str, Draft], base: str) -> None:
    """Name the drafts, put them in their places, and write the journal's line."""
    key = result.record.key
    old = journal.entry(key)
    before = _files_of(old)
    base = journal.name(key, base)
    make_way(journal, key, base)
    placed = []
    try:
        for name in _still_good(result, old, journal.folder):
            other = base + Path(name).suffix
            if Path(name).suffix not in drafts and (
                other == name or copied(journal.folder / name, journal.folder / other)
            ):
                placed.append(other)
        for kind in list(drafts):
            place(drafts.pop(kind), journal.folder / (base + kind))
            placed.append(base + kind)
        result.record.files[:] = sorted(placed, key=_pictures_first)
        journal.append(key, Entry(result.record.to_json(), result.asked, result.image_stat))
    except BaseException:
        # What no record speaks of would only be in the way; what an older one has, it keeps.
        _remove(journal.folder, set(placed) - set(before))
        raise
    journal.keep(key)
    _remove(journal.folder, set(before) - set(placed))


def _files_of(entry: Entry | None) -> list[str]:
    """The names of a record's files in its folder."""
    files = entry.record.get("files", []) if entry and entry.record else []
    return [name for name in files if Path(name).name == name]


def _still_good(result: Result, old: Entry | None, folder: Path) -> list[str]:
    """The same record's files of an earlier run, unless the image is known to have changed."""
    if old is None or old.image_stat not in (None, result.image_stat):
        return []
    return [name for name in _files_of(old) if (folder / name).is_file()]


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(OSError):
            (folder / name).unlink()


def _pictures_first(name: str) -> bool:
    return not name.endswith(".png")


def _npz(result: Result) -> bytes:
    """Both arrays as np.load reads them; the input is packed once for all results of an image.

    Measured on the demo's two photos: an input takes 9 to 10 ms and 174 to 205 kB at deflate's
    level 4, 37 to 51 ms and 153 to 183 kB at numpy's level 6. Attributions hardly shrink at any
    level: Grad-CAM's to 131 kB in 4 ms at level 1, to 129 in 5 at level 6.
    """
    if not result.shared.packed:
        result.shared.packed = _with_array(b"", "input", result.tensor, 4)
    return _with_array(result.shared.packed, "attribution", result.attribution, 1)


def _with_array(archive: bytes, name: str, array: np.ndarray, level: int) -> bytes:
    """An .npz file with one more array, deflated at this level."""
    file = io.BytesIO(archive)
    mode = "a" if archive else "w"
    with (
        zipfile.ZipFile(file, mode, zipfile.ZIP_DEFLATED, compresslevel=level) as members,
        members.open(f"{name}.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array(member, array, allow_pickle=False)
    return file.getvalue()


def write_panel(results: Sequence[Result], path: Path) -> None:
    """One figure: a row for each image and target, its maps by method side by side."""
    rows: dict[tuple, list[Result]] = {}
    for result in results:
        key = (result.record.image, result.record.target.key)
        rows.setdefault(key, []).append(result)
    drawn = [
        PanelRow(
            view=group[0].view,
            caption=drawn_target(group[0].record),
            keep=drawn_score(group[0].record),
            attributions={r.record.method: r.by_place for r in group},
            draw=partial(drawn_by, group[0].kind, group[0].into),
            what=what_is(group[0].into).capitalize(),
            notes={r.record.method: delta_text(r.record) for r in group},
        )
        for group in rows.values()
    ]
    figure = panel(drawn)
    write_whole(path, lambda file: save_png(figure, file))


def place_map(result: Result) -> np.ndarray:
    """A result's map by location, [H, W] of a picture."""
    row = result.attribution[0]
    return by_location(row, result.into.features.in_row(row.ndim))


def panel_row(
    name: str, results: Mapping[str, Result], maps: Mapping[str, np.ndarray] | None = None
) -> PanelRow:
    """The maps of one image and target by method.

    Args:
        name: of the image, for the caption.
        results: by method.
        maps: theirs, where they are made already.
    """
    one = next(iter(results.values()))
    drawn = maps or {method: place_map(result) for method, result in results.items()}
    return PanelRow(
        view=small_view(one.view, VIEW),
        caption=f"{name}: {drawn_target(one.record)}",
        keep=drawn_score(one.record),
        attributions={method: found.astype(np.float32) for method, found in drawn.items()},
        notes={method: delta_text(r.record) for method, r in results.items()},
        draw=partial(drawn_by, one.kind, one.into),
        what=what_is(one.into).capitalize(),
    )


def drawn_by(
    kind: InputKind, into: ModelInput, values: np.ndarray, method: str, difference: bool = False
) -> Heatmap:
    """A map of places over a view of this kind, as a panel draws it."""
    return kind.draw(values, into, method, difference=difference)


def record_lines(records: Sequence[Record]) -> list[str]:
    """What was done, for people to read: a line for each image and target, and one for each file.

    Args:
        records: that were written.
    """
    width = max([len("integrated-gradients"), *(len(record.method) for record in records)])
    lines, last = [], None
    for record in records:
        found = f"{Path(record.image).name}: {heading(record)}"
        if found != last:
            lines.append(found)
            last = found
        delta = delta_text(record)
        evidence = evidence_text(record)
        line = f"  {record.method:{width}}  {record.seconds:6.2f} s  {record.files[0]}"
        lines.append(f"{line}  {delta}" if delta else line)
        more = [text for text in (evidence, strongest_text(record)) if text]
        lines += [f"  {'':{width}}            {text}" for text in more]
    return lines


def closing_line(folder: str, output: Output) -> str:
    """What lies where, for people to read: `output` was written to `folder`."""
    files = f", all in {output.panel}" if output.panel else ""
    kinds = f"pictures{files}, arrays" if output.pictures else "arrays"
    records = f"results.json and {REPORT_FILE}" if output.report else "results.json"
    return f"{kinds}{',' if output.report else ' and'} {records}: {folder}"
