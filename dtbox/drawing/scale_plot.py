"""Steps on many GPUs as a plot: the efficiency, and what the seconds of a step go to."""
from __future__ import annotations

from collections.abc import Sequence

from dtbox.drawing.style import COLOURS, GRAY, apply_rules, make_canvas, save


def draw_scale(rows: Sequence[dict], path: str, title: str) -> None:
    """Draw.

    Args:
        rows: dicts with `gpus`, `efficiency` (fraction), `compute`, `exposed` and `sent` (seconds of a step, `sent`
            including what is hidden).
        path: PNG to write or replace.
        title: lines at the top.
    """
    with apply_rules():
        figure, axes = make_canvas(1, 2, (4.6, 3.2))
        left, right = axes[0]
        _efficiency(left, rows)
        _seconds(right, rows)
        for ax in (left, right):
            ax.set_xscale('log', base=2)
            counts = [r['gpus'] for r in rows]
            ax.set_xticks(counts, [f'{n:,}' for n in counts], rotation=45 if len(counts) > 8 else 0)
            ax.minorticks_off()
            ax.set_xlim(counts[0] / 1.5, counts[-1] * 1.5)
            ax.set_xlabel('GPUs')
        figure.suptitle(title, fontsize=9.5)
        save(figure, path)


def _efficiency(ax, rows):
    values = [100 * r['efficiency'] for r in rows]
    ax.plot([r['gpus'] for r in rows], values, color=COLOURS[0], marker='o', markersize=4)
    for r, value, before in zip(rows, values, [values[0], *values]):
        steep = before - value > 10  # beside the line, not on it
        ax.annotate(f'{value:.1f}', (r['gpus'], value), xytext=(-6, -3) if steep else (0, 5),
                    textcoords='offset points', ha='right' if steep else 'center', fontsize=7)
    ax.axhline(100, color=GRAY, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set_ylim(0, 112)
    ax.set_title('efficiency against GPUs that send nothing [%]')


def _seconds(ax, rows):
    lines = (('step', [r['compute'] + r['exposed'] for r in rows], COLOURS[6], 's', '-'),
             ('computing', [r['compute'] for r in rows], COLOURS[0], 'o', (0, (1.5, 1.5))),
             ('sending, all', [r['sent'] for r in rows], COLOURS[4], '^', (0, (4, 2))),
             ('sending, exposed', [r['exposed'] for r in rows], COLOURS[1], 'v', '-'))
    for label, values, colour, marker, style in lines:
        ax.plot([r['gpus'] for r in rows], values, color=colour, marker=marker, markersize=4, linestyle=style,
                label=label)
    ax.set_yscale('log')
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.22)  # room for the legend
    ax.set_title('seconds of a step (log scale)')
    ax.legend(loc='upper center', ncol=2, frameon=True, framealpha=0.85, edgecolor='none')
