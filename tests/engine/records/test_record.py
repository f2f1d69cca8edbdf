"""Records: one type for what results.json, the journal, tables and captions have of a result."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from support.digits import write_photo

from onnxplain.engine.jobs.explain import Options, explain_files
from onnxplain.engine.jobs.results import Output
from onnxplain.engine.records.journal import JOURNAL_FILE
from onnxplain.engine.records.keys import key_of_json
from onnxplain.engine.records.record import Evidence, record_of_json
from onnxplain.engine.records.row import Row
from onnxplain.engine.targets.recorded import TargetRecord, target_of_json

TARGETS = ("top1", "rank2", "not 3", "4", "three - five", "not 8")
# Whatever a result may lack or have.
METHODS = ("grad-cam", "integrated-gradients", "deeplift")


@pytest.fixture
def written(tmp_path, model):
    """A job's report, and the lines of its journal."""
    photo, out = write_photo(tmp_path / "seven.png", 7), tmp_path / "out"
    options = Options(methods=METHODS, targets=TARGETS, steps=2)
    report = explain_files(
        model, [str(photo), str(tmp_path / "gone.png")], out, options, output=Output(pictures=False)
    )
    lines = [json.loads(line) for line in (out / JOURNAL_FILE).read_text().splitlines()]
    assert len(report.explained) == 18 and len(report.failed) == 1
    return report, lines


def test_results_json_is_the_records(written, tmp_path):
    report, lines = written
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found == report.records == [line["record"] for line in lines]


def test_a_record_comes_back_from_its_json(written):
    report, _ = written
    for record in report.explained:
        stored = json.loads(json.dumps(record.to_json()))
        assert record_of_json(stored) == record and record_of_json(stored).to_json() == stored


def test_its_key_is_the_journals(written):
    report, lines = written
    keys = [line["key"] for line in lines]
    own = [one.key for one in report.explained]
    failed = report.failed[0].key(report.explained[0].model_sha256)
    assert sorted(keys) == sorted([*own, failed]) and len(set(keys)) == 19
    assert own == [key_of_json(one.to_json()) for one in report.explained]


def test_its_row_is_its_numbers(written):
    report, _ = written
    for record in report.explained:
        row, stored = record.row(), record.to_json()
        for name in {field.name for field in fields(Row)} & stored.keys():
            assert getattr(row, name) == stored[name]
        assert (row.target_index, row.target_label) == (record.target.index, record.target.label)
        assert record.row(tuples=True).target_index == [record.target.index]


@pytest.mark.parametrize(
    "target",
    [
        TargetRecord(index=3, label="three", output="y"),
        TargetRecord(index=(1, 20, 30), output="y"),
        TargetRecord(index=3, minus=5, against=True, output="y"),
        TargetRecord(index=(1, 2), minus=(3, 4), output="y"),
        TargetRecord(
            index=(4, 7), label="person", name="person-2", box=(1.0, 2.5, 3.0, 4.0),
            box_in_view=(0.1, 0.2, 0.3, 0.4), output="boxes",
        ),
    ],
)  # fmt: skip
def test_a_target_comes_back_from_its_json(target):
    stored = json.loads(json.dumps(target.to_json()))
    assert target_of_json(stored) == target and target_of_json(stored).key == target.key


@pytest.mark.parametrize("evidence", [Evidence(0.1, "score", 2.0, 1.0), None])
@pytest.mark.parametrize("said", [{}, {"doubt": "elsewhere"}, {"damage": "ends early"}])
def test_what_there_may_be_comes_back(written, evidence, said):
    record = replace(written[0].explained[0], evidence=evidence, **said)
    stored = json.loads(json.dumps(record.to_json()))
    assert record_of_json(stored) == record and said.keys() <= stored.keys()
    # Earlier versions said less.
    for name in ("top", "close_call", "probability_from", "evidence", "map_error"):
        del stored[name]
    assert record_of_json(stored).top == ()


@pytest.mark.parametrize(
    "damage",
    [
        {"target": None},
        {"target": 7},
        {"top": 5},
        {"top": [{"index": 1}]},
        {"files": None},
        {"files": [1]},
        {"evidence": {"part": 1}},
    ],
)
def test_what_is_no_record_is_none(written, damage):
    stored = written[0].explained[0].to_json()
    assert record_of_json({**stored, **damage}) is None
    for name in ("image", "model", "method", "target", "options", "files", "seconds"):
        assert record_of_json({k: v for k, v in stored.items() if k != name}) is None
