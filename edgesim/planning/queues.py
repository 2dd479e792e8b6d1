"""Messages in queues by priority: when each is over, on a link of its own or shared with another queue.

They are served as the engine's streams and fair links do. The messages of a queue are numbered from the most
urgent on. One at a time has its turn, the most urgent of those released; nothing interrupts it. It waits
until its latency has passed since its release, then holds the link. All times in s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from math import inf


def serve(released_s: Sequence[float], hold_s: Sequence[float], latency_s: float = 0.0) -> list[float]:
    """Return when each message is over, if it is released at `released_s` and holds the link for `hold_s`.

    O(M log M) for M messages.

    >>> serve([3.0, 2.0, 0.0], [1.0, 1.0, 2.5])
    [4.5, 3.5, 2.5]
    >>> serve([2.0, 2.0, 0.0], [1.0, 1.0, 2.5], latency_s=2.0)
    [5.5, 6.5, 4.5]
    """
    count = len(released_s)
    order = sorted(range(count), key=released_s.__getitem__)
    ends = [0.0] * count
    waiting: list[int] = []
    now = 0.0
    position = 0
    while position < count or waiting:
        if not waiting and released_s[order[position]] > now:
            now = released_s[order[position]]
        while position < count and released_s[order[position]] <= now:
            heappush(waiting, order[position])
            position += 1
        index = heappop(waiting)
        if latency_s > 0.0 and released_s[index] + latency_s > now:
            now = released_s[index] + latency_s
        now += hold_s[index]
        ends[index] = now
    return ends


class Queue:
    """Messages of one sender. Some may be handed over ahead of their turn: nothing overtakes them then."""

    def __init__(
        self,
        hold_s: Sequence[float],
        latency_s: float = 0.0,
        sizes: Sequence[int] = (),
        credit: float = 0.0,
    ) -> None:
        """`credit` bounds the bytes that have their turn or are handed over, in B; 0: none are."""
        self.ends_s = [inf] * len(hold_s)
        """When each message is over, in s; inf: not yet known."""
        self.start_s = inf
        """When the message that has its turn begins to hold the link; inf: none has."""
        self.left_s = 0.0
        """How long it has to hold the link yet, in s."""
        self._hold_s = hold_s
        self._latency_s = latency_s
        self._sizes = sizes
        self._credit = credit
        self._room = credit
        self._coming: list[tuple[float, int]] = []
        self._waiting: list[tuple[int, float]] = []
        self._ahead: deque[tuple[int, float]] = deque()
        self._current = -1

    def release(self, coming: Iterable[tuple[float, int]]) -> None:
        """Let messages be released, each at a time."""
        self._coming += coming
        heapify(self._coming)

    @property
    def idle(self) -> bool:
        """True: no message has its turn."""
        return self._current < 0

    @property
    def next_s(self) -> float:
        """When the next message is released; inf: none will be."""
        return self._coming[0][0] if self._coming else inf

    def go_on(self, now: float) -> None:
        """Give the next message its turn, if any is released."""
        self._admit(now)
        if not self._ahead and not self._waiting:
            return
        if self._ahead:
            self._current, released_s = self._ahead.popleft()
        else:
            self._current, released_s = heappop(self._waiting)
            self._spend(self._current)
        if self._credit > 0.0:
            self._hand_over()
        self.start_s = max(now, released_s + self._latency_s)
        self.left_s = self._hold_s[self._current]

    def end(self, now: float) -> int:
        """End the message that has its turn; return its number."""
        self._admit(now)
        index, self._current, self.start_s = self._current, -1, inf
        self.ends_s[index] = now
        if self._credit > 0.0:
            self._room += self._sizes[index]
            self._hand_over()
        return index

    def _admit(self, now: float) -> None:
        """Take in what has been released until now, instant by instant."""
        while self._coming and self._coming[0][0] <= now:
            instant = self._coming[0][0]
            while self._coming and self._coming[0][0] == instant:
                heappush(self._waiting, (heappop(self._coming)[1], instant))
            if self._credit > 0.0 and not self.idle:
                self._hand_over()

    def _hand_over(self) -> None:
        while self._waiting and self._sizes[self._waiting[0][0]] <= self._room:
            self._spend(self._waiting[0][0])
            self._ahead.append(heappop(self._waiting))

    def _spend(self, index: int) -> None:
        if self._credit > 0.0:
            self._room -= self._sizes[index]


def run(queues: Sequence[Queue], ended: Callable[[int, int, float], None]) -> None:
    """Serve queues that share one link evenly, until nothing is left.

    `ended` hears which queue has ended which message, and when; it may release more. Two messages at once
    are each half as fast, as on a fair link.
    """
    now = 0.0
    while True:
        for queue in queues:
            if queue.idle:
                queue.go_on(now)
        active = [queue for queue in queues if queue.start_s <= now]
        share = len(active)
        times = [queue.next_s for queue in queues if queue.idle]
        times += [queue.start_s for queue in queues if queue.start_s > now]
        times += [now + queue.left_s * share for queue in active]
        then = min(times)
        if then == inf:
            return
        for number, queue in enumerate(queues):
            if queue in active:
                if now + queue.left_s * share <= then:
                    ended(number, queue.end(then), then)
                else:
                    queue.left_s -= (then - now) / share
        now = then


def serve_ahead(
    released_s: Sequence[float],
    hold_s: Sequence[float],
    latency_s: float,
    sizes: Sequence[int],
    credit: float,
) -> list[float]:
    """Return what `serve` does where messages are handed over ahead, of `credit` B with the one in turn.

    >>> serve_ahead([2.25, 2.0, 0.0], [1.0, 1.0, 2.5], 0.0, [1, 1, 1], credit=1)
    [3.5, 4.5, 2.5]
    >>> serve_ahead([2.25, 2.0, 0.0], [1.0, 1.0, 2.5], 0.0, [1, 1, 1], credit=2)
    [4.5, 3.5, 2.5]
    """
    queue = Queue(hold_s, latency_s, sizes, credit)
    queue.release(zip(released_s, range(len(hold_s)), strict=True))
    run([queue], lambda *_: None)
    return queue.ends_s
