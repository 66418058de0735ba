"""SequenceBuilder: from conversations and the codes of their images to the batch that a multimodal model reads.

Letters: M images, N visual places of an image, Q codes of a place.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from dtbox.conversations import Conversation, ConversationBatch, ImagePart, Turn
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.mllm.sequences.rendered import Rendered, assemble, join_questions, lay_out, pack_rows
from dtbox.mllm.sequences.spans import Span, Unusable
from dtbox.registry import SEQUENCES
from dtbox.sequence_batch import SequenceBatch
from dtbox.values import Fraction, Positive

DROPPED = 2
"""What tells the generator of dropped conditions from those of augmentation (no number) and of the order (0, 1)."""


@SEQUENCES.register_module()
class SequenceBuilder:
    """Renders conversations, drops conditions, packs rows.

    Args:
        tokenizer: config of the text tokenizer (`TrainedBPE`, `TokenizerFile`, `PretrainedTokenizer`), or one that is
            built.
        template: config of the template (`PlainTemplate`, `ChatTemplate`).
        places: N.
        context_length: places that the language model reads.
        drop: probability that `<uncond>` stands for the whole prompt of a drawing, which guidance needs.
        rows: rows of a pretrained language model for text ids (see `SequenceTokenizer`); None for one from scratch.
        pack: None for a sample a row; or the places of a row that holds several samples (first fit, none divided).

    Attributes:
        tokens: the text tokenizer.
        template: the template.
        ends: ids after which generation of a text stops.
        forbidden: ids that text never holds, to be masked while it is generated: all special ones but the ends and
            `<image_gen_start>`. The rows of a language model from `tokens.vocab_size` on have no token, either.
    """

    def __init__(self, tokenizer: Any, template: dict, places: Positive, context_length: Positive,
                 drop: Fraction = 0.1, pack: Positive | None = None, rows: Positive | None = None) -> None:
        more = {} if rows is None else dict(rows=rows)
        self.tokens = SEQUENCES.build(tokenizer, where='tokenizer', **more)
        self.template = SEQUENCES.build(template, where='template', tokens=self.tokens)
        self.ends = sorted({self.template.end, self.tokens.eos})
        self.forbidden = sorted({*self.tokens.special.values()} - {*self.ends, self.tokens.drawn[0]})
        self.places, self.context_length = places, context_length
        self.drop, self.pack = drop, pack
        shortest = places + len(self.unconditional_prompt()) + 2
        for name, length in dict(context_length=context_length, pack=pack).items():
            if length is not None and length < shortest:
                raise InputError(f'`{name}` is {length}; a drawing of {format_count(places, "place")} needs '
                                 f'{shortest} at least.', name)

    def build(self, batch: ConversationBatch, codes: Mapping[str, Tensor],
              train: bool = True) -> tuple[SequenceBatch, list[Unusable]]:
        """Return the batch of sequences, and the conversations that are not in it, with their reasons.

        Args:
            batch: conversations.
            codes: stream -> [M, N, Q], of the batch's images in order.
            train: drop conditions.
        """
        samples: list[tuple[int, Rendered]] = []
        unusable = []
        for i, conversation in enumerate(batch.conversations):
            try:
                rendered = self.render(conversation, train and self.is_dropped(batch, i))
                if not rendered.target.any():
                    raise Unusable(conversation.key, 'has nothing to predict: no answer.')
                samples.append((i, rendered))
            except InputError as e:
                unusable.append(e if isinstance(e, Unusable) else
                                Unusable(conversation.key, f'cannot be rendered: {e}'))
        rows = [[sample] for sample in samples]
        if self.pack is not None:
            lengths = [len(rendered) for _, rendered in samples]
            rows = [[samples[i] for i in row] for row in pack_rows(lengths, self.pack)]
        return self.assemble(rows, codes), unusable

    def assemble(self, rows: Sequence[Sequence[tuple[int, Rendered]]], codes: Mapping[str, Tensor],
                 side: str = 'right') -> SequenceBatch:
        """Put rows of (index of the sample, sample) into a batch; prompts that generation continues are padded on the
        'left'."""
        return assemble(rows, codes, self.tokens.pad, side)

    def is_dropped(self, batch: ConversationBatch, index: int) -> bool:
        """Return whether a drawing of the batch loses its prompt: drawn from (seed, epoch, index) of the sample."""
        if batch.conversations[index].kind != 'draw' or not self.drop:
            return False
        rng = np.random.default_rng((batch.seed, *batch.epoch_index[index], DROPPED))
        return bool(rng.random() < self.drop)

    def render(self, conversation: Conversation, drop: bool = False) -> Rendered:
        """Return a conversation as places.

        Args:
            conversation: of a batch, or one whose images are numbered from 0.
            drop: put `<uncond>` in the place of all that comes before the first generated image.

        Raises:
            Unusable: it is longer than the model reads, or the template refuses it.
        """
        if conversation.shared_prefix:
            rendered = self._share(conversation)
        else:
            rendered = self._lay_out(conversation.key, self.template.spans(conversation))
        return self._check(self._drop(rendered) if drop else rendered)

    def render_prompt(self, conversation: Conversation, draw: bool = False) -> Rendered:
        """Return a conversation that ends with a question as places up to where the answer begins.

        Args:
            conversation: as in `render`.
            draw: end with `<image_gen_start>`, so that a drawing follows.

        Raises:
            InputError: it ends with an answer.
            Unusable: as `render`.
        """
        if conversation.turns[-1].role == 'assistant':
            raise InputError(f'the conversation {conversation.key} ends with an answer; a prompt ends with a question.')
        spans = self.template.prompt(conversation)
        if draw:
            spans = [*spans, Span((self.tokens.drawn[0],))]
        return self._check(self._lay_out(conversation.key, spans))

    def prompt_for_drawing(self, text: str) -> list[int]:
        """Return the ids from the begin to `<image_gen_start>`, after which the places of a drawing of `text` come."""
        return self.render_prompt(Conversation('', 'draw', (Turn('user', (text,)),)), draw=True).ids.tolist()

    def unconditional_prompt(self) -> list[int]:
        """Return the ids that stand in the place of every prompt for a drawing, for guidance."""
        spans = [*self.template.begin(), Span((self.tokens.uncond, self.tokens.drawn[0]))]
        return [i for span in spans for i in span.ids]

    def prompt_for_question(self, question: str, kind: str = 'question') -> tuple[list[int], list[int]]:
        """Return (ids up to the places of one image, ids from behind them to where the answer begins)."""
        rendered = self.render_prompt(Conversation('', kind, (Turn('user', (ImagePart(0), question)),)))
        shown = np.flatnonzero(rendered.visual >= 0)
        return rendered.ids[:shown[0]].tolist(), rendered.ids[shown[-1] + 1:].tolist()

    def _lay_out(self, key: str, spans: Sequence[Span]) -> Rendered:
        return lay_out(key, spans, self.places, self.tokens.image)

    def _share(self, conversation: Conversation) -> Rendered:
        """Return a conversation with a shared prefix: all that comes before the end of its image, once."""
        parts = [self._lay_out(conversation.key, self.template.spans(part)) for part in conversation.questions()]
        if not parts:
            raise Unusable(conversation.key, 'has nothing to predict: no answer.')
        prefix = int(np.flatnonzero(parts[0].visual >= 0)[-1]) + 2  # the image, and the token after it
        for part in parts:
            if not np.array_equal(part.ids[:prefix], parts[0].ids[:prefix]):
                raise Unusable(conversation.key, 'shares a prefix that the template writes in several ways.')
            if part.target[prefix:prefix + 1].any():
                raise Unusable(conversation.key, 'has an answer right after the shared image; a question has to stand '
                               'between them.')
        return join_questions(parts, prefix)

    def _drop(self, rendered: Rendered) -> Rendered:
        drawn = np.flatnonzero((rendered.visual >= 0) & rendered.target)
        if not len(drawn):
            raise Unusable(rendered.key, 'has no drawing whose prompt could be dropped.')
        prompt = self._lay_out(rendered.key, [Span(tuple(self.unconditional_prompt()))])
        rest = rendered.cut(int(drawn[0]))
        joined: dict[str, Any] = {name: np.concatenate([getattr(prompt, name), getattr(rest, name)])
                                  for name in ('ids', 'visual', 'target', 'segment', 'prefix')}
        return replace(rendered, position=np.arange(len(joined['ids'])), **joined)

    def _check(self, rendered: Rendered) -> Rendered:
        if rendered.reach > self.context_length:
            raise Unusable(rendered.key, f'has {format_count(rendered.reach, "place")}; the language model reads '
                           f'{self.context_length:,}. Shorten or divide it.')
        if self.pack is not None and len(rendered) > self.pack:
            raise Unusable(rendered.key, f'has {format_count(len(rendered), "place")}; a packed row holds '
                                         f'{self.pack:,}. Raise '
                           '`pack`, or shorten or divide it.')
        return rendered
