"""Expected rates are max-min fair."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.planning.sharing import fair_rates


@pytest.mark.parametrize(
    ("routes", "capacity", "rates"),
    [
        ([], {}, []),
        ([("a",)], {"a": 3.0}, [3.0]),
        ([("up", f"w{n}") for n in range(4)], {"up": 8.0, "w0": 1.0, "w1": 9.0, "w2": 9.0, "w3": 9.0}, None),
        ([("a", "b"), ("a",), ("b",)], {"a": 10.0, "b": 4.0}, [2.0, 8.0, 2.0]),
        ([("wifi", "wifi"), ("wifi",)], {"wifi": 6.0}, [3.0, 3.0]),
    ],
)
def test_cases_by_hand(routes, capacity, rates):
    expected = [1.0, 7 / 3, 7 / 3, 7 / 3] if rates is None else rates
    assert fair_rates(routes, capacity) == pytest.approx(expected)


@given(
    st.lists(st.floats(0.1, 100.0), min_size=1, max_size=6),
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=12),
)
def test_every_route_has_a_full_link_on_which_nobody_has_more(capacities, drawn):
    capacity = {str(number): size for number, size in enumerate(capacities)}
    routes = [tuple(str(link % len(capacities)) for link in route) for route in drawn]
    rates = fair_rates(routes, capacity)
    for route, rate in zip(routes, rates, strict=True):
        assert any(
            sum(other for other, over in zip(rates, routes, strict=True) if link in over)
            >= capacity[link] * (1 - 1e-9)
            and all(
                other <= rate * (1 + 1e-9) for other, over in zip(rates, routes, strict=True) if link in over
            )
            for link in route
        )
    for link, size in capacity.items():
        assert sum(rate for rate, over in zip(rates, routes, strict=True) if link in over) <= size * (
            1 + 1e-9
        )
