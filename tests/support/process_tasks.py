"""What processes are given to do, and processes that do it badly; new ones can import them."""

import os
import signal
import struct
import threading


def nothing():
    """Begin without more."""


def double(given):
    return given * 2


def torn(pipe, lifeline):
    """A process that is killed in the middle of writing its second result."""
    pipe.send((True, pipe.recv()))
    pipe.recv()
    os.write(pipe.fileno(), struct.pack("!i", 10**6) + b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)


def never(pipe, lifeline):
    """A process that reads a task and answers nothing, whoever asks it to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe.recv()
    threading.Event().wait()


def deaf(pipe, lifeline):
    """A process that reads nothing, so that a large task does not go into its pipe."""
    threading.Event().wait()


def failing(given):
    if given == "unsendable":
        raise Unsendable(threading.Lock())
    raise OSError(28, "no space", "here")


class Unsendable(Exception):
    """An error that no pickle holds."""


def blocked(given):
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


class Late:
    """An argument that is not ready to be sent before the event is set."""

    def __init__(self, asked, ready):
        self.asked, self.ready = asked, ready

    def __reduce__(self):
        self.asked.set()
        assert self.ready.wait(30)
        return (str, ())
