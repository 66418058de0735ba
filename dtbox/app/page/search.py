"""The tab Search."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dtbox.app.functions import search
from dtbox.app.functions.images import Shown, enlarge
from dtbox.app.functions.shards import check_run
from dtbox.app.opened import Opened
from dtbox.app.page.frame import Page
from dtbox.counts import format_count
from dtbox.errors import InputError

SPACES = 4
"""Rows of found images, one a stream."""
HELDOUT = 'held-out images of the run'
FOLDER, SHARDS = 'the folder of --images', 'the token shards of --tokens'


def build(page: Page) -> None:
    """Add the tab."""
    gr, sources = page.gr, page.sources
    places = [HELDOUT, *([FOLDER] if sources.images else []), *([SHARDS] if sources.catalog else [])]
    with page.open_tab('Search'):
        note = page.make_note()
        where = gr.Radio(places, value=places[0], label='search in', visible=len(places) > 1)
        with gr.Row():
            by_image = gr.Button('Search by the image', variant='primary', scale=1, elem_id='by-image')
            text = gr.Textbox(label='or by a text', scale=2)
            by_text = gr.Button('Search by the text', scale=1)
        told = gr.Markdown('')
        rows = [page.make_gallery('', visible=False, columns=6) for _ in range(SPACES)]

    def run(opened: Opened, place: str, shown: Shown | None, words: str) -> Iterator[list[Any]]:
        skip = [gr.skip()] * SPACES
        if place == SHARDS:
            assert sources.catalog is not None
            wrong = check_run(opened, sources.catalog)
            if wrong:
                raise InputError(wrong)
            yield ['Searching all shards ...', *skip]
            found = search.search_shards(opened, sources.catalog, shown, words)
            yield [f'{format_count(sources.catalog.rows, "row", "was")} compared.', *list_rows(gr, found)]
            return
        folder = sources.images if place == FOLDER else None
        key = f'gallery/{folder or ""}'
        if not opened.has(key):
            yield ['Encoding the images that are searched; the next search is quick ...', *skip]
        gallery = opened.keep(key, lambda: search.make_gallery(opened, folder))
        found = (search.search_text(opened, gallery, words) if shown is None else
                 search.search_image(opened, gallery, shown))
        yield [f'{format_count(len(gallery.keys), "image", "was")} compared. {gallery.note}', *list_rows(gr, found)]

    def search_image(run_name: str, shown: Shown | None, place: str) -> Iterator[list[Any]]:
        opened, image = page.need_shown(shown)
        yield from run(opened, place, image, '')

    def search_text(run_name: str, place: str, words: str) -> Iterator[list[Any]]:
        yield from run(page.runs.get(run_name), place, None, words)
    page.listen(by_image.click, search_image, [page.run, page.shown, where], [told, *rows], note)
    page.listen([by_text.click, text.submit], search_text, [page.run, where, text], [told, *rows], note)


def list_rows(gr: Any, found: dict[str, search.Found]) -> list[Any]:
    """Return what the galleries become."""
    shown = [gr.update(visible=True, label=f'by {name}',
                       value=[(enlarge(pixels, 160), line) for pixels, line in images])
             for name, images in list(found.items())[:SPACES]]
    return shown + [gr.update(visible=False)] * (SPACES - len(shown))
