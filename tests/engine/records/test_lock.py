"""One lock on an output folder, whatever is resumed in it."""

from __future__ import annotations

import pytest

from onnxplain import InvalidInputError
from onnxplain.engine.records import journal
from onnxplain.engine.records.journal import Journal, JournalError
from onnxplain.engine.records.lock import LOCK_FILE
from onnxplain.engine.records.manifest import locked


def test_a_batch_waits_for_no_journal_and_a_journal_not_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "_PATIENCE", 0.05)
    records = Journal(tmp_path)
    with records.locked(), pytest.raises(InvalidInputError, match="another process is writing"):
        locked(tmp_path)
    lock = locked(tmp_path)
    with pytest.raises(JournalError, match="locked by another process"), records.locked():
        pass
    lock.release()
    with records.locked():
        pass
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
