"""The tab Chat and draw: a multimodal language model that answers, and draws place by place.

Legend: N visual places, Q codes of a place.
"""
from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from dtbox.app.opened import Opened
from dtbox.drawing.sheets import to_uint8
from dtbox.errors import InputError

PREVIEWS = 16
"""Images that are shown while one is drawn."""


def need_language_model(opened: Opened, draws: bool = False) -> None:
    """Raise `InputError` where a run is not a multimodal language model, or draws nothing though it has to."""
    if not opened.talks:
        raise InputError(f'{opened.name} is a tokenizer; this tab needs a multimodal language model, such as '
                         'dtbox://mllm-twemoji. Choose another run, or start the page with one.')
    if draws and not opened.model.can_draw:
        raise InputError(f'{opened.name} has no visual head: it reads images, and draws none. Train one with '
                         '`visual_head`.')


@dataclass(frozen=True, eq=False)
class Drawing:
    """A drawing, or the part of it that is there.

    Attributes:
        image: uint8 [H,W,3], grey where nothing is drawn yet.
        done, total: places.
        prompt: that it was drawn from.
        codes: stream -> [1,N,Q]; None until it is whole.
    """
    image: np.ndarray
    done: int
    total: int
    prompt: str
    codes: Mapping[str, Tensor] | None = None


class _Stopped(Exception):
    """Nobody looks any more."""


def follow(work: Callable[[Callable[[Any], None]], Any]) -> Iterator[Any]:
    """Run some work in a thread and yield what it tells, then what it returns.

    Args:
        work: takes a function that it calls with each thing to yield. Where the iterator is closed before its end, that
            function raises, so that the work ends, too.

    Raises:
        whatever `work` raises.
    """
    told: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    stopped = threading.Event()

    def tell(value: Any) -> None:
        if stopped.is_set():
            raise _Stopped
        told.put(('told', value))

    def run() -> None:
        try:
            told.put(('done', work(tell)))
        except BaseException as e:
            told.put(('failed', e))
    threading.Thread(target=run, name='dtbox-app', daemon=True).start()
    try:
        while True:
            kind, value = told.get()
            if kind == 'failed':
                raise value
            yield value
            if kind == 'done':
                return
    finally:
        stopped.set()


def draw(opened: Opened, prompt: str, scale: float | None = None, temperature: float | None = None,
         seed: int = 0) -> Iterator[Drawing]:
    """Draw an image from a text, place by place.

    Args:
        opened: run of a language model that draws.
        prompt: text.
        scale: of guidance; None takes the model's.
        temperature: of the codes; None takes the model's.
        seed: of the random numbers.

    Yields:
        a `Drawing` now and then, the last one whole, with its codes.
    """
    need_language_model(opened, draws=True)
    if not prompt.strip():
        raise InputError('the prompt is empty. Type what to draw.')
    total = opened.model.model.places
    every = max(1, total // PREVIEWS)

    def work(tell: Callable[[Any], None]) -> Drawing:
        def report(progress: Any) -> None:
            if progress.done % every == 0 and progress.done < total:
                tell(Drawing(to_uint8(progress.images()[0])[0], progress.done, total, prompt))
        with opened.lock:
            images, codes = opened.model.draw(prompt, scale=scale, temperature=temperature, seed=seed, report=report,
                                              codes=True)
        return Drawing(to_uint8(images[0])[0], total, total, prompt, {name: one[0] for name, one in codes.items()})
    yield from follow(work)


def chat(opened: Opened, messages: Sequence[Mapping[str, Any]], question: str, image: Any = None,
         temperature: float = 0.0, seed: int = 0) -> list[dict[str, Any]]:
    """Return a conversation with a question and its answer after it; the one that came in stays as it was.

    Args:
        opened: run of a language model.
        messages: see `MultimodalModel.chat`.
        question: text.
        image: shown with it, or None.
        temperature: of the text.
        seed: of the random numbers.

    Raises:
        InputError: an empty question, what `MultimodalModel.chat` says; the model has no answer.
    """
    need_language_model(opened)
    if not question.strip():
        raise InputError('the question is empty. Type one.')
    parts = [dict(type='text', text=question)]
    asked = dict(role='user', content=[dict(type='image', image=image), *parts] if image is not None else question)
    with opened.lock:
        answer = opened.model.chat([*messages, asked], temperature=temperature, seed=seed)
    if not answer['content']:
        raise InputError('the model has no answer: it may not know such a text, or a question without an image. Ask as '
                         'it was trained.')
    return [*messages, asked, answer]
