"""The page as a whole: the run and the image at the left, the tabs at the right."""
from __future__ import annotations

from typing import Any

from dtbox.app.functions.images import enlarge, list_examples
from dtbox.app.page import codebook, compare, edit, inspector, reconstruct, runs, search, shards, talk, video
from dtbox.app.page.frame import Page, Sources
from dtbox.errors import InputError

CLEAN = (600, 3600)
"""Seconds between two looks at files that sessions have left, and the age from which on they go."""
FONTS = ('system-ui', 'sans-serif'), ('ui-monospace', 'monospace')
"""Of the machine: the page fetches none."""
CSS = '''
.note { border-left: 4px solid #d55e00; padding: 6px 12px; margin: 0; background: rgba(213, 94, 0, .12);
        color: var(--body-text-color) }
.grid-wrap { padding-top: 1.9rem; min-height: 0 !important; max-height: none !important }
.grid-wrap .grid-container { grid-template-columns: repeat(var(--grid-cols), minmax(0, 1fr)) !important;
    grid-template-rows: auto !important; grid-auto-rows: auto !important }
th *, [role=columnheader] * { word-break: normal !important; overflow-wrap: normal !important }
#talk button[aria-label=Share], #talk button[title=Share] { display: none }
#before-after img, #patches img, #drawn img, #drawing img { image-rendering: pixelated }
'''


def build_page(gr: Any, sources: Sources) -> Any:
    """Return the page as gradio's Blocks.

    Args:
        gr: gradio.
        sources: what is shown.
    """
    with gr.Blocks(title='dtbox', analytics_enabled=False, delete_cache=CLEAN, fill_width=True) as blocks:
        page = Page(gr, sources)
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                image = build_left(page, blocks)
            with gr.Column(scale=4, min_width=320), gr.Tabs(overflow_behavior='wrap'):
                reconstruct.build(page)
                inspector.build(page)
                compare.build(page, image)
                edit.build(page)
                search.build(page)
                codebook.build(page)
                shards.build(page)
                video.build(page)
                talk.build(page)
                runs.build(page)
    blocks.queue(default_concurrency_limit=4, max_size=64, api_open=False)
    return blocks


def build_left(page: Page, blocks: Any) -> Any:
    """Add the choice of the run, the upload and the examples; returns the upload."""
    gr, names = page.gr, page.runs.names
    gr.Markdown('# dtbox')
    page.run = gr.Dropdown(names, value=names[0], label='run', elem_id='run', interactive=True)
    note = page.make_note()
    image = page.make_upload('image')
    examples = page.make_gallery('held-out images', columns=4, elem_id='examples', height=210)
    about = gr.Markdown('')
    picked = page.hand_over(image)

    def list_them(run: str) -> list[Any]:
        opened = page.runs.get(run)
        told = repr(opened.model).replace('`', '')
        try:
            shown = [enlarge(pixels, 96) for pixels in list_examples(opened)]
        except InputError as e:
            return [[], f'`{told}`\n\n{e.message}']
        return [shown, f'`{told}`']

    def first(run: str) -> list[Any]:
        try:
            return [list_examples(page.runs.get(run))[0]]
        except InputError:
            return [None]
    page.listen(blocks.load, list_them, [page.run], [examples, about], note)
    page.listen(blocks.load, first, [page.run], [picked], note)
    page.listen(page.run.change, list_them, [page.run], [examples, about], note)
    page.listen(examples.select, lambda event, run: [list_examples(page.runs.get(run))[event.index]], [page.run],
                [picked], note, event=True)

    def open_it(run: str, path: str | None) -> list[Any]:
        return [page.open_image(run, path) if path else None]
    page.listen([image.change, page.run.change], open_it, [page.run, image], [page.shown], note)
    return image
