"""The conflict of two sides' gradients: a heat map of their cosine over layers and time, and the norms under it."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dtbox.drawing.style import COLOURS, GRAY, apply_rules, make_canvas, save

SIDES = ('reconstruction', 'semantics')
LEAST = 0.1
"""The colours of the heat map reach at least to this cosine, so that a map of nothing but noise looks pale."""


def build_array(rows: Sequence[dict], key: str) -> np.ndarray:
    """Return a column of the rows as an array [layers, rows], NaN where a side does not reach the layer."""
    return np.array([[np.nan if v is None else v for v in row[key]] for row in rows], dtype=np.float64).T


def explain_blank(reconstruction: Sequence, semantics: Sequence) -> str:
    """Return why a layer has no cosine, from the norms of either side there (empty where it does not reach the layer);
    '' where it has one."""
    norms = dict(zip(SIDES, (reconstruction, semantics)))
    missing = [side for side, values in norms.items() if not values]
    zero = [side for side, values in norms.items() if values and not any(values)]
    if len(missing) == 2:
        return 'reached by neither side, or frozen'
    if missing:
        return f'not reached by {missing[0]}'
    return f'no gradient of {" and ".join(zero)}' if zero else ''


def draw_conflict(rows: Sequence[dict], path: str, title: str, terms: Mapping[str, Sequence[str]] | None = None,
                  unit: str = 'iteration') -> None:
    """Draw.

    Args:
        rows: dicts with `iteration` (or whatever `unit` is called), `layers` (names, the shallowest first), `cosine`,
            `reconstruction`, `semantics` (a number or None for each layer) and `together`.
        path: PNG to write or replace.
        title: line at the top.
        terms: dict side -> names of its terms, for the line below the title.
        unit: key of what the rows count.
    """
    tables = {key: build_array(rows, key) for key in ('cosine', *SIDES)}
    at = np.array([row[unit] for row in rows], dtype=np.float64)
    layers = rows[0]['layers']
    line = '; '.join(f'{side}: {", ".join(names)}' for side, names in (terms or {}).items() if side in SIDES)
    with apply_rules():
        figure, axes = make_canvas(2, 2, (5.4, max(2.6, 0.9 + 0.2 * len(layers))))
        image = _heat(axes[0][0], at, tables, layers, unit)
        many = {'batch': 'batches'}.get(unit, f'{unit}s')
        _profile(axes[0][1], tables['cosine'], layers, many)
        _norms_by_layer(axes[1][1], tables, layers, many)
        _norms_over_time(axes[1][0], at, tables, unit)
        figure.colorbar(image, ax=axes[0][0], pad=0.02, label='cosine')
        figure.suptitle(f'{title}\n{line}', fontsize=10)
        save(figure, path)


def compute_edges(at: np.ndarray) -> np.ndarray:
    """Return the borders [n + 1] between n increasing positions, halfway."""
    if len(at) == 1:
        return np.array([at[0] - 0.5, at[0] + 0.5])
    middle = (at[1:] + at[:-1]) / 2
    return np.concatenate([[at[0] - (middle[0] - at[0])], middle, [at[-1] + (at[-1] - middle[-1])]])


def _heat(ax, at, tables, layers, unit):
    values = tables['cosine']
    limit = max(LEAST, np.nanmax(np.abs(values))) if np.isfinite(values).any() else LEAST
    image = ax.pcolormesh(compute_edges(at), np.arange(len(layers) + 1) - 0.5, np.ma.masked_invalid(values),
                          cmap='RdBu', vmin=-limit, vmax=limit)
    ax.set_facecolor('#EFEFEF')
    for i in range(len(layers)):
        if np.isnan(values[i]).all():
            text = explain_blank(*({float(v) for v in tables[side][i][np.isfinite(tables[side][i])]} for side in SIDES))
            ax.text(0.5, i, text, transform=ax.get_yaxis_transform(), ha='center', va='center', fontsize=7, color=GRAY)
    _layers(ax, layers)
    ax.grid(False)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel(unit)
    ax.set_title('cosine of the two gradients (red: in conflict)')
    return image


def _profile(ax, values, layers, many):
    ax.axvline(0, color=GRAY, linewidth=0.9)
    for i, row in enumerate(values):
        row = row[np.isfinite(row)]
        if len(row):
            ax.plot([row.mean() - row.std(), row.mean() + row.std()], [i, i], color=COLOURS[0], linewidth=1.2,
                    alpha=0.6)
            ax.plot(row.mean(), i, 'o', color=COLOURS[0], markersize=4.5)
    reach = max(LEAST, *np.abs(ax.get_xlim()))
    ax.set_xlim(-reach, reach)
    _layers(ax, layers)
    ax.set_ylim(-0.5, len(layers) - 0.5)
    ax.set_xlabel('cosine')
    ax.set_title(f'cosine: mean and standard deviation over the {many}')


def _norms_by_layer(ax, tables, layers, many):
    for side, colour, marker in zip(SIDES, COLOURS, 'os'):
        label = side
        # no line from one encoder to the next
        for encoder in dict.fromkeys(name.rpartition(':')[0] for name in layers):
            points = [(row[np.isfinite(row)].mean(), i) for i, (name, row) in enumerate(zip(layers, tables[side]))
                      if name.rpartition(':')[0] == encoder and np.nanmax(row, initial=0) > 0]
            if points:
                ax.plot(*zip(*points), color=colour, marker=marker, markersize=4, label=label)
                label = None
    if any(np.nanmax(tables[side], initial=0) > 0 for side in SIDES):
        _log(ax.xaxis)
    _layers(ax, layers)
    ax.set_ylim(-0.5, len(layers) - 0.5)
    ax.set_xlabel(f'norm of the gradient, mean over the {many}')
    ax.set_title('what pulls at a layer, and how strongly')
    ax.legend(loc='best', frameon=True, framealpha=0.85, edgecolor='none')


def _norms_over_time(ax, at, tables, unit):
    shared = [i for i in range(len(tables['cosine']))
              if all(np.nanmax(tables[side][i], initial=0) > 0 for side in SIDES)]
    for side, colour, marker in zip(SIDES, COLOURS, 'os'):
        if shared:
            ax.plot(at, np.sqrt(np.nansum(tables[side][shared] ** 2, 0)), color=colour, label=side, marker=marker
                    if len(at) < 30 else None, markersize=3)
    if shared:
        _log(ax.yaxis)
        ax.legend(loc='best', frameon=True, framealpha=0.85, edgecolor='none')
    else:
        ax.text(0.5, 0.5, 'there is no layer that both sides reach', transform=ax.transAxes, ha='center', va='center',
                color=GRAY)
        ax.set(xlim=(at[0] - 0.5, at[-1] + 0.5), yticks=[])
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel(unit)
    ax.set_title('norm over the layers that both reach')


def _log(axis):
    """Make an axis logarithmic, with plain numbers that do not run into each other."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
    axis._set_axes_scale('log')
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axis.set_minor_formatter(NullFormatter())


def _layers(ax, layers):
    ax.set_yticks(range(len(layers)), ['embedding' if name == '0' else name for name in layers])
    ax.set_ylabel('layer')
