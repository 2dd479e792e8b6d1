"""Messages in queues by priority: when each is over, on a link a direction or on one for both.

Messages of a queue are numbered from the most urgent on. One is on the link at a time, the most urgent of
those that can be; what has begun is not interrupted. All times in s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from math import inf


def serve(eligible_s: Sequence[float], hold_s: Sequence[float]) -> list[float]:
    """Return when each message is over, if it can be on the link from `eligible_s` on and holds it `hold_s`.

    O(M log M) for M messages.

    >>> serve([3.0, 2.0, 0.0], [1.0, 1.0, 2.5])
    [4.5, 3.5, 2.5]
    >>> serve([2.0, 2.0, 0.0], [1.0, 1.0, 2.5])
    [3.5, 4.5, 2.5]
    """
    count = len(eligible_s)
    order = sorted(range(count), key=eligible_s.__getitem__)
    ends = [0.0] * count
    waiting: list[int] = []
    now = 0.0
    position = 0
    while position < count or waiting:
        if not waiting and eligible_s[order[position]] > now:
            now = eligible_s[order[position]]
        while position < count and eligible_s[order[position]] <= now:
            heappush(waiting, order[position])
            position += 1
        index = heappop(waiting)
        now += hold_s[index]
        ends[index] = now
    return ends


class Queue:
    """Messages of one sender, of which some are committed: nothing overtakes them any more."""

    def __init__(
        self,
        coming: Iterable[tuple[float, int]],
        hold_s: Sequence[float],
        sizes: Sequence[float],
        credit: float,
    ) -> None:
        self.hold_s = hold_s
        """How long each message holds the link, in s."""
        self._coming = list(coming)
        heapify(self._coming)
        self._waiting: list[int] = []
        self._committed: deque[int] = deque()
        self._sizes = sizes
        self._room = credit

    def add(self, eligible_s: float, index: int) -> None:
        """Let a message come at a time."""
        heappush(self._coming, (eligible_s, index))

    @property
    def next_s(self) -> float:
        """When the next message comes; inf: none will."""
        return self._coming[0][0] if self._coming else inf

    def admit(self, now: float) -> None:
        """Take in what has come until now, instant by instant, and commit as far as there is room."""
        while self._coming and self._coming[0][0] <= now:
            instant = self._coming[0][0]
            while self._coming and self._coming[0][0] == instant:
                heappush(self._waiting, heappop(self._coming)[1])
            self._commit()

    def head(self) -> int | None:
        """Return the message that is next, if any is here."""
        if self._committed:
            return self._committed[0]
        return self._waiting[0] if self._waiting else None

    def take(self) -> int:
        """Put the next message on the link."""
        if not self._committed:
            return heappop(self._waiting)
        index = self._committed.popleft()
        self._room += self._sizes[index]
        self._commit()
        return index

    def _commit(self) -> None:
        while self._waiting and self._sizes[self._waiting[0]] <= self._room:
            self._room -= self._sizes[self._waiting[0]]
            self._committed.append(heappop(self._waiting))


def serve_ahead(
    eligible_s: Sequence[float], hold_s: Sequence[float], sizes: Sequence[float], credit: float
) -> list[float]:
    """Return the same where messages of at most `credit` B in all are committed behind the one on the link.

    >>> serve_ahead([2.25, 2.0, 0.0], [1.0, 1.0, 2.5], [1, 1, 1], credit=0)
    [3.5, 4.5, 2.5]
    >>> serve_ahead([2.25, 2.0, 0.0], [1.0, 1.0, 2.5], [1, 1, 1], credit=1)
    [4.5, 3.5, 2.5]
    """
    queue = Queue(zip(eligible_s, range(len(hold_s)), strict=True), hold_s, sizes, credit)
    ends = [0.0] * len(hold_s)
    now = 0.0
    for _ in ends:
        queue.admit(now)
        if queue.head() is None:
            now = queue.next_s
            queue.admit(now)
        index = queue.take()
        now += hold_s[index]
        queue.admit(now)
        ends[index] = now
    return ends


def serve_both(
    pushes: Queue,
    pulls: Queue,
    urgency: tuple[Sequence[int], Sequence[int]],
    released: Callable[[int, float], Iterable[tuple[float, int]]],
) -> list[float]:
    """Return when each pull is over where one link carries both directions, one message at a time.

    `urgency` is the first layer of each push and of each pull: the lower goes first, of equals the pull.
    `released` tells, push by push as they end, which pulls can be on the link from when on.
    """
    ends = [0.0] * len(pulls.hold_s)
    now = 0.0
    for _ in range(len(pushes.hold_s) + len(ends)):
        pushes.admit(now)
        pulls.admit(now)
        if pushes.head() is None and pulls.head() is None:
            now = min(pushes.next_s, pulls.next_s)
            pushes.admit(now)
            pulls.admit(now)
        up, down = pushes.head(), pulls.head()
        if up is None or (down is not None and urgency[1][down] <= urgency[0][up]):
            index = pulls.take()
            now += pulls.hold_s[index]
            ends[index] = now
        else:
            index = pushes.take()
            now += pushes.hold_s[index]
            for eligible_s, pull in released(index, now):
                pulls.add(eligible_s, pull)
    return ends
