"""Which of several servers holds which layers, so that each holds about the same number of bytes."""

from __future__ import annotations

from collections.abc import Sequence


def shards(sizes: Sequence[int], servers: int) -> tuple[int, ...]:
    """Return the 0-based server of each layer, for layers of these sizes in B, in forward order.

    Largest first, each to the server that holds least so far, ties to the earlier one (longest processing
    time first: at most 4/3 of the best possible balance; Graham, SIAM J. Appl. Math. 17(2), 1969).
    O(L log L + L S). Raises ValueError for no servers.

    >>> shards([4, 1, 3, 2], 2)
    (0, 0, 1, 1)
    """
    if servers < 1:
        raise ValueError(f"{servers} servers; at least 1 is due")
    held = [0] * servers
    chosen = [0] * len(sizes)
    for layer in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        server = min(range(servers), key=held.__getitem__)
        chosen[layer] = server
        held[server] += sizes[layer]
    return tuple(chosen)
