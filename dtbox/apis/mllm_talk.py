"""An answer of text and drawings: text until the model begins an image, the places of that image, and text again."""
from __future__ import annotations

from typing import Any, Union

import torch
from torch import Tensor

from dtbox.apis.mllm_arguments import ReplySettings
from dtbox.apis.mllm_settings import Generation
from dtbox.mllm.contexts import Context
from dtbox.mllm.image_generation import generate_images
from dtbox.mllm.text_generation import generate_texts
from dtbox.sampling import Guidance, seed_generator

Part = Union[str, Tensor]
"""A text, or an image [3,H,W]."""


class Talk:
    """Answers of a model.

    Args:
        model: MultimodalLM in evaluation mode.
        settings: of the text.
        drawing: defaults of drawings.
        prompt: what the random numbers depend on, beside the seed.
    """

    def __init__(self, model: Any, settings: ReplySettings, drawing: Generation, prompt: str) -> None:
        self.model, self.settings = model, settings
        self.drawing, self.prompt = drawing, prompt

    def answer(self, context: Context, may_draw: bool) -> list[Part]:
        """Return the parts of the answer to a context, at most `max_tokens` ids of text."""
        tokens, left = self.model.sequence.tokens, self.settings.max_tokens
        own = self._make_generator(0)
        parts: list[Part] = []
        while left > 0:
            ids = generate_texts(self.model, [context], left, self.settings.rule, [own], may_draw)[0]
            left -= len(ids)
            text = tokens.decode(ids)
            parts += [text] if text.strip() else []
            if not ids or ids[-1] != tokens.drawn[0]:
                break
            codes = self._draw(context.add_text(ids), len(parts))
            parts.append(self.model.tokenizer.decode(codes)[0])
            shown = {name: value[0] for name, value in self.model.expand(codes).items()}
            context = context.add_text(ids).add_image(shown, tokens.image).add_text([tokens.drawn[1]])
        return parts

    def _draw(self, context: Context, number: int) -> dict[str, Tensor]:
        return generate_images(self.model, [context], self.drawing.rule, Guidance(self.drawing.scale),
                               [self._make_generator(number + 1)])

    def _make_generator(self, number: int) -> torch.Generator:
        return seed_generator(self.settings.seed, number, self.prompt)
