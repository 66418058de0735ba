"""Drawing for the Python API: many rows in batches, a bar on a terminal, images that appear place by place.

Legend: R rows (drawings), B rows of a batch, N visual places, Q codes of a place, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from dtbox.code_tables import EMPTY
from dtbox.conversations import Conversation, Turn
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.layout import Grid
from dtbox.mllm.contexts import Context, take_context
from dtbox.mllm.image_generation import generate_images
from dtbox.sampling import Guidance, SamplingRule

GREY = 0.0
"""What stands where nothing is drawn yet, in [-1, 1]."""


@dataclass(frozen=True)
class Progress:
    """How far drawings are; `report` of `draw` gets one after each place of each batch.

    Attributes:
        done, total: places of all drawings.
        make_images: returns the drawings as they are now; see `images`.
    """
    done: int
    total: int
    make_images: Callable[[], Tensor]

    def images(self) -> Tensor:
        """Return the drawings as they are now, in the shape of the result; grey where nothing is drawn yet."""
        return self.make_images()


Report = Callable[[Progress], Any]


def start_drawing(model: Any, prompt: str) -> Context:
    """Return the context of a drawing: the prompt, up to `<image_gen_start>`.

    Args:
        model: MultimodalLM.
        prompt: text.

    Raises:
        InputError: a prompt that leaves no room for the drawing.
    """
    asked = Conversation(f'of the prompt {prompt[:40]!r}', 'draw', (Turn('user', (prompt,)),))
    context = take_context(model.sequence.render_prompt(asked, draw=True), {})
    if len(context) + model.places > model.lm.context_length:
        raise InputError(f'the prompt {prompt[:40]!r}... has {format_count(len(context), "place")} and a drawing '
                         f'{model.places}; the '
                         f'language model reads {model.lm.context_length}. Shorten it.')
    return context


class Drawer:
    """Draws rows, a batch at a time.

    Args:
        model: MultimodalLM in evaluation mode.
        rule, guidance: see `generate_images`.
        batch: rows at a time.
        report: see `Progress`; None shows a bar on a terminal.
        shape: first axes of the images that are reported, whose product is R.
    """

    def __init__(self, model: Any, rule: SamplingRule, guidance: Guidance, batch: int, report: Optional[Report] = None,
                 shape: Sequence[int] = (-1,)) -> None:
        self.model, self.rule = model, rule
        self.guidance, self.batch = guidance, batch
        self.report, self.shape = report, tuple(shape)
        self.images: list[Tensor] = []

    def draw(self, contexts: Sequence[Context], generators: Sequence[torch.Generator], prompts: Sequence[str]
             ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (images [R,3,H,W] in [-1,1], stream -> codes [R,N,Q]).

        Args:
            contexts: R rows that end with `<image_gen_start>`.
            generators: one for each row.
            prompts: of the rows, for a decoder that texts guide.
        """
        self.images = []
        parts: list[dict[str, Tensor]] = []
        with tqdm(total=len(contexts) * self.model.places, desc='draw', unit='place', leave=False, ncols=100,
                  disable=None if self.report is None else True) as bar:
            for first in range(0, len(contexts), self.batch):
                rows = slice(first, first + self.batch)
                count = len(contexts[rows])

                def tell(place: int, codes: Mapping[str, Tensor], first: int = first, count: int = count,
                         texts: Sequence[str] = prompts[rows]) -> None:
                    bar.update(count)
                    if self.report is not None:
                        total = len(contexts) * self.model.places
                        self.report(Progress(first * self.model.places + place * count, total,
                                             lambda: self._show(codes, len(contexts), texts)))
                parts.append(generate_images(self.model, contexts[rows], self.rule, self.guidance, generators[rows],
                                             tell))
                self.images.append(self.model.tokenizer.decode(parts[-1], prompts[rows]))
        return torch.cat(self.images), {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _show(self, codes: Mapping[str, Tensor], rows: int, texts: Sequence[str]) -> Tensor:
        """Return all rows as images: those that are done, those that grow, and grey ones."""
        images = torch.cat([*self.images, decode_partly(self.model, codes, texts)])
        missing = images.new_full((rows - len(images), *images.shape[1:]), GREY)
        return torch.cat([images, missing]).unflatten(0, self.shape)


def decode_partly(model: Any, codes: Mapping[str, Tensor], texts: Sequence[str]) -> Tensor:
    """Return the images of the first places of drawings [B,3,H,W], grey where nothing is drawn.

    Args:
        model: MultimodalLM.
        codes: stream -> [B,S,Q], of the first S of the steps of a drawing.
        texts: prompts of the drawings, for a decoder that texts guide.
    """
    whole = model.collapse({name: F.pad(value, (0, 0, 0, model.places - value.shape[1]), value=EMPTY)
                            for name, value in codes.items()})
    images = model.tokenizer.decode({name: value.clamp(min=0) for name, value in whole.items()}, texts)
    layout = model.tokenizer.layout.streams[0].token_layout
    if not isinstance(layout, Grid):  # its tokens have no place in the image
        return images
    there = torch.stack([(value >= 0).all(-1) for value in whole.values()]).all(0)  # [B,N]
    mask = F.interpolate(there.unflatten(1, (layout.rows, layout.columns))[:, None].to(images), images.shape[-2:])
    return torch.where(mask > 0, images, GREY)
