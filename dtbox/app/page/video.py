"""The tab Video."""
from __future__ import annotations

from typing import Any

from dtbox.app.functions.images import enlarge
from dtbox.app.functions.video import MOST, Clip, draw_changes, measure_clip, read_frames
from dtbox.app.page.frame import IDLE, Page


def build(page: Page) -> None:
    """Add the tab."""
    gr = page.gr
    with page.open_tab('Video'):
        state = gr.State(None, time_to_live=IDLE)
        note = page.make_note()
        with gr.Row():
            files = gr.File(label=f'a video, or several images as its frames (the first {MOST} are read)',
                            type='filepath', file_count='multiple', elem_id='clip',
                            file_types=['video', 'image'], height=140)
            with gr.Column():
                button = gr.Button('Measure the clip', variant='primary')
                frame = gr.Slider(0, 1, 0, step=1, label='frame')
                stream = gr.Dropdown([], label='tint where codes of this stream changed')
        table = page.make_table(['what', 'value'], 'change from frame to frame')
        pair = page.make_gallery('the frame, its reconstruction, where its codes differ from those of the frame before',
                                 columns=3)

    def measure(run: str, paths: list[str] | None) -> list[Any]:
        clip = measure_clip(page.runs.get(run), read_frames(paths or [], page.sources.limits))
        names = list(clip.changed)
        first = names[0] if names else ''
        return [clip, clip.table, gr.update(maximum=len(clip.frames) - 1, value=1),
                gr.update(choices=names, value=first or None), show(clip, 1, first)[0]]

    def show(clip: Clip | None, number: float, name: str) -> list[Any]:
        if clip is None:
            return [[]]
        i = int(number or 0)
        images = [(clip.frames[i], 'frame'), (clip.made[i], 'reconstruction')]
        if i and name in clip.changed:
            images.append((draw_changes(clip.frames[i], clip.changed[name][i - 1]), f'changed codes of {name}'))
        return [[(enlarge(pixels, 256), line) for pixels, line in images]]
    page.listen(button.click, measure, [page.run, files], [state, table, frame, stream, pair], note,
                show_progress='minimal')
    page.listen([frame.input, stream.input], show, [state, frame, stream], [pair], note)
