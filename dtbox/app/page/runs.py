"""The tab Runs."""
from __future__ import annotations

import html
import os
from typing import Any

from dtbox.app.functions import runs
from dtbox.app.page.frame import Page
from dtbox.errors import InputError


def build(page: Page) -> None:
    """Add the tab."""
    gr = page.gr
    folders = {os.path.basename(os.path.normpath(folder)): folder for folder in page.sources.folders}
    with page.open_tab('Runs') as tab:
        note = page.make_note()
        with gr.Row():
            name = gr.Dropdown(list(folders), value=next(iter(folders), None), label='run or grid', scale=3,
                               interactive=True)
            button = gr.Button('Read again', scale=1)
        gr.HTML(list_links(page.sources.reports), visible=bool(page.sources.reports))
        told = gr.Markdown('')
        table = page.make_table(['run', 'state', 'iteration'], 'how far it is')
        curves = page.make_image('curves')
        scores = page.make_table(['score', 'value', 'stamp of its protocol'], 'scores: only those of one stamp compare')

    def show(chosen: str | None) -> list[Any]:
        if chosen not in folders:
            raise InputError('the page was started with packaged models alone, which have no log and no curves. Start '
                             'it with a run folder or the folder of a grid.')
        folder = folders[chosen]
        if runs.is_grid(folder):
            sentence, trials = runs.read_grid(folder)
            return [sentence, [one.row for one in trials], None, []]
        one, path = runs.read_run(folder), page.make_path()
        return ['', [one.row], path if runs.draw_history(folder, path) else None, runs.list_scores(folder)]
    outputs = [told, table, curves, scores]
    page.listen(tab.select, show, [name], outputs, note)
    page.listen([button.click, name.input], show, [name], outputs, note)


def list_links(reports: dict[str, str]) -> str:
    """Return links to the report pages as HTML."""
    links = [f'<a href="/reports/{number}/index.html" target="_blank" rel="noopener">{html.escape(title)}</a>'
             for number, title in enumerate(reports)]
    return f'<p>Pages: {", ".join(links)}</p>'
