"""The components of the tab Edit."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dtbox.app.page.frame import Page


@dataclass(frozen=True)
class Controls:
    """Components: what is edited (`stream`, `depth`, `code`, `table`), image B (`upload`), `streams` and `region` that
    are taken from it, `depths` that are drawn, what comes out (`drawn`, `read`, `told`), and buttons."""
    drawn: Any
    read: Any
    told: Any
    stream: Any
    depth: Any
    code: Any
    fill: Any
    table: Any
    apply: Any
    upload: Any
    example: Any
    number: Any
    streams: Any
    swap: Any
    region: list[Any]
    copy: Any
    shuffle: Any
    seed: Any
    depths: Any
    undo: Any
    reset: Any


def make_controls(page: Page) -> Controls:
    """Lay out the tab."""
    gr, made = page.gr, {}
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            made['drawn'] = page.make_image('what the decoder draws: click a patch to paint the code', elem_id='drawn')
            made['depths'] = gr.Slider(0, 1, 1, step=1, label='depths that are drawn')
            with gr.Row():
                made['undo'] = gr.Button('Undo', min_width=80)
                made['reset'] = gr.Button('Codes of A again', min_width=80)
            made['read'] = page.make_table(['what the head reads', 'cosine'], 'what the head reads')
        with gr.Column(scale=1, min_width=300):
            gr.Markdown('**B: another image**')
            made['upload'] = page.make_upload('image B')
            made['number'] = gr.State(4)
            made['example'] = gr.Button('Take a held-out image as B', elem_id='example-b')
            made['streams'] = gr.CheckboxGroup([], label='streams')
            with gr.Row():
                made['swap'] = gr.Button('Take these streams of B', variant='primary', min_width=120, elem_id='swap')
                made['shuffle'] = gr.Button('Shuffle these streams', min_width=120)
                made['seed'] = gr.Number(0, label='seed', precision=0, min_width=80)
            with gr.Row():
                made['region'] = [
                    gr.Number(value, label=label, precision=0, minimum=0, min_width=70) for label, value in (
                        ('from row', 0), ('from column', 0), ('to row', 3), ('to column', 3))]
            made['copy'] = gr.Button('Copy this region of B')
        with gr.Column(scale=1, min_width=300):
            with gr.Row():
                made['stream'] = gr.Dropdown([], label='stream', min_width=100)
                made['depth'] = gr.Number(0, label='depth', precision=0, minimum=0, min_width=70)
                made['code'] = gr.Number(0, label='code', precision=0, minimum=0, min_width=80)
            made['fill'] = gr.Button('Put this code onto every patch')
            made['told'] = gr.Markdown('')
            made['table'] = gr.Dataframe(label='codes', type='array', interactive=True, buttons=[], max_height=360)
            made['apply'] = gr.Button('Take the codes of the table')
    return Controls(**made)
