"""SIGTERM ends a step as any failure does, or waits until what must be whole is whole."""

import signal
import threading

import pytest

from components.failures import StoppedError
from components.termination import terminable, termination_deferred


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


def test_a_step_ends_with_a_sentence_and_leaves_the_signal_as_it_was() -> None:
    before = signal.getsignal(signal.SIGTERM)
    done = []

    def step() -> None:
        with terminable():
            try:
                terminate()
                done.append("more")
            finally:
                done.append("cleaned up")

    with pytest.raises(StoppedError, match="stopped by SIGTERM; a rerun goes on"):
        step()

    assert done == ["cleaned up"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_must_be_whole_is_finished_first() -> None:
    done = []

    def step() -> None:
        with terminable(), termination_deferred() as arrived:
            assert not arrived()
            terminate()
            assert arrived()
            done.append("written")

    with pytest.raises(StoppedError):
        step()

    assert done == ["written"]


def test_another_failure_is_not_hidden() -> None:
    def step() -> None:
        with termination_deferred():
            terminate()
            raise ValueError("of its own")

    with pytest.raises(ValueError, match="of its own"):
        step()


def test_threads_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with terminable(), termination_deferred() as arrived:
            seen.append(arrived())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [False]
    assert signal.getsignal(signal.SIGTERM) is before
