"""Processes that do tasks: whatever ends them, and whenever, nobody waits for ever."""

import os
import threading
import time
from multiprocessing import forkserver

import pytest
from support.process_tasks import Late, blocked, deaf, double, failing, never, nothing, torn

from onnxplain.engine.jobs.batch import processes
from onnxplain.engine.jobs.batch.processes import Pool, ProcessEndedError, serve

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
SECONDS = 60


@pytest.fixture
def pool():
    made = []

    def make(count, target, *arguments):
        made.append(Pool(count, target, *arguments))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_results_and_errors_come_back(pool):
    two = pool(2, serve, double, nothing)
    assert [two.submit(k).result(SECONDS) for k in range(9)] == [2 * k for k in range(9)]
    one = pool(1, serve, failing, nothing)
    with pytest.raises(OSError, match="no space") as raised:
        one.submit("full").result(SECONDS)
    assert raised.value.filename == "here"
    with pytest.raises(RuntimeError, match="Unsendable"):
        one.submit("unsendable").result(SECONDS)
    with pytest.raises(OSError, match="no space"):
        one.submit("the same process goes on").result(SECONDS)


def test_a_process_that_ends_in_the_middle_of_a_result(pool):
    """Its half of a message is known for the end of it, and the next task gets a new process."""
    one = pool(1, torn)
    for _ in range(2):
        assert one.submit("whole").result(SECONDS) == "whole"
        with pytest.raises(ProcessEndedError):
            one.submit("half").result(SECONDS)


@pytest.mark.parametrize("target", [never, deaf])
@pytest.mark.parametrize("size", [1, 2**22])
def test_closing_waits_for_no_process(pool, target, size):
    one = pool(2, target)
    answers = [one.submit(bytes(size)) for _ in range(4)]
    until = time.monotonic() + SECONDS
    while len(one._running) < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    running = list(one._running)
    one.close()
    assert all(process.exitcode is not None for process in running)
    # Those that were given out are told; the others are nobody's any more.
    for answer in answers[:2]:
        with pytest.raises(ProcessEndedError):
            answer.result(SECONDS)


@pytest.mark.skipif(processes.start_method() != "forkserver", reason="no server starts them here")
def test_a_pool_that_is_closed_while_it_starts_a_process_leaves_the_server_alone(pool):
    """A request without all that it announced ends the server, and the next one is refused."""
    assert pool(1, serve, double, nothing).submit(2).result(SECONDS) == 4
    before = forkserver._forkserver._forkserver_pid
    asked, ready = threading.Event(), threading.Event()
    # Numbers for what opens while the process is started, or it would take those of the pool.
    spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)]
    closed = pool(1, serve, double, nothing, Late(asked, ready))
    answer = closed.submit(1)
    assert asked.wait(SECONDS)
    closed.close()
    for number in spare:
        os.close(number)
    ready.set()
    with pytest.raises(ProcessEndedError):
        answer.result(SECONDS)
    assert not closed._running
    assert pool(1, serve, double, nothing).submit(3).result(SECONDS) == 6
    assert forkserver._forkserver._forkserver_pid == before


def test_a_closed_pool_starts_nothing(pool, monkeypatch):
    closed = pool(1, never)
    closed.close()
    started = []
    monkeypatch.setattr(closed._context, "Process", lambda **given: started.append(given))
    with pytest.raises(ProcessEndedError, match="no task"):
        closed._start()
    assert not started


def test_a_process_that_cannot_be_started_is_an_end(pool, monkeypatch):
    def refuse(self):
        raise OSError(11, "no more processes")

    monkeypatch.setattr(processes.Pool, "_start", refuse)
    with pytest.raises(ProcessEndedError, match="no more processes"):
        pool(1, serve, double, nothing).submit(1).result(SECONDS)


def test_interrupts_are_not_for_those_that_are_started(pool):
    one = pool(1, serve, blocked, nothing)
    assert one.submit(None).result(SECONDS)
