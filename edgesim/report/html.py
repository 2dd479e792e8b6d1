"""Pictures and tables as HTML, for notebooks."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file, the same bytes each time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def html_picture(plot: Callable[[], Figure]) -> str:
    """Return a figure as an image, or why there is none: data are shown even where a picture fails."""
    try:
        picture = base64.b64encode(png(plot())).decode()
    except Exception as error:
        return f"<p>no picture: {html.escape(str(error))}</p>"
    return f'<img style="max-width:100%" src="data:image/png;base64,{picture}">'


def html_table(rows: Mapping[str, str]) -> str:
    """Return names and values as a table."""
    cells = "".join(
        f"<tr><td>{html.escape(name)}</td><td style='text-align:right'>{html.escape(value)}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table>{cells}</table>"


def html_sheet(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with a title and headings."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    cells = (
        "".join(f"<td style='text-align:right'>{html.escape(value)}</td>" for value in row) for row in rows
    )
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><caption>{html.escape(title)}</caption><tr>{head}</tr>{body}</table>"
