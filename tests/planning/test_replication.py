"""After any failures every layer comes from somebody who holds it, by the rules of FTPipeHD."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.planning.cost import PlanningError
from edgesim.planning.replication import (
    Holdings,
    Unrecoverable,
    moved_between,
    moved_bytes,
    sources,
)

PARAMETERS = [928, 896, 5136, 8832, 10000, 14848, 14848, 21056, *[54272] * 3, 66624, *[118272] * 2]
PARAMETERS += [155264, *[320000] * 2, 473920, 412160, 12810]
LAYER_BYTES = [4 * number for number in PARAMETERS]
"""MobileNetV2 at 3x32x32 with 10 classes: 20 layers, as FTPipeHD counts them; float32."""

ORDER = ("hub", "one", "two")
STAGES = (range(7), range(7, 14), range(14, 20))


def layers(*spans):
    return frozenset(layer for first, last in spans for layer in range(first, last + 1))


def held(order, stages, *, gone=(), restarted=(), whole=frozenset(), chain=True):
    """What survivors hold when every stage has its chain replica on the next device."""
    lost = {*gone, *restarted}
    live = {name: frozenset(stage) for name, stage in zip(order, stages, strict=True) if name not in lost}
    after = [*order[1:], order[0]] if len(order) > 1 else []
    copies = {name: frozenset(stage) for name, stage in zip(after, stages, strict=False) if name not in lost}
    live |= {name: frozenset() for name in restarted}
    return Holdings(live=live, chain=copies if chain else {}, whole=whole)


def told(fetches):
    return [(one.target, one.source, one.layers[0], one.layers[-1], one.kind) for one in fetches]


def test_the_model_is_the_one_the_authors_trained():
    assert (len(PARAMETERS), sum(PARAMETERS)) == (20, 2_236_682)


def test_vector_1_the_first_worker_fails_and_nothing_crosses_the_network():
    holdings = held(ORDER, STAGES, gone=["one"], whole=layers((7, 19)))
    needs = {"hub": range(10), "two": range(10, 20)}
    fetches = sources(needs, holdings, ORDER, STAGES, "hub")
    assert told(fetches) == [
        ("hub", "hub", 0, 6, "live"),
        ("hub", "hub", 7, 9, "own-global"),
        ("two", "two", 10, 13, "own-chain"),
        ("two", "two", 14, 19, "live"),
    ]
    assert all(one.local for one in fetches)
    assert moved_bytes(fetches, LAYER_BYTES) == 0


@pytest.mark.parametrize("chain", [True, False])
def test_vector_2_the_last_worker_fails(chain):
    """The central node serves 14-19 from its chain replica; before there is one, from its global copy."""
    holdings = held(ORDER, STAGES, gone=["two"], whole=layers((7, 19)), chain=chain)
    needs = {"hub": range(10), "one": range(10, 20)}
    fetches = sources(needs, holdings, ORDER, STAGES, "hub")
    assert told(fetches) == [
        ("hub", "hub", 0, 6, "live"),
        ("hub", "hub", 7, 9, "own-global"),
        ("one", "one", 10, 13, "live"),
        ("one", "hub", 14, 19, "central-chain" if chain else "central-global"),
    ]
    assert moved_bytes(fetches, LAYER_BYTES) == 4 * 1_694_154 == 6_776_616
    assert moved_between(fetches, LAYER_BYTES) == {("hub", "one"): 6_776_616}


@pytest.mark.parametrize("chain", [False, True])
def test_vector_3_both_workers_fail(chain):
    """The vector takes 7-19 from global copies; a chain replica of the old last stage, if any, is newer."""
    holdings = held(ORDER, STAGES, gone=["one", "two"], whole=layers((7, 19)), chain=chain)
    fetches = sources({"hub": range(20)}, holdings, ORDER, STAGES, "hub")
    last = [("hub", "hub", 7, 13, "own-global"), ("hub", "hub", 14, 19, "own-chain")]
    copies = last if chain else [("hub", "hub", 7, 19, "own-global")]
    assert told(fetches) == [("hub", "hub", 0, 6, "live"), *copies]
    assert moved_bytes(fetches, LAYER_BYTES) == 0


@pytest.mark.parametrize("copies", [True, False])
def test_vector_4_without_failure_live_weights_move_whatever_copies_there_are(copies):
    holdings = held(ORDER, STAGES, whole=layers((7, 19)) if copies else frozenset(), chain=copies)
    needs = {"hub": range(5), "one": range(5, 11), "two": range(11, 20)}
    fetches = sources(needs, holdings, ORDER, STAGES, "hub")
    assert told(fetches) == [
        ("hub", "hub", 0, 4, "live"),
        ("one", "hub", 5, 6, "owner"),
        ("one", "one", 7, 10, "live"),
        ("two", "one", 11, 13, "owner"),
        ("two", "two", 14, 19, "live"),
    ]
    assert moved_between(fetches, LAYER_BYTES) == {("hub", "one"): 118_784, ("one", "two"): 1_212_672}
    assert moved_bytes(fetches, LAYER_BYTES) == 1_331_456


def test_the_central_node_takes_live_weights_where_nothing_failed():
    holdings = held(ORDER, STAGES, whole=layers((7, 19)))
    needs = {"hub": range(10), "one": range(10, 14), "two": range(14, 20)}
    fetches = sources(needs, holdings, ORDER, STAGES, "hub")
    assert {one.kind for one in fetches} == {"live", "owner"}


FIVE = ("hub", "a", "b", "c", "d")
FIVES = (range(2), range(2, 4), range(4, 6), range(6, 8), range(8, 10))


def test_adjacent_failures_are_served_by_the_last_successor_and_the_central_node():
    """a and b are gone: b's layers live on in c, a's, whose successor b failed too, on the central node."""
    holdings = held(FIVE, FIVES, gone=["a", "b"], whole=layers((2, 9)))
    needs = {"hub": range(2), "c": range(2, 7), "d": range(7, 10)}
    fetches = sources(needs, holdings, FIVE, FIVES, "hub")
    assert told(fetches) == [
        ("hub", "hub", 0, 1, "live"),
        ("c", "hub", 2, 3, "central-global"),
        ("c", "c", 4, 5, "own-chain"),
        ("c", "c", 6, 6, "live"),
        ("d", "d", 7, 7, "own-chain"),
        ("d", "d", 8, 9, "live"),
    ]


def test_old_stages_keep_their_old_devices():
    """b fails; d, stage 4 then and 3 now, takes b's layers from c: old stage 3, not new stage 3."""
    holdings = held(FIVE, FIVES, gone=["b"])
    needs = {"hub": range(1), "a": range(1, 4), "c": range(6, 8), "d": [4, 5, 8, 9]}
    fetches = sources(needs, holdings, FIVE, FIVES, "hub")
    assert told(fetches) == [
        ("hub", "hub", 0, 0, "live"),
        ("a", "a", 1, 1, "own-chain"),
        ("a", "a", 2, 3, "live"),
        ("c", "c", 6, 7, "live"),
        ("d", "c", 4, 5, "successor"),
        ("d", "d", 8, 9, "live"),
    ]


def test_distant_failures_need_no_global_copy():
    holdings = held(FIVE, FIVES, gone=["a", "d"])
    needs = {"hub": range(4), "b": range(4, 6), "c": range(6, 10)}
    fetches = sources(needs, holdings, FIVE, FIVES, "hub")
    assert told(fetches) == [
        ("hub", "hub", 0, 1, "live"),
        ("hub", "b", 2, 3, "successor"),
        ("b", "b", 4, 5, "live"),
        ("c", "c", 6, 7, "live"),
        ("c", "hub", 8, 9, "central-chain"),
    ]


def test_a_restarted_device_takes_its_layers_back_and_counts_as_no_holder():
    holdings = held(FIVE, FIVES, restarted=["a", "b"], whole=layers((2, 9)))
    needs = dict(zip(FIVE, FIVES, strict=True))
    fetches = sources(needs, holdings, FIVE, FIVES, "hub")
    assert told(fetches)[1:3] == [("a", "hub", 2, 3, "central-global"), ("b", "c", 4, 5, "successor")]


def test_beyond_the_paper_live_weights_come_before_copies():
    holdings = held(ORDER, STAGES, gone=["two"], whole=layers((7, 19)))
    needs = {"hub": range(10), "one": range(10, 20)}
    fetches = sources(needs, holdings, ORDER, STAGES, "hub", live_first=True)
    assert ("hub", "one", 7, 9, "owner") in told(fetches)
    assert [one.held for one in fetches] == ["live", "live", "live", "chain"]


def test_what_nobody_holds_is_named_with_a_remedy():
    holdings = held(FIVE, FIVES, gone=["a", "b"], restarted=["c"], whole=frozenset({2}))
    with pytest.raises(Unrecoverable) as raised:
        sources({"hub": range(10)}, holdings, FIVE, FIVES, "hub")
    assert raised.value.layers == (3, 4, 5)
    assert str(raised.value) == (
        "layers 3-5 (counted from 0) cannot be recovered: a, b failed and c has none of them, and the "
        "central node has no copy; copy them more often, or to the central node as well"
    )


def test_a_last_resort_before_giving_up():
    """A failure in the middle of a move: two layers are held by devices that the old plan does not expect."""
    holdings = Holdings(
        live={"hub": frozenset({0}), "c": frozenset({2})}, chain={"hub": frozenset({1}), "c": frozenset({3})}
    )
    order, stages = ("hub", "a", "b"), (range(1), range(1, 3), range(3, 4))
    fetches = sources({"hub": [0], "c": [1, 2], "d": [3]}, holdings, order, stages, "hub")
    assert told(fetches)[1:] == [
        ("c", "hub", 1, 1, "central-chain"),
        ("c", "c", 2, 2, "live"),
        ("d", "c", 3, 3, "other-chain"),
    ]
    away = sources({"d": [2]}, holdings, order, stages, "hub")
    assert told(away) == [("d", "c", 2, 2, "other-live")]


def test_layers_of_another_model_are_refused():
    with pytest.raises(PlanningError, match="layer 20 of hub was in no old stage"):
        sources({"hub": [20]}, held(ORDER, STAGES), ORDER, STAGES, "hub")
    with pytest.raises(PlanningError, match="2 devices for 3 stages"):
        sources({"hub": [0]}, held(ORDER, STAGES), ORDER[:2], STAGES, "hub")


@st.composite
def pipelines(draw):
    """Stages, needs and holdings of any kind: also such as no failure leaves behind."""
    stages = draw(st.integers(1, 5))
    cuts = sorted(draw(st.sets(st.integers(1, 9), min_size=stages - 1, max_size=stages - 1)))
    spans = tuple(range(a, b) for a, b in zip([0, *cuts], [*cuts, 10], strict=True))
    order = tuple("hub" if number == 0 else f"w{number}" for number in range(stages))
    some = st.frozensets(st.integers(0, 9))
    alive = [name for name in order if name == "hub" or draw(st.booleans())]
    live = {name: draw(some) for name in alive}
    chain = {name: draw(some) for name in alive}
    needs = {name: sorted(draw(some)) for name in alive}
    return needs, Holdings(live=live, chain=chain, whole=draw(some)), order, spans


@given(pipelines(), st.booleans())
def test_whatever_is_held_each_layer_has_one_source_that_holds_it(drawn, live_first):
    needs, holdings, order, stages = drawn
    everything = holdings.whole.union(*holdings.live.values(), *holdings.chain.values())
    wanted = {layer for layers in needs.values() for layer in layers}
    if not wanted <= everything:
        with pytest.raises(Unrecoverable) as raised:
            sources(needs, holdings, order, stages, "hub", live_first=live_first)
        assert set(raised.value.layers) == wanted - everything
        return
    fetches = sources(needs, holdings, order, stages, "hub", live_first=live_first)
    for name, layers in needs.items():
        assert [layer for one in fetches if one.target == name for layer in one.layers] == layers
    by_held = {"live": holdings.live, "chain": holdings.chain, "whole": {"hub": holdings.whole}}
    for one in fetches:
        assert set(one.layers) <= by_held[one.held][one.source]
        assert one.local == one.kind.startswith(("live", "own-")) or one.source == one.target == "hub"
        if not one.local:
            assert not set(one.layers) & holdings.live[one.target]
        if live_first and one.held != "live":
            assert not set(one.layers) & frozenset().union(*holdings.live.values())
    following = itertools.pairwise(fetches)
    assert not any(
        (a.target, a.source, a.kind, a.layers[-1] + 1) == (b.target, b.source, b.kind, b.layers[0])
        for a, b in following
    )


@given(st.integers(2, 6), st.data())
def test_any_failures_of_workers_are_survived_with_global_copies_and_any_single_one_without(count, data):
    order = tuple("hub" if number == 0 else f"w{number}" for number in range(count))
    stages = tuple(range(2 * number, 2 * number + 2) for number in range(count))
    gone = data.draw(st.sets(st.sampled_from(order[1:]), min_size=1))
    left = [name for name in order if name not in gone]
    cuts = [round(2 * count * number / len(left)) for number in range(len(left) + 1)]
    needs = {name: range(a, b) for name, a, b in zip(left, cuts, cuts[1:], strict=False)}
    sources(needs, held(order, stages, gone=gone, whole=frozenset(range(2, 2 * count))), order, stages, "hub")
    adjacent = any(a in gone and b in gone for a, b in itertools.pairwise(order))
    bare = held(order, stages, gone=gone)
    if adjacent:
        with pytest.raises(Unrecoverable):
            sources(needs, bare, order, stages, "hub")
    else:
        sources(needs, bare, order, stages, "hub")


@given(pipelines())
def test_what_crosses_the_network_is_what_its_target_does_not_hold(drawn):
    needs, holdings, order, stages = drawn
    try:
        fetches = sources(needs, holdings, order, stages, "hub")
    except Unrecoverable:
        return
    owned = zip(order, stages, strict=True)
    intact = all(set(stage) <= holdings.live.get(name, frozenset()) for name, stage in owned)
    own = {
        name: holdings.live[name]
        | (frozenset() if intact else holdings.chain[name])
        | (holdings.whole if name == "hub" and not intact else frozenset())
        for name in needs
    }
    sizes = [2**layer for layer in range(10)]
    expected = sum(
        sizes[layer] for name, layers in needs.items() for layer in layers if layer not in own[name]
    )
    assert moved_bytes(fetches, sizes) == expected == sum(moved_between(fetches, sizes).values())
