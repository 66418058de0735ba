"""The tab Chat and draw: how sure a language model was of a code, and which stream an answer rests on.

Legend: N visual places, Q codes of a place, K codebook size, w width of a stream's part of the visual embedding.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dtbox.apis.mllm_drawing import start_drawing
from dtbox.app.functions.images import Shown
from dtbox.app.functions.talk import Drawing, need_language_model
from dtbox.app.opened import Opened
from dtbox.errors import InputError
from dtbox.mllm.contexts import join_contexts
from dtbox.sequence_batch import allowed_mask


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
