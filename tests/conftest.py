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
    "test_broken_off.py",
    "test_dialect.py",
    "test_export.py",
    "test_feature_map_tokens.py",
    "test_limits.py",
    "test_method_oracles.py",
    "test_metrics.py",
    "test_older_opsets.py",
    "test_quantised.py",
    "test_reveal_cancel.py",
    "test_rules_deeplift.py",
    "test_trace.py",
}


def pytest_collection_modifyitems(items):
    """Mark what is slow, wherever it stands."""
    for item in items:
        path = Path(item.path)
        if path.name in SLOW_FILES or path.parent.name in SLOW_FOLDERS:
            item.add_marker("slow")
    # What takes long begins first, so that no process waits for another at the end.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
