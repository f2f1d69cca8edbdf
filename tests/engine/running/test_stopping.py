"""A signal to end is that in the end, whatever code it hits makes of it."""

import contextlib
import os
import signal

import pytest

from onnxplain.engine.running.stopping import Stopped, check_stopped, stopping

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_others_make_of_it_is_undone(number):
    """As a library that is hit while it is imported: its error is not ours."""
    with pytest.raises(Stopped) as stopped, stopping():
        try:
            os.kill(os.getpid(), number)
        except BaseException as error:
            raise ImportError("initialization failed") from error
    assert stopped.value.number == number


def test_what_is_swallowed_is_raised_at_the_next_look():
    with pytest.raises(Stopped), stopping():
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
        check_stopped()


def test_other_errors_are_themselves():
    with pytest.raises(ValueError, match="mine"), stopping():
        raise ValueError("mine")
