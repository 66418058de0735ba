"""The tab Reconstruct."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtbox.app.functions.images import Shown, enlarge
from dtbox.app.functions.partial import count_steps
from dtbox.app.functions.reconstruct import describe_streams, reconstruct
from dtbox.app.opened import Opened
from dtbox.app.page.frame import IDLE, Page

STREAMS = 4
"""Sliders of streams that can be cut."""


def build(page: Page) -> None:
    """Add the tab."""
    gr = page.gr
    with page.open_tab('Reconstruct') as tab:
        note = page.make_note()
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                slider = gr.ImageSlider(label='image | reconstruction', interactive=False, format='png', buttons=[],
                                        elem_id='before-after')
            with gr.Column(scale=1, min_width=260):
                cuts = [gr.Slider(0, 1, 1, step=1, visible=False) for _ in range(STREAMS)]
                off = gr.CheckboxGroup([], label='leave out')
                scores = page.make_table(['score', 'value'], 'scores')
        shape = gr.State('', time_to_live=IDLE)  # in the tab: beside it, the tabs would be counted wrongly
        streams = page.make_table(['stream', 'tokens', 'codebooks', 'bits', 'decoder reads it'], 'streams of codes')

    def show(run: str, shown: Shown | None, last: str, left_out: list[str], *values: float) -> list[Any]:
        opened, image = page.need_shown(shown)
        new = last != opened.name
        found = reconstruct(opened, image, None if new else read_cut(opened, values), () if new else left_out)
        pair = enlarge(found.image), enlarge(found.made)
        if not new:
            return [pair, found.table, gr.skip(), last, gr.skip(), *[gr.skip()] * STREAMS]
        return [pair, found.table, describe_streams(opened), opened.name, make_off(gr, opened), *make_cuts(gr, opened)]
    outputs = [slider, scores, streams, shape, off, *cuts]
    page.follow(tab, show, [shape, off, *cuts], outputs, note)
    page.listen([off.input, *(cut.input for cut in cuts)], show, [page.run, page.shown, shape, off, *cuts], outputs,
                note)


def read_cut(opened: Opened, values: Sequence[float]) -> dict[str, int | None]:
    """Return stream -> how many of its depths or scales are read, from the sliders."""
    return {name: int(value) for name, value in zip(count_steps(opened), values)}


def make_cuts(gr: Any, opened: Opened) -> list[Any]:
    """Return what the sliders become for a run."""
    steps = list(count_steps(opened).items())[:STREAMS]
    made = [gr.update(visible=True, maximum=count, value=count, label=f'{name}: {kind}')
            for name, (kind, count) in steps]
    return made + [gr.update(visible=False)] * (STREAMS - len(steps))


def make_off(gr: Any, opened: Opened) -> Any:
    """Return what the choice of streams becomes for a run."""
    model = opened.tokenizer.model
    names = model.check_streams(model.reads)
    return gr.update(choices=names, value=[], visible=len(names) > 0)
