"""The tab Side by side."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dtbox.app.functions.compare import HEAD, MOST, compare
from dtbox.app.functions.images import enlarge, read_upload
from dtbox.app.page.frame import Page


def build(page: Page, image: Any) -> None:
    """Add the tab; `image` is the upload of the page."""
    gr = page.gr
    with page.open_tab('Side by side') as tab:
        note = page.make_note()
        with gr.Row():
            names = gr.CheckboxGroup(page.runs.names, value=page.runs.names[:MOST], label='runs', scale=3)
            button = gr.Button('Compare', variant='primary', scale=1, elem_id='compare')
        told = gr.Markdown('')
        table = page.make_table(HEAD, 'the image above, by each run')
        made = page.make_gallery('what each run saw, and its reconstruction', columns=4)
        differences = page.make_gallery('absolute difference: black 0, white a quarter of the range or more', columns=4)

    def run(name: str, shown: Any, chosen: list[str], path: str | None) -> Iterator[list[Any]]:
        if not all(map(page.runs.is_open, chosen)):
            yield ['Opening the runs ...', *[gr.skip()] * 3]
        found = compare([page.runs.get(name) for name in chosen], read_upload(path, page.sources.limits))
        pairs = [(enlarge(pixels, 256), f'{name}: {what}') for name, one in zip(found.names, found.made)
                 for pixels, what in ((one.image, 'image'), (one.made, f'{one.psnr:.2f} dB'))]
        gaps = [(enlarge(gap, 256), name) for name, gap in zip(found.names, found.differences)]
        yield [found.note, found.table, pairs, gaps]
    values, outputs = [names, image], [told, table, made, differences]
    page.follow(tab, run, values, outputs, note)
    page.listen(button.click, run, [page.run, page.shown, *values], outputs, note, show_progress='minimal')
