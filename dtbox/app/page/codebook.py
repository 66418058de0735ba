"""The tab Codebook."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dtbox.app.functions import codebook, inspector
from dtbox.app.functions.images import enlarge
from dtbox.app.page.frame import Page
from dtbox.app.page.inspector import HEAD as CODE_HEAD


def build(page: Page) -> None:
    """Add the tab."""
    gr = page.gr
    with page.open_tab('Codebook') as tab:
        note = page.make_note()
        told = gr.Markdown('')
        table = page.make_table(codebook.HEAD, 'click a row to see its most used code', elem_id='books')
        figure = page.make_image('codes by how often they are used')
        with gr.Row():
            stream = gr.Dropdown([], label='stream', min_width=120)
            depth = gr.Number(0, label='depth', precision=0, minimum=0, min_width=80)
            code = gr.Number(0, label='code', precision=0, minimum=0, min_width=80)
            button = gr.Button('Show this code', variant='primary', min_width=120)
        about = page.make_table(CODE_HEAD, 'what the code stands for')
        patches = page.make_gallery('patches of held-out images that have it', columns=8)

    def open_it(run: str, shown: Any) -> Iterator[list[Any]]:
        opened = page.runs.get(run)
        names = opened.coded
        if not opened.has('seen'):
            yield ['Counting the codes of held-out images ...', *[gr.skip()] * 3]
        rows = codebook.make_table(opened)
        path = page.make_path()
        codebook.draw_use(opened, path)
        yield [f'{len(opened.seen.keys):,} held-out images.', rows, path, gr.update(choices=names, value=names[0])]

    def show(run: str, name: str, at: float, number: float) -> list[Any]:
        opened = page.runs.get(run)
        assert opened.seen  # counted before a code is described
        found = inspector.describe_code(opened, name, int(at or 0), int(number or 0))
        crops = inspector.cut_examples(opened, name, found.depth, found.code)
        return [[found.row], [enlarge(crop, 160) for crop in crops]]

    def pick(event: Any, run: str, rows: list[list[str]]) -> list[Any]:
        opened = page.runs.get(run)
        name, at = rows[event.index[0]][:2]
        return [name, int(at), codebook.list_codes(opened, name, int(at), 1)[0][0]]
    page.follow(tab, open_it, [], [told, table, figure, stream], note)
    shown = page.listen(table.select, pick, [page.run, table], [stream, depth, code], note, event=True)
    for trigger in (button.click, shown.then):
        page.listen(trigger, show, [page.run, stream, depth, code], [about, patches], note)
