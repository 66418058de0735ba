"""The tab Chat and draw: a multimodal language model that answers and draws, how sure it is of a code, which stream an answer
rests on.

Legend: N visual places, Q codes of a place, K codebook size.
"""
from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dtbox.apis.mllm_drawing import start_drawing
from dtbox.app.functions.images import Shown
from dtbox.app.opened import Opened
from dtbox.drawing.sheets import to_uint8
from dtbox.errors import InputError
from dtbox.mllm.contexts import join_contexts
from dtbox.sequence_batch import allowed_mask

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


@dataclass(frozen=True)
class Likely:
    """How sure a model was of a code.

    Attributes:
        stream, depth, code: that was drawn.
        probability: of it, given what was drawn before; without guidance and temperature.
        best: the most likely codes with their probabilities.
    """
    stream: str
    depth: int
    code: int
    probability: float
    best: Sequence[tuple[int, float]]

    @property
    def row(self) -> list[str]:
        """The line of the table."""
        return [self.stream, str(self.depth), str(self.code), f'{self.probability:.1%}',
                ', '.join(f'{code} ({p:.1%})' for code, p in self.best)]


@torch.no_grad()
def measure_place(opened: Opened, drawing: Drawing, place: int, most: int = 5) -> list[Likely]:
    """Return how likely the codes of one place of a drawing were.

    Args:
        opened: run that drew it.
        drawing: whole.
        place: step of the drawing, from 0.
        most: codes that are listed of each depth.

    Raises:
        InputError: no whole drawing, no such place.
    """
    need_language_model(opened, draws=True)
    if drawing is None or drawing.codes is None:
        raise InputError('there is no whole drawing yet. Draw one first.')
    if not 0 <= place < drawing.total:
        raise InputError(f'there is no place {place}; the drawing has places 0 to {drawing.total - 1}.')
    with opened.lock:
        model = opened.model.model
        steps = {name: value[0] for name, value in model.expand(drawing.codes).items()}
        context = start_drawing(model, drawing.prompt)
        first = len(context)
        batch = join_contexts(model, [context.add_image(steps, model.sequence.tokens.image)])
        states = model.lm(model.embed(batch), batch.position, allowed_mask(batch) if batch.need_mask else None)
        hidden = states[:, first - 1 + place]  # the state before the place
        known = {name: steps[name][place][None].to(hidden.device) for name in model.visual_head.names}
        logits = model.visual_head.logits(hidden, known)
    found = []
    for name, depths in logits.items():
        for depth, row in enumerate(depths):
            code = int(known[name][0, depth])
            if code < 0:  # the step holds no code of this depth
                continue
            chances = row[0].float().softmax(-1)
            best = chances.topk(min(most, len(chances)))
            found.append(Likely(name, depth, code, float(chances[code]),
                                [(int(i), float(p)) for p, i in zip(*best)]))
    return found


@dataclass(frozen=True)
class Rest:
    """An answer with a stream blanked.

    Attributes:
        without: the stream; '' for none.
        answer: what the model says then.
        nats: log-probability of the answer that it gives with all streams, in nats.
    """
    without: str
    answer: str
    nats: float

    @property
    def row(self) -> list[str]:
        """The line of the table."""
        return [f'without {self.without}' if self.without else 'all streams', self.answer, f'{self.nats:.2f}']


@torch.no_grad()
def ask_blanked(opened: Opened, shown: Shown, question: str) -> list[Rest]:
    """Ask about an image with all streams, and with each of them blanked by its mean over the places of held-out images
    (of the image itself where the run names none).

    A loss says that the model as it is answers from this stream; no loss says that another stood in for it, or that
    none is used.

    Args:
        opened: run of a language model.
        shown: image.
        question: text.

    Raises:
        InputError: an empty question, a visual embedding that does not read its streams apart.
    """
    need_language_model(opened)
    if not question.strip():
        raise InputError('the question is empty. Type one.')
    embedding = opened.model.model.visual_embedding
    with opened.lock:
        with embedding.blank({}):  # refuses an embedding whose streams cannot be blanked
            pass
        means, first = find_means(opened, shown), ''
        rows = []
        for name in ('', *embedding.names):
            with embedding.blank({name: means[name]}) if name else nullcontext():
                answer = opened.model.ask(shown.tensor, question)[0]
                first = first if name else answer
                nats = float(opened.model.loglikelihood(shown.tensor, question, first)[0, 0]) if first else float('nan')
            rows.append(Rest(name, answer, nats))
    return rows


def find_means(opened: Opened, shown: Shown) -> dict[str, Tensor]:
    """Return stream -> [w]: the mean of its part of the visual embedding, see `ask_blanked`."""
    model = opened.model.model

    def compute(codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: part.double().mean((0, 1)).float() for name, part in
                model.visual_embedding.read(model.expand(codes)).items()}
    try:
        return opened.keep('means', lambda: compute({
            name: torch.from_numpy(value.astype(np.int64)).to(model.device) for name, value in
            opened.seen.codes.items()}))
    except InputError:
        return compute(shown.codes)
