"""The table of schedules: what holds for every entry of it, and how others join it by name."""

from __future__ import annotations

import itertools
import math
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.errors import EdgesimError
from edgesim.plan import QueuePlan, messages
from edgesim.planning import own
from edgesim.planning.cost import Costs, Phase, PlanningError, exposed_s, makespan_s, phase
from edgesim.planning.schedules import (
    PHASED,
    QUEUED,
    SCHEDULES,
    Phased,
    Queued,
    describe,
    is_built_in,
    names,
    pick,
)
from edgesim.planning.segmentation import plan, plan_backward

MODULES = itertools.count()


@st.composite
def phases(draw: st.DrawFn) -> Phase:
    """A phase of up to ten layers, forward or backward, with buckets to fill."""
    layers = draw(st.integers(1, 10))
    time = draw(st.sampled_from([st.floats(0.0, 10.0), st.integers(0, 4).map(float)]))
    times = st.lists(time, min_size=layers, max_size=layers)
    sizes = st.lists(st.integers(0, 100 * 2**20), min_size=layers, max_size=layers)
    return phase(draw(times), draw(times), draw(time), sizes=draw(sizes), backward=draw(st.booleans()))


@st.composite
def costs(draw: st.DrawFn) -> Costs:
    """What one worker sends and computes; layers from none to several million elements."""
    layers = draw(st.integers(1, 8))
    elements = tuple(draw(st.lists(st.integers(0, 5_000_000), min_size=layers, max_size=layers)))
    if not any(elements):
        elements = (1, *elements[1:])
    seconds = st.lists(st.floats(0.0, 1.0), min_size=layers, max_size=layers).map(tuple)
    width = draw(st.sampled_from([2, 4, 8]))
    return Costs(
        sizes=tuple(width * count for count in elements),
        elements=elements,
        forward_s=draw(seconds),
        backward_s=draw(seconds),
        pull_Bps=draw(st.floats(1e5, 1e10)),
        push_Bps=draw(st.floats(1e5, 1e10)),
        pull_startup_s=draw(st.sampled_from([0.0, 1e-3])),
        push_startup_s=draw(st.sampled_from([0.0, 1e-3])),
        duplex=draw(st.booleans()),
    )


@pytest.mark.parametrize("name", PHASED)
@given(times=phases())
def test_every_phased_schedule_makes_valid_cuts_and_none_beats_dynacomm(name: str, times: Phase) -> None:
    cuts = SCHEDULES[name].cut(times)
    assert isinstance(cuts, tuple)
    assert all(type(cut) is int for cut in cuts)
    assert all(low < high for low, high in pairwise((0, *cuts)))
    assert cuts[-1] == times.layers
    every = [
        (*(layer for layer, cut in enumerate(chosen, 1) if cut), times.layers)
        for chosen in itertools.product((False, True), repeat=times.layers - 1)
    ]
    assert cuts in every
    best = SCHEDULES["dynacomm"].cut(times)
    assert exposed_s(times, best) == min(exposed_s(times, one) for one in every)
    assert makespan_s(times, best) <= makespan_s(times, cuts)


@pytest.mark.parametrize("name", QUEUED)
@settings(max_examples=50)
@given(needs=costs())
def test_every_schedule_without_a_barrier_covers_the_model_exactly(name: str, needs: Costs) -> None:
    made = SCHEDULES[name].split(needs)
    assert made.method == name
    assert made.credit_bytes >= 0.0
    for borders in (made.push_borders, made.pull_borders):
        assert all(type(border) is int for border in borders)
        sent = messages(borders, needs.sizes)
        assert sum(one.bytes for one in sent) == sum(needs.sizes)
        assert (sent[0].low, sent[-1].high) == (0, sum(needs.sizes))
        assert all(one.high == other.low for one, other in pairwise(sent))


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_plans_alike_each_time_and_says_what_it_does(name: str) -> None:
    schedule = SCHEDULES[name]
    assert 10 < len(describe(schedule)) < 90
    assert "\n" not in describe(schedule)
    if isinstance(schedule, Phased):
        times = phase([3, 1, 2, 5], [1, 4, 1, 2], 1, sizes=[30 << 20, 8, 40 << 20, 1], backward=True)
        assert schedule.cut(times) == schedule.cut(times)
    else:
        needs = Costs((400, 80), (100, 20), (0.1, 0.2), (0.2, 0.1), 1e3, 1e3)
        assert schedule.split(needs) == schedule.split(needs)


def test_the_table_has_the_names_of_the_field() -> None:
    rivals = ["sequential", "layer-by-layer", "ibatch", "mg-wfbp", "tictac", "fusion-25mb", "fusion-64mb"]
    assert (*rivals, "dynacomm") == PHASED
    assert QUEUED == ("p3", "bytescheduler", "dynacomm-overlap")
    assert [name for name in PHASED if SCHEDULES[name].adapts] == ["dynacomm"]
    assert all(pick(name) is schedule for name, schedule in SCHEDULES.items())
    assert all(is_built_in(name) for name in SCHEDULES)
    assert names()[: len(SCHEDULES)] == tuple(SCHEDULES)


def test_the_first_line_of_a_docstring_describes_a_schedule_without_a_doc() -> None:
    def mine(times: Phase) -> tuple[int, ...]:
        """Return one segment.

        And that is all.
        """
        return (times.layers,)

    assert describe(Phased(mine)) == "Return one segment."
    assert describe(Phased(mine, doc="said otherwise")) == "said otherwise"
    assert describe(Phased(partial(mine))) == ""
    assert describe(Queued(lambda needs: QueuePlan(push_borders=(1,), pull_borders=(1,)))) == ""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that writes a module of a fresh name, from its text."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def write(text: str) -> str:
        written.append(f"mine_{next(MODULES)}")
        (tmp_path / f"{written[-1]}.py").write_text(text)
        return written[-1]

    yield write
    for name in written:
        sys.modules.pop(name, None)


MINE = '''
from edgesim.plan import QueuePlan
from edgesim.planning.schedules import Phased, Queued

def halves(times):
    """Two segments, where there are two layers."""
    return sorted({(times.layers + 1) // 2, times.layers})

def whole(costs):
    size = sum(costs.sizes)
    return QueuePlan(push_borders=(size,), pull_borders=[size])

following = Phased(halves, adapts=True, doc="halves that follow")
queued = Queued(whole)
rehearsed = Queued(whole, adapts=True)

class Box:
    cut = staticmethod(halves)
'''


def test_an_import_path_names_a_function_or_a_schedule(module) -> None:
    mine = module(MINE)
    made = plan([4, 1, 3, 2], [2, 5, 1, 3], 1, f"{mine}:halves")
    assert (made.cuts, made.method) == ((2, 4), f"{mine}:halves")
    assert plan_backward([2, 5, 1, 3], [4, 1, 3, 2], 1, f"{mine}:Box.cut").cuts == (2, 4)
    picked, following = pick(f"{mine}:halves"), pick(f"{mine}:following")
    assert isinstance(picked, Phased)
    assert (picked.adapts, describe(picked)) == (False, "Two segments, where there are two layers.")
    assert isinstance(following, Phased)
    assert (following.adapts, describe(following)) == (True, "halves that follow")
    queued = pick(f"{mine}:queued")
    rehearsed = pick(f"{mine}:rehearsed")
    assert isinstance(queued, Queued)
    assert isinstance(rehearsed, Queued)
    assert (queued.adapts, rehearsed.adapts) == (False, True)
    whole = QueuePlan(push_borders=(12,), pull_borders=(12,), method=f"{mine}:queued")
    assert queued.split(Costs((4, 8), (1, 2), (0.1, 0.1), (0.1, 0.1), 1e3, 1e3)) == whole
    assert not is_built_in(f"{mine}:halves")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("{}:halfs", "has no 'halfs', did you mean 'halves'?"),
        ("{}:Box.cat", "has no 'Box.cat', did you mean 'cut'?"),
        ("{}:zzzzzz", r"has no 'zzzzzz'$"),
        ("{}x:halves", "No module named 'mine_.*x'.*; is it in the current directory or on PYTHONPATH"),
        (":halves", "no import path; write package.module:function"),
        ("{}:", "no import path; write package.module:function"),
        ("{}:halves:more", "no import path; write package.module:function"),
        ("..{}:halves", "no import path; write package.module:function"),
        ("{}:Box", "is the class Box: give a function from a Phase to cuts"),
        ("{}:__name__", "is a str: give a function from a Phase to cuts, or a Phased or Queued"),
    ],
)
def test_an_import_path_that_leads_nowhere_is_refused(module, path: str, says: str) -> None:
    path = path.format(module(MINE))
    with pytest.raises(PlanningError, match=says) as caught:
        pick(path)
    assert f"schedule {path!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import no_such_thing", r"\(ModuleNotFoundError: No module named 'no_such_thing'\)$"),
        ("def (", r"cannot be imported \(SyntaxError: "),
        ("1 / 0", r"cannot be imported \(ZeroDivisionError: division by zero\)$"),
        ("from edgesim.planning.schedules import Phased\ncut = Phased(3)", "is a Phased: give a function"),
    ],
)
def test_a_module_that_cannot_be_used_is_told_with_its_reason(module, text: str, says: str) -> None:
    with pytest.raises(PlanningError, match=says):
        pick(f"{module(text)}:cut")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return (2,)", r"returned \(2,\): return the last layer of each segment, whole numbers .* to 3"),
        ("return (2, 1, 3)", r"returned \(2, 1, 3\)"),
        ("return (0, 3)", r"returned \(0, 3\)"),
        ("return (3, 3)", r"returned \(3, 3\)"),
        ("return ()", r"returned \(\)"),
        ("return None", "returned None"),
        ("return (1.0, 3.0)", r"returned \(1.0, 3.0\)"),
        ("return 'abc'", "returned 'abc'"),
        ("return times.depth", "failed: AttributeError: .*'depth', at .*mine_.*py:3"),
        ("return QueuePlan(push_borders=(1,), pull_borders=(1,))", "wrapping the function, mine = Queued"),
    ],
)
def test_what_a_phased_schedule_returns_is_checked(module, body: str, says: str) -> None:
    mine = module(f"from edgesim.plan import QueuePlan\ndef cut(times):\n    {body}\n")
    with pytest.raises(PlanningError, match=says) as caught:
        plan([1, 2, 3], [1, 2, 3], 1, f"{mine}:cut")
    assert f"schedule '{mine}:cut'" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return (1, 3)", r"returned \(1, 3\): return an edgesim.plan.QueuePlan"),
        ("return plan(push=(4, 8))", "returned push_borders that end at 8 B: end at 12 B, the size of the m"),
        ("return plan(pull=(16,))", "returned pull_borders that end at 16 B"),
        (
            "return plan(pull=(4.0, 12.0))",
            r"returned pull_borders \(4.0, 12.0\): give whole numbers of bytes",
        ),
        ("return plan(push=(4, 4, 12))", "failed: ValueError: borders must rise strictly"),
        ("return plan(credit=-1.0)", "returned credit_bytes -1.0: give 0 or more"),
        ("return plan(credit=float('nan'))", "returned credit_bytes nan: give 0 or more"),
    ],
)
def test_what_a_queued_schedule_returns_is_checked(module, body: str, says: str) -> None:
    mine = module(
        "from edgesim.plan import QueuePlan\nfrom edgesim.planning.schedules import Queued\n"
        "def plan(push=(12,), pull=(12,), credit=0.0):\n"
        "    return QueuePlan(push_borders=push, pull_borders=pull, credit_bytes=credit)\n"
        f"@Queued\ndef split(costs):\n    {body}\n"
    )
    with pytest.raises(PlanningError, match=says) as caught:
        pick(f"{mine}:split").split(Costs((4, 8), (1, 2), (0.1, 0.1), (0.1, 0.1), 1e3, 1e3))
    assert f"schedule '{mine}:split'" in str(caught.value)


def test_an_error_that_a_schedule_tells_its_user_comes_through_as_it_is(module) -> None:
    mine = module("from edgesim.planning.rivals import fusion\ncut = fusion(10)\n")
    with pytest.raises(PlanningError, match=r"^buckets of 10 B are filled by bytes"):
        plan([1], [1], 1, f"{mine}:cut")


@pytest.mark.parametrize("name", QUEUED)
def test_a_schedule_without_phases_has_no_cuts(name: str) -> None:
    with pytest.raises(PlanningError, match=rf"{name}.* no cuts: .*schedules.pick\('{name}'\).split"):
        plan([1], [1], 1, name)


def test_an_unknown_name_is_refused_with_all_that_are_known() -> None:
    with pytest.raises(EdgesimError, match=r"unknown schedule 'mgwfbp', did you mean 'mg-wfbp'\?") as caught:
        pick("mgwfbp")
    assert ", ".join(SCHEDULES) in str(caught.value)
    assert str(caught.value).endswith("your own: package.module:function")
    with pytest.raises(PlanningError, match="unknown schedule None"):
        pick(None)  # type: ignore[arg-type]


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that installs a package with entry points, as pip would leave it."""
    monkeypatch.syspath_prepend(tmp_path)
    own.installed.cache_clear()

    def install(package: str, **offers: str) -> Path:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name.replace('_', '-')} = {value}\n" for name, value in offers.items())
        (info / "entry_points.txt").write_text(f"[{own.GROUP}]\n{lines}")
        return tmp_path

    yield install
    own.installed.cache_clear()


def test_an_installed_package_offers_schedules_by_name(offered, module) -> None:
    mine = module(f"{MINE}\nprint('loaded')\n")
    offered("halving", half_half=f"{mine}:halves", in_queues=f"{mine}:queued")
    assert names() == (*SCHEDULES, "half-half", "in-queues")
    assert mine not in sys.modules
    assert plan([4, 1, 3, 2], [2, 5, 1, 3], 1, "half-half").cuts == (2, 4)
    assert isinstance(pick("in-queues"), Queued)
    assert not is_built_in("half-half")
    with pytest.raises(PlanningError, match="unknown schedule 'halfhalf', did you mean 'half-half'"):
        pick("halfhalf")


def test_an_entry_point_is_loaded_once_and_only_when_it_is_named(
    offered, module, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = module(f"{MINE}\nprint('loaded')\ndef __getattr__(name):\n    print(name)\n    return halves\n")
    offered("once", once=f"{mine}:anything")
    pick("dynacomm")
    names()
    assert capsys.readouterr().out == ""
    assert [plan([1, 1], [1, 1], 1, "once").cuts for _ in range(3)] == [(1, 2)] * 3
    assert capsys.readouterr().out.split() == ["loaded", "anything"]


def test_what_is_installed_cannot_take_the_name_of_a_built_in(offered, module) -> None:
    mine = module(MINE)
    offered("greedy", dynacomm=f"{mine}:halves")
    assert pick("dynacomm") is SCHEDULES["dynacomm"]
    assert names() == tuple(SCHEDULES)
    assert mine not in sys.modules


def test_packages_that_cannot_be_used_are_named(offered, module) -> None:
    mine = module(MINE)
    offered("one", twice=f"{mine}:halves", missing="no_such_module:cut", text=f"{mine}:__name__")
    offered("two", twice=f"{mine}:following")
    with pytest.raises(PlanningError, match=f"several are installed; .*, {mine}:following, {mine}:halves"):
        pick("twice")
    with pytest.raises(PlanningError, match="'missing': one offers no_such_module:cut, which cannot be load"):
        pick("missing")
    with pytest.raises(PlanningError, match="schedule 'text' is a str: give a function"):
        pick("text")


def test_the_cost_of_a_schedule_of_ones_own_is_that_of_its_cuts(module) -> None:
    mine = module("def cut(times):\n    return range(1, times.layers + 1)\n")
    times = [3.0, 1.0, 2.0], [1.0, 4.0, 1.0], 0.5
    assert plan(*times, f"{mine}:cut").makespan_s == plan(*times, "layer-by-layer").makespan_s
    assert math.isfinite(plan(*times, f"{mine}:cut").makespan_s)


def test_a_schedule_that_quits_or_writes_into_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def quits(times: Phase) -> tuple[int, ...]:
        raise SystemExit("bye")

    def spoils(times: Phase) -> tuple[int, ...]:
        times.transfer.append(3.0)
        return (1,)

    times = phase([1.0], [1.0], 0.1)
    with pytest.raises(PlanningError, match="bye"):
        own.cuts("mine", quits, times)
    assert own.cuts("mine", spoils, times) == (1,)
    assert times.layers == 1
