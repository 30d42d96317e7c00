"""Stages overlap, keep the order and the memory, and one thing's fault is its own."""

import contextlib
import itertools
import threading

import pytest

from pixelwise.flow.predicting.overlap import AHEAD, Overlapped


def stages(read=lambda n: n, work=lambda n, a: a, write=lambda n, b: b, weigh=lambda n: 1, **options):
    return Overlapped(weigh, read, work, write, **options)


def test_outcomes_come_in_order_and_faults_are_outcomes():
    def read(n):
        if n % 7 == 3:
            raise ValueError(f"read {n}")
        return n * 10

    def work(n, value):
        if n % 7 == 4:
            raise ValueError(f"work {n}")
        return value + 1

    def write(n, value):
        if n % 7 == 5:
            raise ValueError(f"write {n}")
        return value + 2

    found = list(stages(read, work, write).outcomes(range(50)))
    assert [n for n, _ in found] == list(range(50))
    for n, outcome in found:
        stage = {3: "read", 4: "work", 5: "write"}.get(n % 7)
        assert str(outcome) == (f"{stage} {n}" if stage else str(n * 10 + 3))


def test_reading_and_writing_go_on_while_work_is_done():
    """The next thing is read, and the one before is written, before the work on this one ends; alone, it would hang."""
    read, written = [threading.Event() for _ in range(9)], [threading.Event() for _ in range(9)]

    def work(n, value):
        assert n == 7 or read[n + 1].wait(10)
        assert n < 1 or written[n - 1].wait(10)
        return n

    found = stages(lambda n: read[n].set(), work, lambda n, b: written[n].set()).outcomes(range(8))
    assert [outcome for _, outcome in found] == [None] * 8


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_is_held_than_there_is_room_and_what_is_larger_goes_alone(threads):
    weights = [3, 4, 20, 1, 1, 9, 2, 30, 5, 5, 1] * 3
    held, lock = [0], threading.Lock()

    def read(n):
        with lock:
            held[0] += weights[n]
            assert held[0] <= 10 or held[0] == weights[n]
        return n

    def write(n, b):
        with lock:
            held[0] -= weights[n]
        return b

    found = stages(read, write=write, weigh=lambda n: weights[n], threads=threads, size=10).outcomes(range(33))
    assert [outcome for _, outcome in found] == list(range(33))


def test_little_is_read_ahead_and_one_thread_reads_and_writes_in_order():
    begun, written = [], []
    outcomes = stages(lambda n: begun.append(n), write=lambda n, b: written.append(n), threads=1).outcomes(
        itertools.count()
    )
    with contextlib.closing(outcomes):
        for n, _ in outcomes:
            assert len(begun) <= n + 3 * AHEAD
            if n == 40:
                break
    assert begun == sorted(begun) and written == sorted(written)


def test_an_interrupted_work_ends_the_threads():
    before = threading.active_count()

    def work(n, value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(stages(work=work, size=1).outcomes(range(100)))
    assert threading.active_count() == before


def test_small_things_are_worked_on_at_once_by_those_who_read_them_and_others_by_who_asks():
    together, here = threading.Barrier(3, timeout=10), threading.current_thread()
    began, alone = [], []

    def work(n, value):
        if n % 2:
            together.wait()  # alone, it would break
            assert threading.current_thread() is not here
        else:
            assert threading.current_thread() is here
            alone.append(n)
        if n == 9:
            raise ValueError("nine")
        return value

    found = list(
        stages(
            work=work, threads=3, small=lambda n: n % 2 == 1, begin=lambda: began.append(threading.current_thread())
        ).outcomes(range(12))
    )
    assert [n for n, _ in found] == list(range(12))
    assert [str(outcome) for _, outcome in found] == [str(n) if n != 9 else "nine" for n in range(12)]
    assert alone == [0, 2, 4, 6, 8, 10] and len(set(began)) == 3


def test_small_things_that_cannot_be_read_or_weighed_leave_their_room():
    def fault(n):
        if n % 3 == 0:
            raise ValueError(str(n))
        return 6

    found = stages(read=fault, weigh=lambda n: fault(n + 1), small=lambda _: True, size=10, write=lambda n, _: n)
    told = [str(outcome) for _, outcome in found.outcomes(range(30))]
    assert told == [str(n + 1) if n % 3 == 2 else str(n) for n in range(30)]
