"""An answer of text and drawings: text until the model begins an image, the places of that image, and text again."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Union

import torch
from PIL import Image
from torch import Tensor

from dtbox.apis.mllm_arguments import ReplySettings
from dtbox.apis.mllm_drawing import Progress, decode_partly
from dtbox.apis.mllm_settings import Generation
from dtbox.mllm.contexts import Context
from dtbox.mllm.image_generation import generate_images
from dtbox.mllm.text_generation import generate_texts
from dtbox.sampling import Guidance, seed_generator

Part = Union[str, Tensor]
"""A text, or an image [3,H,W]."""


@dataclass(frozen=True)
class Answer:
    """An answer of a model.

    Attributes:
        parts: texts and images in their order.
        given: places of what was asked.
        generated: places of the answer: text ids, and the places of drawings with the mark of their end.
        ended: whether the model ended its turn; False where `max_tokens` or the language model's context did.
    """
    parts: tuple[Part, ...]
    given: int
    generated: int
    ended: bool

    def to_message(self, to_pil: Callable[[Tensor], list[Image.Image]]) -> dict[str, Any]:
        """Return the answer as `MultimodalModel.chat` does; `to_pil` turns images [1,3,H,W] into a PIL image."""
        content = [dict(type='text', text=part) if isinstance(part, str) else
                   dict(type='image_gen', image=to_pil(part[None])[0]) for part in self.parts]
        only_text = all(part['type'] == 'text' for part in content)
        return dict(role='assistant', content=''.join(map(str, self.parts)).strip() if only_text else content)


@dataclass(frozen=True)
class AnswerProgress:
    """How far an answer is; `report` gets one after each text id and each place of a drawing.

    Attributes:
        parts: what is whole, and the text that is being written.
        drawing: how far the drawing after them is; None where text is being written.
    """
    parts: tuple[Part, ...]
    drawing: Optional[Progress] = None


AnswerReport = Callable[[AnswerProgress], Any]


class Talk:
    """Answers of a model.

    Args:
        model: MultimodalLM in evaluation mode.
        settings: of the text.
        drawing: defaults of drawings.
        prompt: what was said last: the random numbers depend on it, beside the seed, and it guides a decoder that texts
            guide.
        report: see `AnswerProgress`; None reports nothing. An exception of it ends the answer.
    """

    def __init__(self, model: Any, settings: ReplySettings, drawing: Generation, prompt: str,
                 report: Optional[AnswerReport] = None) -> None:
        self.model, self.settings = model, settings
        self.drawing, self.prompt = drawing, prompt
        self.report = report

    def answer(self, context: Context, may_draw: bool) -> Answer:
        """Return the answer to a context, at most `max_tokens` ids of text."""
        tokens, left = self.model.sequence.tokens, self.settings.max_tokens
        given, drawn_places = len(context), 0
        own = self._make_generator(0)
        parts: list[Part] = []
        ended = False
        while left > 0:
            most = max(1, min(left, self.model.lm.context_length - len(context)))
            ids = self._write(context, left, own, may_draw, parts)
            left -= len(ids)
            text = tokens.decode(ids)
            parts += [text] if text.strip() else []
            if not ids or ids[-1] != tokens.drawn[0]:
                ended = len(ids) < most
                break
            codes = self._draw(context.add_text(ids), parts)
            parts.append(self.model.tokenizer.decode(codes, [self.prompt])[0])
            shown = {name: value[0] for name, value in self.model.expand(codes).items()}
            context = context.add_text(ids).add_image(shown, tokens.image).add_text([tokens.drawn[1]])
            drawn_places += self.model.places + 1
        return Answer(tuple(parts), given, self.settings.max_tokens - left + drawn_places, ended)

    def _write(self, context: Context, left: int, own: torch.Generator, may_draw: bool, parts: Sequence[Part]
               ) -> list[int]:
        """Return the ids of the text that follows a context."""
        def tell(rows: Sequence[Sequence[int]]) -> None:
            if self.report is not None:
                self.report(AnswerProgress((*parts, self.model.sequence.tokens.decode(rows[0]))))
        return generate_texts(self.model, [context], left, self.settings.rule, [own], may_draw, tell)[0]

    def _draw(self, context: Context, parts: Sequence[Part]) -> dict[str, Tensor]:
        def tell(place: int, codes: Mapping[str, Tensor]) -> None:
            if self.report is not None:
                progress = Progress(place, self.model.places, lambda: decode_partly(self.model, codes, [self.prompt]))
                self.report(AnswerProgress(tuple(parts), progress))
        return generate_images(self.model, [context], self.drawing.rule, Guidance(self.drawing.scale),
                               [self._make_generator(len(parts) + 1)], tell)

    def _make_generator(self, number: int) -> torch.Generator:
        return seed_generator(self.settings.seed, number, self.prompt)
