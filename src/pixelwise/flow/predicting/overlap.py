"""Three stages that overlap: while one thing is worked on, the next ones are read, and the last ones are written.

Reading and writing have threads of their own; work is done by the thread that asks for the outcomes, since that is
where a network runs best. Outcomes come in the order of the things. What goes wrong with one thing is its outcome, and
stops no other.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
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
    ) -> None:
        self._weigh, self._read, self._work, self._write = weigh, read, work, write
        self._threads, self._room = threads, Room(size)

    def outcomes(self, things: Iterable[T]) -> Generator[tuple[T, C | Exception], None, None]:
        """(thing, what `write` gave, or what a stage raised) in the order of the things."""
        reading: deque[tuple[T, Future[tuple[A | Exception, int]]]] = deque()
        writing: deque[tuple[T, Future[C | Exception]]] = deque()
        readers = ThreadPoolExecutor(self._threads, "reads")
        writers = ThreadPoolExecutor(self._threads, "writes")
        left = iter(enumerate(things))
        try:
            while True:
                while len(reading) < AHEAD and (following := next(left, None)) is not None:
                    reading.append((following[1], readers.submit(self._entered, *following)))
                if not reading:
                    break
                thing, read = reading.popleft()
                found, amount = read.result()
                worked = found if isinstance(found, Exception) else _caught(self._work, thing, found)
                writing.append((thing, writers.submit(self._written, thing, worked, amount)))
                del found, read, worked  # of a large thing
                while writing and (len(writing) > AHEAD or writing[0][1].done()):
                    thing, written = writing.popleft()
                    yield thing, written.result()
            while writing:
                thing, written = writing.popleft()
                yield thing, written.result()
        finally:
            self._room.close()
            readers.shutdown(cancel_futures=True)
            writers.shutdown(cancel_futures=True)

    def _entered(self, turn: int, thing: T) -> tuple[A | Exception, int]:
        amount = _caught(self._weigh, thing)
        if isinstance(amount, Exception):
            self._room.enter(turn, 0)
            return amount, 0
        self._room.enter(turn, amount)
        return _caught(self._read, thing), amount

    def _written(self, thing: T, found: B | Exception, amount: int) -> C | Exception:
        try:
            return found if isinstance(found, Exception) else _caught(self._write, thing, found)
        finally:
            self._room.leave(amount)


def _caught(function: Callable[P, C], *arguments: P.args, **options: P.kwargs) -> C | Exception:
    try:
        return function(*arguments, **options)
    except Exception as error:
        return error
