"""What the plots share: colours that colour-blind readers tell apart (Okabe and Ito, 2008), type sizes, and writing the
file."""
from __future__ import annotations

import os
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from dtbox.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
"""Blue, vermilion, green, purple, orange, sky, black: in this order."""

LOG_FROM = 50
"""A panel of positive values gets a log scale where the largest is so many times the smallest."""

GRAY = '#6E6E6E'

RULES = {'font.size': 8.5, 'axes.titlesize': 9.5, 'axes.labelsize': 8.5, 'xtick.labelsize': 8, 'ytick.labelsize': 8,
         'legend.fontsize': 8, 'axes.spines.top': False, 'axes.spines.right': False, 'axes.grid': True,
         'grid.color': '#E4E4E4', 'grid.linewidth': 0.6,
         'axes.axisbelow': True, 'axes.linewidth': 0.7, 'lines.linewidth': 1.3, 'figure.dpi': 100,
         'font.family': 'DejaVu Sans', 'pdf.fonttype': 42}
"""matplotlib's rcParams of every plot, whatever the user's own are."""


def make_canvas(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Any]:
    """Return (figure, axes [rows, columns]) without a display or global state; `size` is the (width, height) of a panel
    in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.45), layout='constrained')
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def apply_rules() -> AbstractContextManager:
    """Return the context in which plots are made: `RULES` over matplotlib's defaults."""
    import matplotlib
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **RULES, 'backend': 'agg'})


def format_metric_name(name: str, lower: bool | None, width: int) -> str:
    """Return a metric's name, broken at `width` characters, and which way is better: in words, since a PDF embeds a
    second font for arrows.

    Args:
        name: of the metric.
        lower: whether less is better, or None where neither is.
        width: characters of a line.
    """
    if lower is None:
        return textwrap.fill(name, width)
    better = '(less is better)' if lower else '(more is better)'
    if len(name) <= width < len(name) + len(better) + 1:
        return f'{name}\n{better}'
    return textwrap.fill(f'{name} {better}', width)


def save_figure(figure: Figure, paths: Sequence[str], dpi: int = 160) -> None:
    """Write a figure to each of some files, in the format of its suffix; nothing in them tells the time."""
    for path in paths:
        dates = {'.pdf': {'CreationDate': None}, '.svg': {'Date': None}}.get(os.path.splitext(str(path))[1], {})
        with replacing(path) as temporary, warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='Glyph .* missing')
            figure.savefig(temporary, dpi=dpi, facecolor='white', metadata=dates)
        figure.set_layout_engine('none')  # it is laid out now


def save(figure: Figure, path: str, dpi: int = 160) -> None:
    """Write a figure as PNG in one step."""
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Glyph .* missing')
        figure.savefig(temporary, dpi=dpi, facecolor='white')


def set_title_and_scale(ax: Axes, name: str, values: Sequence[float]) -> None:
    """Title a panel, and give it a log scale where its values are positive and the largest is more than `LOG_FROM`
    times the smallest."""
    if values and min(values) > 0 and max(values) / min(values) > LOG_FROM:
        ax.set_yscale('log')
        name += ' (log scale)'
    else:
        ax.ticklabel_format(axis='y', style='sci', scilimits=(-3, 4), useMathText=True)
    ax.set_title(name)
