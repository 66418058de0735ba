"""The Python API of a multimodal language model: prompts to drawings, images and questions to replies.

Legend: P prompts, n drawings of a prompt, B images, A answers, N visual places, Q codes of a place, H and W pixels.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dtbox.apis.images import Images
from dtbox.apis.mllm_answers import answer_messages
from dtbox.apis.mllm_arguments import check_rule, read_prompts, read_question, read_report, read_settings
from dtbox.apis.mllm_drawing import Drawer, Report, start_drawing
from dtbox.apis.mllm_folder import open_mllm_folder, save_mllm_folder
from dtbox.apis.mllm_settings import Generation
from dtbox.apis.opening import MLLM
from dtbox.apis.tokenizer import Tokenizer
from dtbox.arguments import allow_none, read_arguments, read_count, read_flag, read_kind, read_path
from dtbox.conversations import Conversation, ImagePart, Turn
from dtbox.counts import format_count
from dtbox.drawing.sheets import to_uint8
from dtbox.errors import InputError, at
from dtbox.mllm.contexts import Context, take_context
from dtbox.mllm.model import MultimodalLM
from dtbox.mllm.text_generation import measure_loglikelihood, reply
from dtbox.sampling import Guidance, seed_generator

MOST = 1000
"""Drawings of a prompt in one call."""


class MultimodalModel:
    """A trained multimodal language model; `dtbox.load` makes one.

    Images are as in `dtbox.apis.images.Images`. What a model does where an argument is None is in `generation`. A row
    is drawn with numbers of its own, from the seed, its prompt and its number: it does not depend on its batch.

    Args:
        model: MultimodalLM in evaluation mode, without gradients.
        config: dict(lm, sequence, visual_embedding, visual_head) that it was built from.
        generation: defaults of drawing and answering.

    Attributes:
        use: what a run of it opens as, see `dtbox.apis.opening.find_use`.
        tokenizer: the `Tokenizer` that reads and writes its images.
        image_size: (height, width) in pixels.
    """

    use = MLLM

    @read_arguments(model=read_kind(MultimodalLM), config=read_kind(dict), generation=read_kind(Generation))
    def __init__(self, model: MultimodalLM, config: dict, generation: Generation) -> None:
        self.model, self.config = model, config
        self.generation = generation
        frozen = model.tokenizer
        self.tokenizer = Tokenizer(frozen.model, frozen.pipeline, frozen.config)
        self.image_size = self.tokenizer.image_size

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, device: str | torch.device = 'cpu',
                        dtype: str | torch.dtype = 'float32', plugins: str | Sequence[str] = (),
                        revision: str | None = None) -> MultimodalModel:
        """Open a folder that `save_pretrained` wrote; arguments as in `Tokenizer.from_pretrained`."""
        return cls(*open_mllm_folder(folder, device, dtype, plugins, revision))

    @read_arguments(folder=read_path)
    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write a new folder with all that the model needs; see `dtbox.apis.mllm_folder`."""
        save_mllm_folder(self.model, self.config, self.generation, folder)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.model.device

    @property
    def can_draw(self) -> bool:
        """Whether the model has a visual head."""
        return self.model.visual_head is not None

    def __repr__(self) -> str:
        height, width = self.image_size
        names = ', '.join(self.model.visual_head.names) if self.can_draw else 'nothing'
        return (f'MultimodalModel({height} x {width} pixels; {format_count(self.model.tables.places, "place")}; '
                f'{format_count(self.model.lm.context_length, "place")} of context; draws {names}; {self.device})')

    # ---- drawing ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    @read_arguments(prompts=read_prompts, n=read_count(1, MOST), seed=read_count(0), report=allow_none(read_report),
                    codes=read_flag)
    def draw(self, prompts: str | Sequence[str], n: int = 1, scale: float | Mapping[str, float] | None = None,
             temperature: Any = None, top_k: Any = None, top_p: Any = None,
             interval: tuple[int, int] | None = None, seed: int = 0, report: Report | None = None,
             codes: bool = False) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Draw images from texts.

        Args:
            prompts: P texts, or one.
            n: drawings of each prompt.
            scale: of guidance, 1 for none; a number, or a dict stream -> number.
            temperature, top_k, top_p: how codes are drawn, see `SamplingRule`; a top_k as large as the codebook leaves
                all codes.
            interval: (first, stop) place that is guided; None for all.
            seed: of the random numbers.
            report: called with a `Progress` after each place; None shows a bar on a terminal.
            codes: return the codes, too.

        Returns:
            images [P,n,3,H,W] in [-1,1]; with `codes` also stream -> codes [P,n,N,Q].

        Raises:
            InputError: a model without visual head, guidance for one that was never trained without prompts, a prompt
                that is too long, settings that do not fit the tokenizer.
        """
        if not self.can_draw:
            raise InputError('the model has no visual head: it reads images, and draws none. Train one with '
                             '`visual_head`.')
        settings = self.generation.choose(scale=scale, temperature=temperature, top_k=top_k, top_p=top_p)
        check_rule(settings, self.model.visual_head.depths)
        with at('prompts'):
            contexts = [start_drawing(self.model, prompt) for prompt in prompts]
        rows = [context for context in contexts for _ in range(n)]
        generators = [seed_generator(seed, i, prompt) for prompt in prompts for i in range(n)]
        shape = (len(prompts), n)
        drawer = Drawer(self.model, settings.rule, Guidance(settings.scale, interval), settings.batch, report, shape)
        images, drawn = drawer.draw(rows, generators, [prompt for prompt in prompts for _ in range(n)])
        images = images.unflatten(0, shape)
        return (images, {name: value.unflatten(0, shape) for name, value in drawn.items()}) if codes else images

    def draw_pil(self, prompts: str | Sequence[str], n: int = 1, **settings: Any) -> list[list[Image.Image]]:
        """Draw as `draw` does; returns P lists of n PIL images."""
        images = self.draw(prompts, n, **settings)
        return [self.to_pil(row) for row in (images[0] if isinstance(images, tuple) else images)]

    def to_pil(self, images: Tensor) -> list[Image.Image]:
        """Images [B,3,H,W] in [-1,1] -> PIL images."""
        with at('images'):
            self.tokenizer.model.check_images(images)
        return [Image.fromarray(pixels) for pixels in to_uint8(images)]

    # ---- replies ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    @read_arguments()
    def caption(self, images: Images, **settings: Any) -> list[str]:
        """Images -> a caption of each: the reply to `generation.question`; `settings` as in `ask`."""
        return self._ask(images, self.generation.question, 'caption', read_settings(self, **settings))

    @torch.no_grad()
    @read_arguments(question=read_question)
    def ask(self, images: Images, question: str, **settings: Any) -> list[str]:
        """Ask about each image by itself.

        Args:
            images: B images.
            question: text.
            settings: `max_tokens` of a reply, up to the places of context; `temperature` (0, the default, takes the
                most likely words), `top_k`, `top_p`, `seed`.

        Returns:
            B replies.

        Raises:
            InputError: an image that is missing or broken, an empty question, one that is too long.
        """
        return self._ask(images, question, 'question', read_settings(self, **settings))

    def _ask(self, images: Images, question: str, kind: str, settings: Any) -> list[str]:
        contexts = self._show(images, question, kind)
        generators = [] if settings.greedy else [seed_generator(settings.seed, 0, question) for _ in contexts]
        return reply(self.model, contexts, settings.max_tokens, self.generation.batch, settings.rule, generators)

    def _show(self, images: Images, question: str, kind: str) -> list[Context]:
        """Return the context of a question about each image."""
        codes = self.model.expand(self.tokenizer.encode(images))
        key, count = f'of the question {question[:40]!r}', len(next(iter(codes.values())))
        asked = [Conversation(key, kind, (Turn('user', (ImagePart(i), question)),)) for i in range(count)]
        with at('question'):
            return [take_context(self.model.sequence.render_prompt(one), codes) for one in asked]

    @read_arguments(may_draw=read_flag)
    def chat(self, messages: Sequence[Mapping[str, Any]], may_draw: bool = True, **settings: Any) -> dict[str, Any]:
        """Answer the last of some messages.

        Args:
            messages: see `dtbox.apis.mllm_messages.read_messages`.
            may_draw: let the model draw where it begins an image; only one that has learnt it in conversations does so.
                Where texts guide the decoder, nothing is drawn after a message without words.
            settings: as in `ask`; drawings are drawn as `draw` does where nothing is said.

        Returns:
            a message of the assistant, as one may append it to `messages`: `content` is a text, or, where it drew, a
            list of dict(type='text', text=...) and dict(type='image_gen', image=PIL image).

        Raises:
            InputError: which message is wrong, and how; messages that are longer than the language model reads.
        """
        return answer_messages(self, messages, may_draw, **settings).to_message(self.to_pil)

    @torch.no_grad()
    @read_arguments(question=read_question, answers=read_prompts)
    def loglikelihood(self, images: Images, question: str, answers: str | Sequence[str]) -> Tensor:
        """Return how likely the model holds answers to a question about each image, in nats.

        Args:
            images: B images.
            question: text.
            answers: A texts.

        Returns:
            log-probability of each answer, the token that ends it included, [B,A] float64.
        """
        contexts = self._show(images, question, 'question')
        asked = Turn('user', (ImagePart(0), question))
        with at('answers'):
            whole = [self.model.sequence.render(Conversation(f'of the answer {answer[:40]!r}', 'question', (
                asked, Turn('assistant', (answer,))))) for answer in answers]
        ids = [rendered.ids[rendered.target].tolist() for rendered in whole]
        rows = [(context, answer) for context in contexts for answer in ids]
        scores: list[float] = []
        for first in range(0, len(rows), self.generation.batch):
            some = rows[first:first + self.generation.batch]
            scores += measure_loglikelihood(self.model, [context for context, _ in some], [ids for _, ids in some])
        return torch.tensor(scores, dtype=torch.float64).view(len(contexts), len(answers))
