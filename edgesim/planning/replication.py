"""Copies of weights on other devices: who takes which layers from whom when a pipeline is cut anew.

Legend: L layers, 0-based; S stages. Stage k keeps a *chain replica* on the device of stage k+1, its
successor; that of the last stage is the central node, which also keeps *global copies* of every stage.

`sources` is how FTPipeHD (Chen et al., arXiv 2110.02781, IEEE TMC 2023) recovers. Devices go by their names
only: the index of an old stage means nothing among those who are left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, NamedTuple

from edgesim.errors import SimulationError
from edgesim.planning.cost import PlanningError

Held = Literal["live", "chain", "whole"]
Kind = Literal[
    "live",
    "own-chain",
    "own-global",
    "owner",
    "central-live",
    "central-chain",
    "central-global",
    "successor",
    "other-live",
    "other-chain",
]

KINDS: Mapping[Kind, Held] = {
    "live": "live",
    "own-chain": "chain",
    "own-global": "whole",
    "owner": "live",
    "central-live": "live",
    "central-chain": "chain",
    "central-global": "whole",
    "successor": "chain",
    "other-live": "live",
    "other-chain": "chain",
}
"""Every way to come by a layer, and what is come by: live weights, a chain replica or a global copy.

`live`, `own-chain`, `own-global`: the device holds it itself; `owner`: from the device of its old stage;
`central-...`: from the central node, whose stage it was not; `successor`: from the device of the stage after
the old one; `other-...`: from somebody else, where no rule of the paper finds anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Layers that one device comes by in one way."""

    target: str
    """Device that needs them."""
    source: str
    """Device that gives them; the target itself where nothing crosses the network."""
    layers: tuple[int, ...]
    """0-based layers, consecutive."""
    kind: Kind
    """How they are come by, a key of `KINDS`."""

    @property
    def local(self) -> bool:
        """Whether the target holds them itself."""
        return self.source == self.target

    @property
    def held(self) -> Held:
        """What is taken: weights as they are, or as they were at the last chain or global copy."""
        return KINDS[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What those who answer hold. Who failed is named nowhere; who restarted holds nothing."""

    live: Mapping[str, frozenset[int]]
    """0-based layers of which each device has the live weights."""
    chain: Mapping[str, frozenset[int]]
    """0-based layers of which each device has a chain replica."""
    whole: frozenset[int] = frozenset()
    """0-based layers of which the central node has a global copy."""


REMEDY = "copy them more often, or to the central node as well"


class Unrecoverable(SimulationError):
    """Layers of which nobody is left who holds them, live or as a copy."""

    def __init__(self, layers: Sequence[int], why: str, remedy: str = REMEDY) -> None:
        self.layers = tuple(layers)
        """0-based layers that are lost, ascending."""
        self.why = why
        """What became of them."""
        super().__init__(
            f"layers {_spans(self.layers)} (counted from 0) cannot be recovered: {why}; {remedy}"
        )


def sources(
    needs: Mapping[str, Sequence[int]],
    holdings: Holdings,
    old_order: Sequence[str],
    old_stages: Sequence[range],
    central: str,
    *,
    live_first: bool = False,
) -> tuple[Fetch, ...]:
    """Return from whom each device takes each layer that it needs: `Fetch`es in the order of `needs`.

    `needs` gives the 0-based layers of each device's new stage, `old_order` and `old_stages` the device and
    the layers of each stage so far, failed ones included. Of these the first that holds the layer is taken:

    - the device itself: (a) live weights; (b) its chain replica; if it is the central node, its global copy;
    - (c) the layer's old owner, live;
    - (d) the central node, if the owner was the last stage, or if its successor has no replica of it (has
      failed too, or restarted): what it has live, its chain replica, its global copy;
    - (e) the chain replica of the owner's successor;
    - anybody else at all. This last resort is ours; it only comes into play where failures overlap.

    If every layer is live at its owner, nothing has failed and copies are left alone: live weights move, and
    no update is lost. Otherwise, by the paper's rules, a survivor's own copy comes before another's live
    weights: fewer bytes, more updates lost. `live_first` goes beyond the paper: copies are only taken where
    nobody has live weights, so that only updates of failed stages are lost. O(layers needed * devices).

    Raise `Unrecoverable` if nobody holds some layer, `PlanningError` for a layer that no old stage had.

    Source: FTPipeHD, the recovery algorithm of the paper.

    >>> both = Holdings(live={"hub": frozenset({0})}, chain={"b": frozenset({1})})
    >>> for one in sources({"hub": [0], "b": [1, 2]}, both, ["hub", "a"], [range(1), range(1, 3)], "hub"):
    ...     print(one)
    Traceback (most recent call last):
    edgesim.planning.replication.Unrecoverable: layers 2 (counted from 0) cannot be recovered: ...
    >>> for one in sources({"hub": [0], "b": [1]}, both, ["hub", "a"], [range(1), range(1, 3)], "hub"):
    ...     print(one)
    Fetch(target='hub', source='hub', layers=(0,), kind='live')
    Fetch(target='b', source='b', layers=(1,), kind='own-chain')
    """
    old = _Old.read(old_order, old_stages, central)
    intact = all(layer in holdings.live.get(owner, ()) for layer, owner in old.owner.items())
    fetches: list[Fetch] = []
    lost: set[int] = set()
    for target, layers in needs.items():
        ways: list[tuple[int, str, Kind]] = []
        for layer in sorted(set(layers)):
            found = list(_ways(target, layer, holdings, old))
            if live_first or intact:
                found.sort(key=lambda way: KINDS[way[1]] != "live")
            ways += [(layer, *way) for way in found[:1]]
            lost |= set() if found else {layer}
        fetches += _merged(target, ways)
    if lost:
        raise Unrecoverable(sorted(lost), _fate(lost, holdings, old))
    return tuple(fetches)


class _Old(NamedTuple):
    """The stages so far, layer by layer."""

    owner: Mapping[int, str]
    successor: Mapping[int, str]
    last: str
    central: str

    @classmethod
    def read(cls, order: Sequence[str], stages: Sequence[range], central: str) -> _Old:
        """Return who owned each layer, and who came after."""
        if not order or len(order) != len(stages):
            raise PlanningError(f"{len(order)} devices for {len(stages)} stages: give one device a stage")
        after = [*order[1:], central]
        return cls(
            owner={layer: name for name, stage in zip(order, stages, strict=True) for layer in stage},
            successor={layer: name for name, stage in zip(after, stages, strict=True) for layer in stage},
            last=order[-1],
            central=central,
        )


def _ways(target: str, layer: int, holdings: Holdings, old: _Old) -> Iterator[tuple[str, Kind]]:
    """Yield every source of a layer and its kind, by the rules of `sources` from first to last."""
    if layer not in old.owner:
        raise PlanningError(f"layer {layer} of {target} was in no old stage: give the layers of one model")
    live, chain, central = holdings.live, holdings.chain, old.central
    owner, successor = old.owner[layer], old.successor[layer]
    if layer in live.get(target, ()):
        yield target, "live"
    if layer in chain.get(target, ()):
        yield target, "own-chain"
    if target == central and layer in holdings.whole:
        yield target, "own-global"
    if layer in live.get(owner, ()):
        yield owner, "owner"
    if owner == old.last or layer not in chain.get(successor, ()):
        if layer in live.get(central, ()):
            yield central, "central-live"
        if layer in chain.get(central, ()):
            yield central, "central-chain"
        if layer in holdings.whole:
            yield central, "central-global"
    if layer in chain.get(successor, ()):
        yield successor, "successor"
    yield from ((name, "other-live") for name, layers in live.items() if layer in layers)
    yield from ((name, "other-chain") for name, layers in chain.items() if layer in layers)


def _merged(target: str, ways: Iterable[tuple[int, str, Kind]]) -> list[Fetch]:
    """Return one `Fetch` for each run of consecutive layers that come from one source in one way."""
    numbered = enumerate(ways)
    runs = groupby(numbered, key=lambda one: (one[1][0] - one[0], one[1][1], one[1][2]))
    return [
        Fetch(target=target, source=source, layers=tuple(way[0] for _, way in run), kind=kind)
        for (_, source, kind), run in runs
    ]


def _fate(lost: Iterable[int], holdings: Holdings, old: _Old) -> str:
    """Say what became of the owners of lost layers and of those who should hold a copy."""
    names = dict.fromkeys(name for layer in sorted(lost) for name in (old.owner[layer], old.successor[layer]))
    answers = {*holdings.live, *holdings.chain}
    gone = [name for name in names if name not in answers]
    empty = [name for name in names if name in answers]
    told = [f"{', '.join(gone)} failed"] if gone else []
    told += [f"{', '.join(empty)} has none of them"] if empty else []
    return " and ".join(told) + ", and the central node has no copy"


def _spans(layers: Sequence[int]) -> str:
    """Return layers as text, runs as first-last.

    >>> _spans([1, 2, 3, 7])
    '1-3, 7'
    """
    runs = groupby(enumerate(sorted(layers)), key=lambda one: one[1] - one[0])
    ends = [(run[0], run[-1]) for run in ([layer for _, layer in pairs] for _, pairs in runs)]
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)


def moved_between(fetches: Iterable[Fetch], layer_bytes: Sequence[float]) -> dict[tuple[str, str], float]:
    """Return the bytes that cross the network from each source to each target; `layer_bytes` has L numbers.

    >>> moved_between([Fetch(target="a", source="hub", layers=(1, 2), kind="owner")], [9, 5, 6])
    {('hub', 'a'): 11}
    """
    moved: dict[tuple[str, str], float] = {}
    for one in fetches:
        if not one.local:
            size = sum(layer_bytes[layer] for layer in one.layers)
            moved[one.source, one.target] = moved.get((one.source, one.target), 0) + size
    return moved


def moved_bytes(fetches: Iterable[Fetch], layer_bytes: Sequence[float]) -> float:
    """Return the bytes that cross the network in all; what a device holds itself costs none.

    >>> moved_bytes([Fetch(target="a", source="a", layers=(1, 2), kind="own-chain")], [9, 5, 6])
    0
    """
    return sum(moved_between(fetches, layer_bytes).values())
