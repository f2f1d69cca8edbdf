"""What every test may ask for."""

from pathlib import Path

import pytest

from onnxplain import cli


@pytest.fixture
def command(capsys):
    """Run the command line in this process: (exit status, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exited:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return exited.value.code, captured.out, captured.err

    return run


# Whole networks, and what else takes most of the suite's time: `-m "not slow"` leaves them out.
SLOW_FOLDERS = ("whole_models",)
SLOW_FILES = {
    "test_adaptive.py",
    "test_axioms.py",
    "test_batch.py",
    "test_batch_ray.py",
    "test_batch_resume.py",
    "test_broken_off.py",
    "test_cli.py",
    "test_command_life.py",
    "test_compare.py",
    "test_contrib.py",
    "test_contributing.py",
    "test_default_baseline.py",
    "test_degenerate_baselines.py",
    "test_dialect.py",
    "test_drift.py",
    "test_evaluate.py",
    "test_export.py",
    "test_feature_map.py",
    "test_feature_map_tokens.py",
    "test_journal.py",
    "test_limits.py",
    "test_method_oracles.py",
    "test_methods.py",
    "test_metric_properties.py",
    "test_metrics.py",
    "test_names.py",
    "test_older_opsets.py",
    "test_processes.py",
    "test_quantised.py",
    "test_quantised_loops.py",
    "test_report.py",
    "test_report_in_browser.py",
    "test_reveal_cancel.py",
    "test_rules.py",
    "test_rules_deeplift.py",
    "test_several_inputs.py",
    "test_slopes.py",
    "test_soundness.py",
    "test_state.py",
    "test_text.py",
    "test_trace.py",
    "test_types.py",
}


def pytest_collection_modifyitems(items):
    """Mark what is slow, wherever it stands."""
    for item in items:
        path = Path(item.path)
        if path.name in SLOW_FILES or path.parent.name in SLOW_FOLDERS:
            item.add_marker("slow")
    # What takes long begins first, so that no process waits for another at the end.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
