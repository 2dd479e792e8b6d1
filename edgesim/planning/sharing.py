"""What rate each of many messages can expect when all are sent at once: max-min fair shares of the links."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush


def fair_rates(routes: Sequence[Sequence[str]], capacity_Bps: Mapping[str, float]) -> list[float]:
    """Return the max-min fair rate of each route, in B/s, when a message without end flows over each.

    Progressive filling (Bertsekas and Gallager, Data Networks, 1992, section 6.5.2): the link that offers
    the least share fixes the rate of the routes over it, and so on. A link crossed twice counts once.
    O(H log H) for H hops in all.

    >>> fair_rates([("up", "a"), ("up", "b")], {"up": 10.0, "a": 2.0, "b": 20.0})
    [2.0, 8.0]
    """
    members: dict[str, list[int]] = {}
    for index, route in enumerate(routes):
        for link in dict.fromkeys(route):
            members.setdefault(link, []).append(index)
    left = {link: capacity_Bps[link] for link in members}
    open_routes = {link: len(users) for link, users in members.items()}
    shares = [(left[link] / open_routes[link], order, link) for order, link in enumerate(members)]
    orders = {link: order for _, order, link in shares}
    heapify(shares)
    rates: list[float | None] = [None] * len(routes)
    while shares:
        share, _, link = heappop(shares)
        if not open_routes[link] or share < left[link] / open_routes[link]:
            continue  # out of date: every route is fixed, or a newer entry follows
        touched: dict[str, None] = {}
        for index in members[link]:
            if rates[index] is None:
                rates[index] = share
                for other in dict.fromkeys(routes[index]):
                    left[other] = max(left[other] - share, 0.0)
                    open_routes[other] -= 1
                    touched[other] = None
        for other in touched:
            if open_routes[other]:
                heappush(shares, (left[other] / open_routes[other], orders[other], other))
    return [0.0 if rate is None else rate for rate in rates]


def crowded(
    users: Iterable[Mapping[str, float]], capacity_Bps: Mapping[str, float], held: Collection[str]
) -> bool:
    """Tell whether users of links slow each other down, when each wants up to so much of each link, in B/s.

    They do on a link that several use and that cannot carry all they want, or that is among the `held`: those
    that a message keeps for itself while it starts up.

    >>> crowded([{"a": 2.0, "up": 2.0}, {"b": 3.0, "up": 3.0}], {"a": 2.0, "b": 3.0, "up": 4.0}, held=())
    True
    """
    wanted: dict[str, float] = {}
    count: dict[str, int] = {}
    for user in users:
        for link, rate in user.items():
            wanted[link] = wanted.get(link, 0.0) + rate
            count[link] = count.get(link, 0) + 1
    return any(
        number > 1 and (link in held or wanted[link] > capacity_Bps[link]) for link, number in count.items()
    )
