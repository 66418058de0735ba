"""The terms of a run over its iterations: small panels, terms of one family together, the learning rates in the
last."""
from __future__ import annotations

import math
from collections.abc import Sequence

from dtbox.drawing.style import COLOURS, apply_rules, make_canvas, save, set_title_and_scale

NOT_TERMS = ('iteration', 'seconds')


def group_names(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Sort logged names into panels.

    Args:
        names: logged names, learning rates end in `_lr`.

    Returns:
        dict title of the panel -> dict name -> label: the total first, then terms in their order (those with the same
        first word together), the learning rates last. Of `X_base_lr` and `X_lr` (MMEngine logs both where groups
        differ) the base is taken.
    """
    terms = [n for n in names if n not in NOT_TERMS and not n.endswith('_lr')]
    rates = [n for n in names if n.endswith('_lr')]
    panels = {'total': {'total': 'total'}} if 'total' in terms else {}
    for name in terms:
        family = name.split('_')[0]
        members = [n for n in terms if n.split('_')[0] == family and '_' in n]
        if name == 'total':
            continue
        if len(members) > 1 and name in members:
            panels[family] = {n: n[len(family) + 1:].replace('_', ' ') for n in members}
        else:
            panels[name.replace('_', ' ')] = {name: name.replace('_', ' ')}
    rates = [n for n in rates if n.endswith('_base_lr') or n[:-3] + '_base_lr' not in rates]
    if rates:
        panels['learning rate'] = {n: n.removesuffix('_lr').removesuffix('_base').replace('_', ' ') for n in rates}
    return panels


def draw_curves(rows: Sequence[dict], path: str, title: str) -> None:
    """Draw the history of a run.

    Args:
        rows: dicts with `iteration` and the logged numbers; a name may be missing from some.
        path: PNG to write or replace.
        title: line at the top.
    """
    names = list(dict.fromkeys(name for row in rows for name in row if isinstance(row[name], (int, float))))
    panels = group_names(names)
    columns = min(len(panels), 3 if len(panels) <= 9 else 4)
    lines = math.ceil(len(panels) / columns)
    last = max(row['iteration'] for row in rows)
    with apply_rules():
        figure, axes = make_canvas(lines, columns, (3.1 if columns > 1 else 4.6, 2.1))
        flat = list(axes.flat)
        for ax in flat[len(panels):]:
            ax.set_visible(False)
        for number, (ax, (name, members)) in enumerate(zip(flat, panels.items())):
            _panel(ax, name, members, rows)
            ax.set_xlim(0, last * 1.02)
            if number + columns >= len(panels):
                ax.set_xlabel('iteration')
        figure.suptitle(title, fontsize=10)
        save(figure, path)


def _panel(ax, name, members, rows):
    values = []
    for i, (key, label) in enumerate(members.items()):
        points = [(row['iteration'], row[key]) for row in rows if isinstance(row.get(key), (int, float))
                  and math.isfinite(row[key])]
        if not points:
            continue
        x, y = zip(*points)
        values += y
        round_ = i // len(COLOURS) % 4
        style = ('-', (0, (5, 2)), (0, (1.5, 1.5)), '-.')[round_]
        ax.plot(x, y, color=COLOURS[i % len(COLOURS)], label=label, linestyle=style,
                marker='os^D'[round_] if len(x) < 4 else None, markersize=3)
    set_title_and_scale(ax, name, values if name != 'learning rate' else [])
    if len(members) > 4:  # room for them above the curves
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + (high - low) * 0.14 * math.ceil(len(members) / 4) if ax.get_yscale() == 'linear'
                    else high)
        ax.legend(loc='upper center', ncol=4, fontsize=6, frameon=True, framealpha=0.85, edgecolor='none',
                  borderpad=0.2, labelspacing=0.25, handlelength=1.2, columnspacing=0.8)
    elif len(members) > 1:
        ax.legend(loc='best', frameon=True, framealpha=0.85, edgecolor='none', borderpad=0.2, labelspacing=0.25,
                  handlelength=1.6)
