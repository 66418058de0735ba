"""The tab Shards."""
from __future__ import annotations

from typing import Any

from dtbox.app.functions.images import enlarge
from dtbox.app.functions.shards import read_row
from dtbox.app.page.frame import Page
from dtbox.errors import InputError


def build(page: Page) -> None:
    """Add the tab."""
    gr, catalog = page.gr, page.sources.catalog
    with page.open_tab('Shards') as tab:
        note = page.make_note()
        row = gr.Slider(0, max(1, catalog.rows - 1) if catalog else 1, 0, step=1, label='row', visible=bool(catalog))
        with gr.Row():
            image = page.make_image('decoded from its codes')
            table = page.make_table(['what', 'value'], 'the row')
        told = gr.Markdown('')
        codes = page.make_table(['token', *(stream.name for stream in catalog.meta.streams)] if catalog else ['token'],
                                'its codes', max_height=300)

    def show(run: str, shown: Any, number: float) -> list[Any]:
        if catalog is None:
            raise InputError('the page was started without token shards. Start it with the folder that `dtbox encode` '
                             'wrote: dtbox app RUN --tokens DIR.')
        found = read_row(page.runs.get(run), catalog, int(number or 0))
        return [None if found.image is None else enlarge(found.image), found.table, found.note, found.codes]
    page.follow(tab, show, [row], [image, table, told, codes], note)
    page.listen(row.input, show, [page.run, page.shown, row], [image, table, told, codes], note)
