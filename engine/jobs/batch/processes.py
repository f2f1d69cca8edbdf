"""Processes that do one kind of task, each at the end of pipes of its own.

What a process shares with another can be left torn or locked when it is killed, and then the other
one, or this process, waits for ever. So none shares anything: where a process ends, whenever and
however, the end of its own pipe says so.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

# Seconds for a killed process to be gone: more than enough, unless its disk is.
_PATIENCE = 5.0
Task = Callable[[Any], Any]
Begin = Callable[..., None]


class ProcessEndedError(Exception):
    """The process that a task was given to ended by itself."""


class Pool:
    """Some processes, which are started with their first tasks.

    Args:
        count: how many.
        serve: what each of them runs, with a pipe and `arguments`; see `serve`.
        arguments: of `serve`, but for the pipe and the lifeline.
    """

    def __init__(self, count: int, serve: Callable[..., None], *arguments: Any):
        self._serve, self._arguments = serve, arguments
        self._context = multiprocessing.get_context(start_method())
        # All processes hold the end that is read, and end when the other is closed, as it is at the
        # latest when this process is gone. The end that is read stays open here for as long as
        # anything refers to the pool: a process may be about to get it, and the server that starts
        # processes ends itself when a request comes without what it announced.
        self._held, self._lifeline = self._context.Pipe(duplex=False)
        self._tasks: queue.SimpleQueue[tuple[Any, Future[Any]] | None] = queue.SimpleQueue()
        self._lock, self._closed = threading.Lock(), False
        self._running: set[Any] = set()
        for _ in range(count):
            threading.Thread(target=self._hand_out, daemon=True).start()

    def submit(self, given: Any) -> Future[Any]:
        """Have a task done; its result may be a `ProcessEndedError`."""
        answered: Future[Any] = Future()
        self._tasks.put((given, answered))
        return answered

    def close(self) -> None:
        """End all processes at once; what they have not returned is lost.

        No thread is waited for: each of them ends with its process.
        """
        with self._lock:
            self._closed = True
            running = list(self._running)
        self._tasks.put(None)
        with contextlib.suppress(OSError):
            self._lifeline.close()
        for process in running:
            process.kill()
        for process in running:
            process.join(_PATIENCE)

    def _hand_out(self) -> None:
        """One thread's work: give tasks to one process after the other, and hand back results."""
        process, pipe = None, None
        while (task := self._tasks.get()) is not None:
            given, answered = task
            try:
                if process is None or pipe is None:
                    process, pipe = self._start()
                pipe.send(given)
                done, result = pipe.recv()
            except Exception as error:
                # Whatever it is: an end, half a message, no process to be had.
                self._end(process, pipe)
                process = pipe = None
                _answer(answered, error=ProcessEndedError(f"{type(error).__name__}: {error}"))
                continue
            if done:
                _answer(answered, result)
            else:
                _answer(answered, error=result)
        # The next thread is to end, too.
        self._tasks.put(None)

    def _start(self) -> tuple[Any, Connection]:
        """A new process, and this end of its pipe."""
        self._go_on()
        _leave_interrupts_to_the_main_thread()
        ours, theirs = self._context.Pipe()
        process: Any = self._context.Process(  # pyright: ignore[reportAttributeAccessIssue]
            target=self._serve, args=(theirs, self._held, *self._arguments), daemon=True
        )
        try:
            process.start()
        finally:
            # With a copy here, the pipe would never end.
            theirs.close()
        with self._lock:
            self._running.add(process)
        try:
            self._go_on()
        except ProcessEndedError:
            self._end(process, ours)
            raise
        return process, ours

    def _go_on(self) -> None:
        """Raise `ProcessEndedError` where the pool is closed."""
        with self._lock:
            if self._closed:
                raise ProcessEndedError("no task is wanted any more")

    def _end(self, process: BaseProcess | None, pipe: Connection | None) -> None:
        if pipe is not None:
            pipe.close()
        if process is None:
            return
        process.kill()
        process.join(_PATIENCE)
        with self._lock:
            self._running.discard(process)


def serve(
    pipe: Connection, lifeline: Connection, task: Task, begin: Begin, *arguments: Any
) -> None:
    """What a process does: `task` with whatever comes, until nothing can come any more.

    Args:
        pipe: where tasks come from and results go.
        lifeline: when its other end is closed, this process ends, whatever it is at.
        task: from what came to the result.
        begin: makes this process ready, with `arguments`.
        arguments: of `begin`.
    """
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    begin(*arguments)
    while True:
        try:
            answer = True, task(pipe.recv())
        except EOFError:
            return
        except Exception as error:
            answer = False, _sendable(error)
        try:
            pipe.send(answer)
        except OSError:
            return


def _leave_interrupts_to_the_main_thread() -> None:
    """Ctrl-C goes to all processes: none that this thread starts gets it, from its first moment on.

    What is blocked here is blocked in them, too.
    """
    if hasattr(signal, "pthread_sigmask"):
        # It is started by the first process, and undoes what is blocked.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def start_method() -> str:
    """How processes are started: from a server that has the imports done, or anew.

    What a fork would copy of this process (locks, threads of ONNX Runtime and Arrow) is none of
    theirs.
    """
    return "forkserver" if sys.platform == "linux" else "spawn"


def _end_with(lifeline: Connection) -> None:
    with contextlib.suppress(OSError):
        lifeline.poll(None)
    os._exit(1)


def _sendable(error: Exception) -> Exception:
    """The error, or what it says where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _answer(answered: Future[Any], result: Any = None, error: Exception | None = None) -> None:
    # Cancelled futures want no answer.
    with contextlib.suppress(Exception):
        if error is None:
            answered.set_result(result)
        else:
            answered.set_exception(error)
