"""How wide a text is, and how wide axes are, in pixels: whether a label fits."""

from __future__ import annotations

from typing import Any, cast

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import FontProperties

SMALLEST = 5.0
"""Smallest text in a bar, in points."""


class Ruler:
    """Measures texts, each once."""

    def __init__(self, renderer: Any) -> None:
        """Measure as a renderer draws."""
        self._renderer = renderer
        self._found: dict[tuple[str, float], float] = {}

    def fit(self, text: str, size: float, room: float) -> float | None:
        """Return the given size in points or the one below, whichever lets the text fit `room` pixels."""
        for tried in (size, max(SMALLEST, 0.75 * size)):
            if self.width(text, tried) <= room:
                return tried
        return None

    def width(self, text: str, size: float) -> float:
        """Return the width of a text in pixels."""
        if (text, size) not in self._found:
            font = FontProperties(size=size)
            found = self._renderer.get_text_width_height_descent(text, font, False)
            self._found[text, size] = float(found[0])
        return self._found[text, size]


def ruler_of(axes: Axes) -> Ruler:
    """Return a ruler for what is drawn into axes of an Agg canvas."""
    canvas = axes.get_figure(root=True).canvas  # type: ignore[union-attr]
    assert isinstance(canvas, FigureCanvasAgg)
    return Ruler(cast(Any, canvas).get_renderer())


def width_px(axes: Axes) -> float:
    """Return the width of axes in pixels."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return float(axes.get_position().width * figure.get_size_inches()[0] * figure.dpi)
