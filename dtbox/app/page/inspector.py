"""The tab Token inspector."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dtbox.app.functions import inspector
from dtbox.app.functions.images import Shown, enlarge, find_token, mark_patch
from dtbox.app.opened import COUNTED, Opened, find_grid
from dtbox.app.page.frame import IDLE, Page
from dtbox.errors import InputError

HEAD = ('stream', 'depth', 'code', 'used, rank', 'nearest codes (distance)', 'words of its images')


def build(page: Page) -> None:
    """Add the tab."""
    gr = page.gr
    with page.open_tab('Token inspector') as tab:
        note = page.make_note()
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                image = page.make_image('click a patch', elem_id='patches')
                with gr.Row():
                    row = gr.Number(0, label='row', precision=0, minimum=0, min_width=80)
                    column = gr.Number(0, label='column', precision=0, minimum=0, min_width=80)
                words = gr.Textbox(label='words nearest to the patch', interactive=False)
            with gr.Column(scale=2, min_width=360):
                table = page.make_table(HEAD, 'codes of the patch: click one to see what it stands for',
                                        elem_id='codes', column_widths=['18%', '11%', '10%', '14%', '25%', '22%'])
                status = gr.Markdown('')
        patches = page.make_gallery('patches of held-out images that have this code', columns=8)
        last = gr.State('', time_to_live=IDLE)

    def show(run: str, shown: Shown | None, row: float | None, column: float | None) -> list[Any]:
        opened, seen = page.need_shown(shown)
        place = find_place(opened, row, column)
        grid = find_grid(opened.tokenizer)
        token = 0 if grid is None else find_token(grid, place)
        rows = [info.row for info in inspector.inspect_patch(opened, seen, place)]
        return [mark_patch(seen.pixels, grid, token), rows, say_words(opened, seen, place), say_count(opened)]

    def open_it(run: str, shown: Shown | None, last: str, row: float | None, column: float | None
                ) -> Iterator[list[Any]]:
        opened, _ = page.need_shown(shown)
        if last != opened.name:  # the patch in the middle of another run's grid
            grid = find_grid(opened.tokenizer)
            row, column = (grid.rows // 2, grid.columns // 2) if grid is not None else (0, 0)
        yield [*show(run, shown, row, column), opened.name, row, column]
        if not opened.has('seen') or not opened.has('words'):
            try_count(opened)
            yield [*show(run, shown, row, column), opened.name, row, column]

    def click(event: Any, run: str, shown: Shown | None) -> list[Any]:
        opened, seen = page.need_shown(shown)
        height, width = enlarge(seen.pixels).shape[:2]
        grid = find_grid(opened.tokenizer)
        right, down = event.index
        where = ([0, min(int(right / width * 100), 99)] if grid is None else
                 list(divmod(find_token(grid, (down / height, right / width)), grid.columns)))
        return [*where, *show(run, shown, *where)]

    def pick(event: Any, run: str, shown: Shown | None, rows: list[list[str]]) -> list[Any]:
        opened, _ = page.need_shown(shown)
        stream, depth, code = rows[event.index[0]][:3]
        crops = inspector.cut_examples(opened, stream, int(depth), int(code))
        label = f'{stream}, depth {depth}, code {code}: ' + (
            'patches of held-out images that have it' if crops else 'no held-out image has it')
        return [gr.update(value=[enlarge(crop, 160) for crop in crops], label=label)]
    place, outputs = [row, column], [image, table, words, status]
    page.follow(tab, open_it, [last, *place], [*outputs, last, *place], note)
    page.listen(image.select, click, [page.run, page.shown], [*place, *outputs], note, event=True)
    page.listen([row.input, column.input], show, [page.run, page.shown, *place], outputs, note)
    page.listen(table.select, pick, [page.run, page.shown, table], [patches], note, event=True)


def find_place(opened: Opened, row: float | None, column: float | None) -> tuple[float, float]:
    """Return the middle of a patch as fractions of the image; `InputError` for one outside."""
    grid = find_grid(opened.tokenizer)
    rows, columns = (1, 100) if grid is None else (grid.rows, grid.columns)
    down, right = int(row or 0), int(column or 0)
    if not (0 <= down < rows and 0 <= right < columns):
        raise InputError(f'there is no patch at row {down}, column {right}; rows are 0 to {rows - 1}, columns 0 to '
                         f'{columns - 1}.')
    return (down + 0.5) / rows, (right + 0.5) / columns


def try_count(opened: Opened) -> None:
    """Count codes and embed words; why this cannot be is said where they are shown."""
    for name in ('seen', 'words'):
        try:
            getattr(opened, name)
        except InputError:
            pass


def say_words(opened: Opened, shown: Shown, place: tuple[float, float]) -> str:
    """Return the words nearest to a patch, or why there are none."""
    if not opened.has('words'):
        return '...'
    try:
        return ', '.join(f'{word} ({value:.2f})' for word, value in inspector.find_patch_words(opened, shown, place))
    except InputError as e:
        return e.message


def say_count(opened: Opened) -> str:
    """Return what was counted, or why nothing was."""
    if not opened.has('seen'):
        return f'Counting the codes of at most {COUNTED} held-out images ...'
    try:
        return f'Counted on {len(opened.seen.keys):,} held-out images.'
    except InputError as e:
        return f'Nothing is counted: {e.message}'
