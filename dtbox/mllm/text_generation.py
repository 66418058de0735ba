"""Replies: text ids after contexts, one row each, and how likely given answers are.

Which ids may come is a matter of grammar, not of the model: marks of given images, of the ends of images, of padding
and of the dropped condition never do, and `<image_gen_start>` only where the model may draw and a whole image still
fits.

Legend: B rows, V text ids.
"""
from __future__ import annotations

from typing import Any, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.mllm.contexts import Context, join_contexts
from dtbox.mllm.decoding import Decoding
from dtbox.sampling import SamplingRule, draw, draw_uniforms
from dtbox.sampling.rule import TEXT
from dtbox.sequence_batch import allowed_mask

GREEDY = SamplingRule(temperature=0)
END_PLACES = 2
"""Places after an image that must fit, too: `<image_gen_end>` and the end of the turn."""


def forbid(model: Any, may_draw: bool, left: int) -> Tensor:
    """Return which text ids may not come, bool [V].

    Args:
        model: MultimodalLM.
        may_draw: whether `<image_gen_start>` is allowed at all.
        left: places that are left in the sequence.
    """
    tokens = model.sequence.tokens
    closed = list(model.sequence.forbidden)
    if not may_draw or model.visual_head is None or left < model.places + END_PLACES + 1:
        closed.append(tokens.drawn[0])
    mask = torch.zeros(model.lm.vocab_size, dtype=torch.bool, device=model.device)
    mask[closed] = True
    mask[tokens.vocab_size:] = True  # rows of a language model that no token has
    return mask


@torch.no_grad()
def generate_texts(model: Any, contexts: Sequence[Context], max_tokens: int, rule: SamplingRule = GREEDY,
                   generators: Sequence[torch.Generator] = (), may_draw: bool = False) -> list[list[int]]:
    """Continue each context with text until it ends its turn, begins an image, or has `max_tokens` ids.

    Args:
        model: MultimodalLM in evaluation mode.
        contexts: B rows.
        max_tokens: most ids of a row; fewer where the language model's context ends before.
        rule: how ids are drawn; see `SamplingRule`, whose name for text is `text`.
        generators: one for each row; () for a greedy rule.
        may_draw: whether `<image_gen_start>` may come; it then is the last id of its row.

    Returns:
        B lists of ids, the one that ends the turn left out.
    """
    room = model.lm.context_length - max(map(len, contexts))
    decoding = Decoding(model, contexts, max(1, min(max_tokens, room)))
    tokens, choice = model.sequence.tokens, rule.resolve(TEXT)
    ends = torch.tensor(sorted(model.sequence.ends), device=model.device)
    done: list[list[int]] = [[] for _ in contexts]
    running = torch.ones(len(contexts), dtype=torch.bool, device=model.device)
    for i in range(max(1, min(max_tokens, room))):
        logits = model.lm.text_logits(decoding.state).float()
        logits = logits.masked_fill(forbid(model, may_draw, room - i), float('-inf'))
        uniforms = draw_uniforms(generators, 1, logits.device)[:, 0] if generators else logits.new_zeros(len(logits))
        ids = draw(logits, choice, uniforms.double())
        running &= ~torch.isin(ids, ends)
        for row in running.nonzero().flatten().tolist():
            done[row].append(int(ids[row]))
        running &= ids != tokens.drawn[0]
        if not running.any() or i + 1 == min(max_tokens, room):
            break
        decoding.step(model.lm.embed(ids[:, None])[:, 0])
    return done


def reply(model: Any, contexts: Sequence[Context], max_tokens: int, batch: int = 64, rule: SamplingRule = GREEDY,
          generators: Sequence[torch.Generator] = ()) -> list[str]:
    """Return the text that follows each context; those of like lengths are computed together, `batch` at a time.

    Args:
        model, contexts, max_tokens, rule, generators: as in `generate_texts`.
        batch: rows at a time.
    """
    texts, order = [''] * len(contexts), sorted(range(len(contexts)), key=lambda i: len(contexts[i]))
    for first in range(0, len(order), batch):
        part = order[first:first + batch]
        rows = generate_texts(model, [contexts[i] for i in part], max_tokens, rule,
                              [generators[i] for i in part] if generators else ())
        for i, ids in zip(part, rows):
            texts[i] = model.sequence.tokens.decode(ids).strip()
    return texts


def measure_loglikelihood(model: Any, contexts: Sequence[Context], answers: Sequence[Sequence[int]]) -> list[float]:
    """Return the log-probability in nats of each answer after its context; arguments as in `measure_answers`."""
    return [score for score, _ in measure_answers(model, contexts, answers)]


@torch.no_grad()
def measure_answers(model: Any, contexts: Sequence[Context], answers: Sequence[Sequence[int]]
                    ) -> list[tuple[float, bool]]:
    """Return of each answer after its context the log-probability in nats, and whether every id of it is the most
    likely one.

    Args:
        model: MultimodalLM in evaluation mode.
        contexts: B rows.
        answers: the ids of B answers.
    """
    rows = [context.add_text(answer) for context, answer in zip(contexts, answers)]
    batch = join_contexts(model, rows)
    mask = allowed_mask(batch) if batch.need_mask else None
    states = model.lm(model.embed(batch), batch.position, mask)
    scores = []
    for row, answer in enumerate(answers):
        logits = model.lm.text_logits(states[row, -len(answer) - 1:-1]).float()
        ids = torch.tensor(list(answer), device=logits.device)
        scores.append((-float(F.cross_entropy(logits, ids, reduction='sum')), bool((logits.argmax(-1) == ids).all())))
    return scores
