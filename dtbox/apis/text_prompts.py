"""What training on images does to a pretrained language model: its answers to fixed prompts of text alone, before and
after; and fixed prompts of drawings that no training image shows."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dtbox.apis.loading import open_config
from dtbox.apis.mllm_opening import build_mllm, open_mllm_run, place_model
from dtbox.apis.opening import MLLM, check_use, find_use
from dtbox.arguments import allow_none, read_arguments, read_count, read_path, read_strings
from dtbox.conversations import Conversation, Turn
from dtbox.errors import InputError, at
from dtbox.mllm.contexts import take_context
from dtbox.mllm.text_generation import reply

TEXT_PROMPTS = (
    'What is the capital of France?', 'What is the largest planet of the solar system?', 'Who wrote Romeo and Juliet?',
    'How many days does a week have?', 'What is two plus three?', 'What colour is the sky on a clear day?',
    'Name three fruits.', 'Name a mammal that can fly.', 'What is water made of?', 'What is the opposite of hot?',
    'Translate "good morning" into French.', 'Write the plural of "child".',
    'Correct this sentence: she go to school.',
    'Summarise in one sentence: The cat sat on the mat all day and did not move.',
    'Write one sentence about a red car.', 'Is a whale a fish?', 'Which month comes after March?',
    'Give a synonym of "happy".', 'Explain in one sentence why leaves are green.',
    'Write a short greeting to a friend.')
"""Twenty prompts without an image."""
UNSEEN_PROMPTS = (
    'red car', 'blue car', 'green car', 'purple apple', 'blue apple', 'yellow heart with a face', 'green dog',
    'blue cat', 'pink elephant', 'black sun', 'blue banana', 'red frog', 'yellow house', 'orange whale', 'purple tree',
    'green moon', 'two red hearts', 'a dog and a cat', 'car on fire', 'sleeping robot')
"""Twenty prompts of drawings: things of the emoji in colours and company that none of them has."""


@torch.no_grad()
@read_arguments(prompts=read_strings, max_tokens=read_count(1))
def answer_texts(model: Any, prompts: Sequence[str] = TEXT_PROMPTS, max_tokens: int = 40) -> list[str]:
    """Return the answer to each prompt, the most likely words; no drawing begins.

    Args:
        model: MultimodalLM in evaluation mode.
        prompts: what the user says, each in a conversation of its own.
        max_tokens: most ids of an answer.
    """
    asked = [Conversation(prompt[:40], 'chat', (Turn('user', (prompt,)),)) for prompt in prompts]
    contexts = [take_context(model.sequence.render_prompt(one), {}) for one in asked]
    return reply(model, contexts, max_tokens)


@read_arguments(run=read_path, checkpoint=allow_none(read_path))
def compare_answers(run: str, checkpoint: str | None = None, prompts: Sequence[str] = TEXT_PROMPTS,
                    max_tokens: int = 40) -> list[tuple[str, str, str]]:
    """Return (prompt, answer before training, answer after it) of each prompt.

    Args:
        run, checkpoint: as in `dtbox.load`.
        prompts, max_tokens: as in `answer_texts`.

    Raises:
        InputError: what `dtbox.load` says; a run of another kind, or of a language model without pretrained weights.
    """
    cfg, path = open_config(run, checkpoint)
    check_use(find_use(cfg), MLLM, run)
    if not cfg.model.lm.get('pretrained'):
        raise InputError(f'the language model of {run} was trained from nothing: there are no answers before it. Take '
                         'the run of a recipe with `lm.pretrained`.', 'model.lm.pretrained')
    with at('model'):
        model = build_mllm(cfg.model)
        model.init_weights()
    before = answer_texts(place_model(model, 'cpu', torch.float32), prompts, max_tokens)
    after = answer_texts(open_mllm_run(cfg, path), prompts, max_tokens)
    return list(zip(prompts, before, after))


def format_answers(rows: Sequence[tuple[str, str, str]]) -> str:
    """Return a table in Markdown of (prompt, answer before, answer after)."""
    same = sum(before == after for _, before, after in rows)
    lines = ['| prompt | before | after |', '|---|---|---|']
    lines += [f'| {" | ".join(_escape(cell) for cell in row)} |' for row in rows]
    return '\n'.join([*lines, '', f'{same} of {len(rows)} answers are the same, word for word.'])


def _escape(text: str) -> str:
    return ' '.join(text.split()).replace('|', '\\|') or '(nothing)'
