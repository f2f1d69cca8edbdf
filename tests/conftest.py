"""What every test may ask for."""

import gc
import logging
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from support.digits import write_model

from onnxplain import cli


@pytest.fixture
def model(tmp_path):
    """A small model of digits, with its card beside it."""
    return write_model(tmp_path)


@pytest.fixture
def command(capsys):
    """Run the command line in this process: (exit status, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exited:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return exited.value.code, captured.out, captured.err

    return run


# Processes that tests start would compile 150 modules each, for a third of a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A run in the background (nohup, a shell's &) ignores Ctrl-C, and what it starts would, too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
_SIGNALS = [s for s in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)) if s]


# What a module's generator was before its first test, by its place in memory.
_FIRST_STATES: dict[int, dict] = {}


@pytest.fixture(autouse=True)
def _own_numbers(request):
    """Each test draws the same numbers from its module's generators, whatever ran before it."""
    for one in vars(request.module).values():
        if isinstance(one, np.random.Generator):
            state = one.bit_generator.state
            one.bit_generator.state = _FIRST_STATES.setdefault(id(one), state)


@pytest.fixture(autouse=True)
def _as_it_was():
    """What belongs to the whole process is afterwards as a test found it: none sees another's."""
    logger = logging.getLogger("onnxplain")
    level, propagate, disabled = logger.level, logger.propagate, logger.disabled
    handlers, filters = logger.handlers[:], logger.filters[:]
    environment, folder = dict(os.environ), Path.cwd()
    signals = {number: signal.getsignal(number) for number in _SIGNALS}
    collects = gc.isenabled()
    _first_numbers()
    yield
    _first_numbers()
    logger.setLevel(level)
    logger.propagate, logger.disabled = propagate, disabled
    logger.handlers[:], logger.filters[:] = handlers, filters
    logging.disable(logging.NOTSET)
    # pytest's own, of the running test, goes by itself.
    for name in set(os.environ) - set(environment) - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update({k: v for k, v in environment.items() if k != "PYTEST_CURRENT_TEST"})
    os.chdir(folder)
    for number, handler in signals.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    if collects and not gc.isenabled():
        gc.enable()


def _first_numbers():
    """Let PyTorch draw what it draws first in a new process."""
    torch = sys.modules.get("torch")
    if torch is not None:
        # `torch.manual_seed` formats the stack, for 1.3 ms a call.
        torch.default_generator.manual_seed(67280421310721)


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
    "test_export_together.py",
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
    "test_one_answer.py",
    "test_page_in_browser.py",
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
