"""Draws figures as SVG that takes its colors from the page around it."""

import html
import io
import re
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Colors that matplotlib draws with -> what the page has in their place, so
#: that a dark page shows light lines. They occur in no figure otherwise.
_PAGE_COLORS = {
    "#010203": "var(--text)",
    "#010204": "var(--faint)",
    "#010205": "var(--series-1)",
    "#010206": "var(--series-2)",
    "#010207": "var(--series-3)",
    "#010208": "var(--series-4)",
}
TEXT, FAINT, *SERIES = _PAGE_COLORS

#: Inches. A figure is as wide as its column, and legible on a phone.
_SIZE = (4.2, 2.8)

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    # Text stays text: it is found, read out, and has the font of the page.
    "svg.fonttype": "none",
    "axes.edgecolor": TEXT,
    "axes.labelcolor": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "text.color": TEXT,
    "legend.frameon": False,
    "legend.labelcolor": TEXT,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
}


class Drawing:
    """A figure with one pair of axes, drawn on a transparent ground.

    Example:
        >>> with Drawing("RMSE falls from 1 to 0.9.") as drawing:
        ...     drawing.axes.plot([1, 2], [1, 0.9], color=SERIES[0])
        >>> drawing.svg

    Args:
        description: what the figure shows, for those who do not see it.
        size: width and height in inches.
    """

    axes: Axes
    svg: str

    def __init__(
        self, description: str, size: tuple[float, float] = _SIZE
    ) -> None:
        self._description = description
        self._size = size
        # Ids within one page must differ, and equal figures give equal text.
        self._style = matplotlib.rc_context(
            {**_STYLE, "svg.hashsalt": description}
        )

    def __enter__(self) -> "Drawing":
        self._style.__enter__()
        self._figure = Figure(self._size, layout="constrained")
        self.axes = self._figure.add_subplot()
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self.svg = self._render()
        self._style.__exit__(*error)

    def _render(self) -> str:
        file = io.StringIO()
        self._figure.savefig(
            file, format="svg", transparent=True, metadata={"Date": None}
        )
        svg = file.getvalue()
        # A page has no place for a document's prologue; the ids of groups
        # repeat from figure to figure.
        svg = svg[svg.index("<svg") :]
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
        svg = re.sub(r'<g id="[^"]*"', "<g", svg)
        svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
        for color, variable in _PAGE_COLORS.items():
            svg = svg.replace(color, variable)
        label = html.escape(self._description, quote=True)
        return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
