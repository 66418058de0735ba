"""What all tabs share: the run and the image of a session, the line that says what is missing, how events are wired.

State of a session lies in `gr.State` and nowhere else: two who look at the page at once see their own.
"""
from __future__ import annotations

import hashlib
import html
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dtbox.app.functions.images import Shown, read_upload, show_image
from dtbox.app.opened import Opened, Runs
from dtbox.errors import InputError
from dtbox.files import replacing
from dtbox.serving.limits import Limits
from dtbox.tokens.catalog import Catalog

IDLE = 3600
"""Seconds after which the state of a session that does nothing is let go."""


@dataclass(frozen=True)
class Sources:
    """What a page shows.

    Attributes:
        runs: Runs.
        folders: run folders and grids on this machine, for the tab Runs.
        reports: title -> folder with an index.html; served below /reports/NUMBER/.
        images: folder of images to search, or None.
        catalog: of token shards, or None.
        limits: of uploads.
        scratch: folder for figures, which ends with the server.
    """
    runs: Runs
    folders: Sequence[str]
    reports: dict[str, str]
    images: str | None
    catalog: Catalog | None
    limits: Limits
    scratch: str


class Figures:
    """Images of the page as files, each under the hash of its content; old ones go when there are many.

    Args:
        folder: where they lie.
    """
    MOST = 2000

    def __init__(self, folder: str) -> None:
        self.folder, self.written = folder, 0

    def save(self, pixels: np.ndarray) -> str:
        """Return the path of an image, uint8 [H,W,3]."""
        digest = hashlib.blake2b(pixels.tobytes() + str(pixels.shape).encode(), digest_size=16).hexdigest()
        path = os.path.join(self.folder, f'{digest}.png')
        if os.path.exists(path):
            os.utime(path)
            return path
        with replacing(path, sweep=False) as temporary:
            Image.fromarray(pixels).save(temporary, 'PNG', compress_level=1)
        self.written += 1
        if self.written % self.MOST == 0:
            self.sweep()
        return path

    def sweep(self) -> None:
        """Remove all but the `MOST` images that were shown last."""
        paths = [entry.path for entry in os.scandir(self.folder) if entry.name.endswith('.png')]
        for path in sorted(paths, key=os.path.getmtime)[:-self.MOST]:
            os.remove(path)


class Page:
    """The page while it is built.

    Args:
        gr: gradio.
        sources: what is shown.

    Attributes:
        run: choice of the run, a component.
        shown: State of a session: its image as the run sees it, `Shown` or None.
        active: State of a session: name of the tab that is open.
    """

    def __init__(self, gr: Any, sources: Sources) -> None:
        self.gr, self.sources = gr, sources
        self.runs = sources.runs
        self.run: Any = None
        self.figures = Figures(sources.scratch)
        self.shown = gr.State(None, time_to_live=IDLE)
        self.active = gr.State('Reconstruct', time_to_live=IDLE)

    # ---- sessions

    def open_image(self, run: str, path: str | None) -> Shown:
        """Return the image of a session as a run sees it."""
        return show_image(self.runs.get(run), read_upload(path, self.sources.limits))

    def need_shown(self, shown: Shown | None) -> tuple[Opened, Shown]:
        """Return the run and the image of a session; `InputError` where there is no image."""
        if shown is None:
            read_upload(None)
        assert shown is not None
        return self.runs.get(shown.run), shown

    def make_path(self, suffix: str = '.png') -> str:
        """Return the path of a new figure."""
        number, path = tempfile.mkstemp(suffix=suffix, dir=self.sources.scratch)
        os.close(number)
        return path

    def save(self, value: Any) -> Any:
        """Return the value of a component with the images in it (uint8 [H,W,3], in lists and tuples, too) as paths.

        gradio would write each anew under the hash of its content, also while a browser reads the one that is there.
        """
        if isinstance(value, np.ndarray):
            return self.figures.save(value)
        if isinstance(value, dict) and 'value' in value:
            return {**value, 'value': self.save(value['value'])}
        if isinstance(value, (list, tuple)) and any(isinstance(one, (np.ndarray, tuple)) for one in value):
            return type(value)(self.save(one) for one in value)
        return value

    # ---- events

    def listen(self, trigger: Any, fn: Callable, inputs: Sequence[Any], outputs: Sequence[Any], note: Any,
               event: bool = False, **more: Any) -> Any:
        """Call a function at an event.

        Args:
            trigger: such as `button.click`, or a list of them.
            fn: takes the values of the inputs, returns a list with the values of the outputs, or yields such lists.
            inputs, outputs: components.
            note: component in which an `InputError` is said; it is emptied where there is none.
            event: whether `fn` takes first what was clicked (`gr.SelectData`).
            more: arguments of gradio's events.

        Returns:
            gradio's event, which others can follow.
        """
        run = self._guard(fn, outputs, event)
        how = dict(dict(api_visibility='private', show_progress='hidden', trigger_mode='always_last'), **more)
        values = run, list(inputs), [note, *outputs]
        return self.gr.on(trigger, *values, **how) if isinstance(trigger, list) else trigger(*values, **how)

    def _guard(self, fn: Callable, outputs: Sequence[Any], event: bool) -> Callable:
        kept = [isinstance(output, self.gr.State) for output in outputs]

        def finish(values: Sequence[Any]) -> list[Any]:
            return ['', *(value if stays else self.save(value) for value, stays in zip(values, kept, strict=True))]

        def work(values: tuple) -> Any:
            try:
                result = fn(*values)
                if not hasattr(result, '__next__'):
                    yield finish(result)
                    return
                for some in result:
                    yield finish(some)
            except InputError as e:
                yield [self.tell(e), *[self.gr.skip()] * len(outputs)]
        if not event:
            def run(*values: Any) -> Any:
                yield from work(values)
            return run

        def run_with(clicked: Any, *values: Any) -> Any:
            yield from work((clicked, *values))
        run_with.__annotations__ = dict(clicked=self.gr.SelectData)  # gradio finds the argument by its type
        return run_with

    def tell(self, error: InputError) -> str:
        """Return what an error says as HTML."""
        text = f'{error.where}: {error.message}' if error.where else error.message
        return f'<p role="alert" class="note">{html.escape(text[:1].upper() + text[1:])}</p>'

    def follow(self, tab: Any, fn: Callable, inputs: Sequence[Any], outputs: Sequence[Any], note: Any) -> None:
        """Call a function when a tab is opened, and when the run or the image of the session changes while it is open.

        Args:
            tab: gradio's.
            fn: takes the name of the run, the image (`Shown` or None) and the inputs; as in `listen`.
            inputs, outputs, note: as in `listen`.
        """
        everything = [self.run, self.shown, *inputs]
        self.listen(tab.select, fn, everything, outputs, note)

        def if_open(active: str, *values: Any) -> Any:
            if active != tab.label:
                return [self.gr.skip()] * len(outputs)
            return fn(*values)
        self.listen(self.shown.change, if_open, [self.active, *everything], outputs, note)

    def open_tab(self, name: str) -> Any:
        """Return a tab that remembers that it is open."""
        tab = self.gr.Tab(name)
        tab.select(lambda: name, None, self.active, show_progress='hidden', api_visibility='private', queue=False)
        return tab

    # ---- components that several tabs have

    def make_note(self) -> Any:
        """Return the line of a tab that says what is missing."""
        return self.gr.HTML('')

    def make_table(self, head: Sequence[str], label: str, **how: Any) -> Any:
        """Return a table of texts that is not edited."""
        return self.gr.Dataframe(headers=list(head), label=label, datatype='str', type='array', interactive=False,
                                 wrap=True, buttons=[], **how)

    def make_upload(self, label: str) -> Any:
        """Return a component that takes an image from a file, the clipboard or a camera. `read_upload` opens the file,
        after a look at its size. Events must not update its properties, or skip it: gradio would build it anew
        without this. What an event puts there goes by `hand_over`."""
        image = self.gr.Image(label=label, type='filepath', format='png', sources=['upload', 'clipboard', 'webcam'],
                              height=260, buttons=['fullscreen'])
        image.preprocess = lambda payload: None if payload is None else payload.path
        return image

    def hand_over(self, upload: Any) -> Any:
        """Return a State of a session; images uint8 [H,W,3] that an event puts there come into an upload."""
        state = self.gr.State(None, time_to_live=IDLE)
        state.change(lambda pixels: pixels, state, upload, show_progress='hidden', api_visibility='private')
        return state

    def make_image(self, label: str, **how: Any) -> Any:
        """Return a component that shows an image, pixel by pixel."""
        return self.gr.Image(label=label, interactive=False, format='png', buttons=['download', 'fullscreen'], **how)

    def make_gallery(self, label: str, **how: Any) -> Any:
        """Return a component that shows several images."""
        return self.gr.Gallery(**{**dict(label=label, format='png', columns=6, height='auto', object_fit='contain',
                                         interactive=False, allow_preview=False, buttons=[]), **how})
