"""Signals that ask a process to end, as an exception that leaves nothing half done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Stopped(BaseException):
    """A signal asked the process to end.

    Attributes:
        number: the signal's number.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        if self.number == signal.SIGINT:
            return "interrupted"
        return f"stopped by {signal.Signals(self.number).name}"


@dataclass
class _Signals:
    """What the handlers know: how deep in `uninterrupted`, and the first signal that came."""

    depth: int = 0
    number: int | None = None
    raised: bool = False


_state = _Signals()


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """Raise `Stopped` in the main thread at the first signal to end; later ones change nothing.

    What libraries make of it on its way (an ImportError, where it hits one that is being imported)
    is `Stopped` again in the end.

    A signal that was ignored before, as nohup does, stays so. Elsewhere than in the main thread
    nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.number, _state.raised = None, False
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        # None: set by something other than Python, which knows better.
        if handler is not None and handler != signal.SIG_IGN:
            signal.signal(number, _handle)
    try:
        yield
    except Exception as error:
        if _state.number is None:
            raise
        raise Stopped(_state.number) from error
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off a signal's exception to the end of what happens inside."""
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
        _raise_if_due()


def _handle(number: int, frame: object) -> None:
    if _state.number is None:
        _state.number = number
    _raise_if_due()


def _raise_if_due() -> None:
    due = _state.number is not None and not _state.depth and not _state.raised
    if due and threading.current_thread() is threading.main_thread():
        _state.raised = True
        assert _state.number is not None
        raise Stopped(_state.number)


def check_stopped() -> None:
    """Raise `Stopped` where a signal came whose exception was lost on its way.

    As it is where it hits a destructor, or code that catches everything.
    """
    if _state.number is not None and not _state.depth:
        raise Stopped(_state.number)
