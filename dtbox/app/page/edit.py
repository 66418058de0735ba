"""The tab Edit."""
from __future__ import annotations

from typing import Any

from dtbox.app.functions import edit
from dtbox.app.functions.images import Shown, enlarge, find_token, list_examples
from dtbox.app.opened import Opened, find_grid
from dtbox.app.page.edit_parts import Controls, make_controls
from dtbox.app.page.frame import IDLE, Page
from dtbox.counts import format_count
from dtbox.errors import InputError


def build(page: Page) -> None:
    """Add the tab."""
    gr = page.gr
    with page.open_tab('Edit') as tab:
        state, other = gr.State(None, time_to_live=IDLE), gr.State(None, time_to_live=IDLE)
        note = page.make_note()
        parts = make_controls(page)
        Editor(page, parts, state, other, note).wire(tab)


class Editor:
    """What the buttons of the tab do.

    Args:
        page: Page.
        parts: components of the tab.
        state: of a session: (run, Edit) or None.
        other: of a session: image B, `Shown` or None.
        note: line that says what is missing.
    """

    def __init__(self, page: Page, parts: Controls, state: Any, other: Any, note: Any) -> None:
        self.page, self.gr = page, page.gr
        self.parts, self.state = parts, state
        self.other, self.note = other, note

    def wire(self, tab: Any) -> None:
        """Connect the components."""
        page, p = self.page, self.parts
        outputs = [self.state, p.drawn, p.read, p.told, p.table]
        common = [page.shown, self.state, self.other, p.stream, p.depths]
        page.follow(tab, self.begin, [self.state], [self.state, p.stream, p.streams, p.drawn, p.read, p.told, p.table,
                                                    p.depths], self.note)
        for trigger, name, inputs in (
                (p.fill.click, 'fill', [p.depth, p.code]), (p.apply.click, 'apply', [p.table]),
                (p.copy.click, 'copy', [p.streams, *p.region]), (p.swap.click, 'swap', [p.streams]),
                (p.shuffle.click, 'shuffle', [p.streams, p.seed]), (p.undo.click, 'undo', []),
                (p.reset.click, 'reset', []), (p.depths.input, 'look', []), (p.stream.input, 'look', [])):
            page.listen(trigger, self.make(getattr(self, name)), [*common, *inputs], outputs, self.note)
        page.listen(p.drawn.select, self.paint, [*common, p.depth, p.code], outputs, self.note, event=True)
        page.listen(p.upload.change, self.take, [page.run, p.upload], [self.other], self.note)
        page.listen(p.example.click, self.take_example, [page.run, p.number], [page.hand_over(p.upload), p.number],
                    self.note)

    # ---- what is shown

    def begin(self, run: str, shown: Shown | None, state: Any) -> list[Any]:
        """Start from the codes of the image, unless those of this image are being edited."""
        opened, image = self.page.need_shown(shown)
        if state is None or state[0] is not image.codes:
            state = image.codes, edit.Edit(image.codes)
        names = opened.coded
        if not names:
            raise InputError(f'{opened.name} has no codes to edit: its vocabularies are continuous.')
        most = max(len(opened.tokenizer.model.streams[name].sizes) for name in names)
        new, drawn, read, told, table = self.show(opened, image, None, state, names[0], most)
        first = names[-1:]
        return [new, self.gr.update(choices=names, value=names[0]), self.gr.update(choices=names, value=first), drawn,
                read, told, table, self.gr.update(maximum=most, value=most)]

    def show(self, opened: Opened, image: Shown, other: Shown | None, state: Any, stream: str, depths: float
             ) -> list[Any]:
        """Return what the components of the tab show of a state."""
        codes = state[1].codes
        drawn: Any = None
        read: list[list[str]] = []
        told = ''
        try:
            cut = {name: min(int(depths), len(opened.tokenizer.model.streams[name].sizes)) for name in opened.coded}
            drawn = enlarge(edit.draw(opened, codes, cut))
        except InputError as e:
            told = f'{e.message} '
        try:
            found = edit.read_codes(opened, codes, {'A': image, **({'B': other} if other is not None and
                                                                   other.run == opened.name else {})})
            read = [[f'cosine to {name}', f'{value:.3f}'] for name, value in found.cosines.items()]
            read += [[word, f'{value:.3f}'] for word, value in found.words]
        except InputError as e:
            told += e.message
        changes = ', '.join(f'{name} {count}' for name, count in edit.count_changes(codes, image.codes).items())
        back = format_count(len(state[1].before), 'edit')
        told = f'Codes that differ from those of A: {changes}. {back} can be undone. {told}'
        table = [[token, *map(int, row)] for token, row in enumerate(codes[stream][0].tolist())]
        width = len(table[0]) - 1
        return [state, drawn, read, told, self.gr.update(value=table, headers=['token', *(
            f'depth {depth}' for depth in range(width))], label=f'codes of {stream}')]

    def make(self, action: Any) -> Any:
        """Return the function of a button: its action gives new codes, or a whole new Edit."""
        def run(shown: Shown | None, state: Any, other: Shown | None, stream: str, depths: float, *values: Any
                ) -> list[Any]:
            opened, image = self.page.need_shown(shown)
            if state is None or state[0] is not image.codes:
                state = image.codes, edit.Edit(image.codes)
            result = action(opened, state[1], other, stream, *values)
            result = result if isinstance(result, edit.Edit) else state[1].change(result)
            return self.show(opened, image, other, (image.codes, result), stream, depths)
        return run

    # ---- what the buttons do

    def fill(self, opened: Opened, now: edit.Edit, other: Any, stream: str, depth: float, code: float) -> Any:
        """Put a code onto every patch."""
        tokens = range(now.codes[stream].shape[1])
        return edit.paint(opened, now.codes, stream, int(depth or 0), int(code or 0), tokens)

    def paint(self, event: Any, shown: Shown | None, state: Any, other: Any, stream: str, depths: float, depth: float,
              code: float) -> list[Any]:
        """Put a code onto the patch that was clicked."""
        def action(opened: Opened, now: edit.Edit, other: Any, stream: str) -> Any:
            assert shown is not None
            height, width = enlarge(shown.pixels).shape[:2]
            layout = opened.tokenizer.model.streams[stream].layout.token_layout
            token = find_token(layout, (event.index[1] / height, event.index[0] / width))
            return edit.paint(opened, now.codes, stream, int(depth or 0), int(code or 0), [token])
        return self.make(action)(shown, state, other, stream, depths)

    def apply(self, opened: Opened, now: edit.Edit, other: Any, stream: str, table: list) -> Any:
        """Take the codes of the table."""
        return edit.set_table(opened, now.codes, stream, [row[1:] for row in table])

    def copy(self, opened: Opened, now: edit.Edit, other: Any, stream: str, streams: list[str], *region: float) -> Any:
        """Copy a region of B."""
        grid = find_grid(opened.tokenizer, stream)
        if grid is None:
            raise InputError(f'the tokens of {stream} have no place in the image, so there is no region to copy.')
        tokens = edit.list_region(grid, *(int(value or 0) for value in region))
        return edit.copy_region(now.codes, need_other(opened, other).codes, streams, tokens)

    def swap(self, opened: Opened, now: edit.Edit, other: Any, stream: str, streams: list[str]) -> Any:
        """Take streams of B."""
        return edit.swap_streams(now.codes, need_other(opened, other).codes, streams)

    def shuffle(self, opened: Opened, now: edit.Edit, other: Any, stream: str, streams: list[str], seed: float) -> Any:
        """Shuffle the tokens of streams."""
        return edit.shuffle(now.codes, streams, int(seed or 0))

    def undo(self, opened: Opened, now: edit.Edit, other: Any, stream: str) -> Any:
        """Take back the last edit."""
        return now.undo()

    def reset(self, opened: Opened, now: edit.Edit, other: Any, stream: str) -> Any:
        """Take back all edits, as one that can be undone."""
        return now.change(now.before[0]) if now.before else now

    def look(self, opened: Opened, now: edit.Edit, other: Any, stream: str) -> Any:
        """Change nothing: another stream or number of depths is shown."""
        return now

    def take(self, run: str, path: str | None) -> list[Any]:
        """Encode image B."""
        return [self.page.open_image(run, path) if path else None]

    def take_example(self, run: str, number: float) -> list[Any]:
        """Take a held-out image as B, another one each time."""
        images = list_examples(self.page.runs.get(run))
        return [enlarge(images[int(number) % len(images)], 256), int(number) + 1]


def need_other(opened: Opened, other: Shown | None) -> Shown:
    """Return image B; `InputError` where there is none, or where it was encoded by another run."""
    if other is None:
        raise InputError('there is no image B yet. Drop one, or take a held-out image.')
    if other.run != opened.name:
        raise InputError(f'image B was encoded by {other.run}, and its codes mean other images in {opened.name}. Drop '
                         'it again.')
    return other
