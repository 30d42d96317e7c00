"""Three stages that overlap: while one thing is worked on, the next ones are read, and the last ones are written.

Reading and writing have threads of their own; work is done by the thread that asks for the outcomes, with all cores.
Small things are worked on several at a time, a core each, by the threads that read them. Outcomes come in the order of
the things. What goes wrong with one thing is its outcome, and stops no other.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

AHEAD = 8  # things between two stages
BYTES = 2**28  # of all things that were read and are not yet written; a larger one goes alone

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
P = ParamSpec("P")


class Room:
    """Memory that things share: each waits its turn until there is room; one that is too large goes alone."""

    def __init__(self, size: int) -> None:
        self._size, self._held, self._turn, self._closed = size, 0, 0, False
        self._changed = threading.Condition()

    def enter(self, turn: int, amount: int) -> None:
        """Wait for the `turn`-th turn, and then for room; nobody waits when it is closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._closed
                    or (turn == self._turn and (self._held == 0 or self._held + amount <= self._size or not amount))
                )
            )
            self._turn += 1
            self._held += amount
            self._changed.notify_all()

    def leave(self, amount: int) -> None:
        """Make room."""
        with self._changed:
            self._held -= amount
            self._changed.notify_all()

    def close(self) -> None:
        """Let everybody in; what they do no longer counts."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Overlapped(Generic[T, A, B, C]):
    """The outcomes of things that are weighed, read, worked on and written.

    Args:
        weigh: how many bytes a thing will take from its reading to the end of its writing.
        read: in a thread of its own.
        work: in the thread of who asks.
        write: in a thread of its own.
        threads: that read, and that write; with one each, things are read and written in their order.
        size: bytes of all things that were read and are not yet written.
        small: whether what was read is also worked on and written by the thread that read it.
        begin: called by each thread that reads, before it does.
    """

    def __init__(
        self,
        weigh: Callable[[T], int],
        read: Callable[[T], A],
        work: Callable[[T, A], B],
        write: Callable[[T, B], C],
        *,
        threads: int = 2,
        size: int = BYTES,
        small: Callable[[A], bool] = lambda found: False,
        begin: Callable[[], object] = lambda: None,
    ) -> None:
        self._weigh, self._read, self._work, self._write = weigh, read, work, write
        self._threads, self._room = threads, Room(size)
        self._small, self._begin = small, begin

    def outcomes(self, things: Iterable[T]) -> Generator[tuple[T, C | Exception], None, None]:
        """(thing, what `write` gave, or what a stage raised) in the order of the things."""
        reading: deque[tuple[T, Future[_Read[A] | _Done[C]]]] = deque()
        writing: deque[tuple[T, Future[_Done[C]]]] = deque()
        readers = ThreadPoolExecutor(self._threads, "reads", self._begin)
        writers = ThreadPoolExecutor(self._threads, "writes")
        left = iter(enumerate(things))
        try:
            while True:
                while len(reading) < AHEAD and (following := next(left, None)) is not None:
                    reading.append((following[1], readers.submit(self._entered, *following)))
                if not reading:
                    break
                thing, read = reading.popleft()
                found = read.result()
                if isinstance(found, _Read):
                    worked = _caught(self._work, thing, found.value)
                    writing.append((thing, writers.submit(self._written, thing, worked, found.amount)))
                    del worked
                else:
                    writing.append((thing, _settled(found)))
                del found, read  # of a large thing
                while writing and (len(writing) > AHEAD or writing[0][1].done()):
                    thing, written = writing.popleft()
                    yield thing, written.result().outcome
            while writing:
                thing, written = writing.popleft()
                yield thing, written.result().outcome
        finally:
            self._room.close()
            readers.shutdown(cancel_futures=True)
            writers.shutdown(cancel_futures=True)

    def _entered(self, turn: int, thing: T) -> "_Read[A] | _Done[C]":
        amount = _caught(self._weigh, thing)
        if isinstance(amount, Exception):
            self._room.enter(turn, 0)
            return _Done(amount)
        self._room.enter(turn, amount)
        found = _caught(self._read, thing)
        if isinstance(found, Exception):
            self._room.leave(amount)
            return _Done(found)
        if self._small(found):
            return self._written(thing, _caught(self._work, thing, found), amount)
        return _Read(found, amount)

    def _written(self, thing: T, found: B | Exception, amount: int) -> "_Done[C]":
        try:
            return _Done(found if isinstance(found, Exception) else _caught(self._write, thing, found))
        finally:
            self._room.leave(amount)


@dataclass(frozen=True)
class _Read(Generic[A]):
    """What was read, and how many bytes it was said to take."""

    value: A
    amount: int


@dataclass(frozen=True)
class _Done(Generic[C]):
    """What became of a thing."""

    outcome: C | Exception


def _settled(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return future


def _caught(function: Callable[P, C], *arguments: P.args, **options: P.kwargs) -> C | Exception:
    try:
        return function(*arguments, **options)
    except Exception as error:
        return error
