"""Many requests at once, as harnesses of benchmarks make them: each has its own images, texts and settings, and replies
come in the order of the requests.

Letters: R requests, M images.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from dtbox.apis.mllm_arguments import make_reply_settings, read_text
from dtbox.apis.mllm_messages import KEY, read_messages
from dtbox.conversations import Conversation, Turn
from dtbox.errors import InputError, at
from dtbox.mllm.contexts import Context, take_context
from dtbox.mllm.text_generation import measure_answers, reply
from dtbox.sampling import seed_generator


@dataclass(frozen=True)
class Request:
    """A question of its own.

    Attributes:
        messages: see `dtbox.apis.mllm_messages.read_messages`.
        max_tokens: most text ids of the reply, fewer where the context ends before; None for the model's.
        temperature, top_k, top_p, seed: how it is drawn, as in `MultimodalModel.ask`.
        until: texts at the first of which the reply ends; they are not part of it.
    """
    messages: list[dict[str, Any]]
    max_tokens: int | None = None
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    until: tuple[str, ...] = field(default=())


@torch.no_grad()
def answer_requests(model: Any, requests: Sequence[Request], batch: int | None = None) -> list[str]:
    """Return the reply to each request; no request sees another one.

    Args:
        model: MultimodalModel.
        requests: R requests.
        batch: how many are computed at a time; None takes the model's.

    Raises:
        InputError: which request is wrong, and how.
    """
    size = batch or model.generation.batch
    contexts, questions = [], []
    for i, request in enumerate(requests):
        with at(f'requests.{i}'):
            conversation, context = start_reply(model, request.messages)
        contexts.append(context)
        questions.append(conversation.turns[-1].text)
    replies = [''] * len(requests)
    groups: dict[tuple, list[int]] = {}
    for i, request in enumerate(requests):
        most = model.generation.max_tokens if request.max_tokens is None else request.max_tokens
        groups.setdefault((most, request.temperature, request.top_k, request.top_p), []).append(i)
    for (most, temperature, top_k, top_p), group in groups.items():
        with at(f'requests.{group[0]}'):
            settings = make_reply_settings(most, temperature, top_k, top_p)
        generators = [] if settings.greedy else [seed_generator(requests[i].seed, 0, questions[i]) for i in group]
        texts = reply(model.model, [contexts[i] for i in group], most, size, settings.rule, generators)
        for i, text in zip(group, texts):
            replies[i] = cut(text, requests[i].until)
    return replies


@torch.no_grad()
def score_requests(model: Any, requests: Sequence[tuple[list[dict[str, Any]], str]],
                  batch: int | None = None) -> list[tuple[float, bool]]:
    """Return of the answer of each request its log-probability in nats, the token that ends it included, and whether
    greedy decoding gives it.

    Args:
        model: MultimodalModel.
        requests: R pairs (messages, answer).
        batch: how many are computed at a time; None takes the model's.

    Raises:
        InputError: which request is wrong, and how.
    """
    size = batch or model.generation.batch
    rows: list[tuple[Context, list[int]]] = []
    for i, (messages, answer) in enumerate(requests):
        with at(f'requests.{i}'):
            conversation, context = start_reply(model, messages)
            rows.append((context, find_answer(model, conversation, context, read_text(answer, 'an answer'))))
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))
    scores = [(0.0, False)] * len(rows)
    for first in range(0, len(order), size):
        part = order[first:first + size]
        found = measure_answers(model.model, [rows[i][0] for i in part], [rows[i][1] for i in part])
        for i, score in zip(part, found):
            scores[i] = score
    return scores


def start_reply(model: Any, messages: Any) -> tuple[Conversation, Context]:
    """Return messages as a conversation, and the context of a reply to them.

    The images of a request are encoded by themselves, so that its codes do not depend on other requests.
    """
    conversation, images = read_messages(messages, model.tokenizer.prepare)
    codes = {} if images is None else model.model.expand(model.model.tokenizer.encode(images))
    return conversation, take_context(model.model.sequence.render_prompt(conversation), codes)


def find_answer(model: Any, conversation: Conversation, context: Context, answer: str) -> list[int]:
    """Return the ids of an answer to a conversation, the one that ends it included; `InputError` for a chat template
    that writes the question in another way once it is answered."""
    turns = (*conversation.turns, Turn('assistant', (answer,)))
    whole = model.model.sequence.render(Conversation(KEY, 'chat', turns))
    if not np.array_equal(whole.ids[:len(context)], context.ids):
        raise InputError('the chat template writes these messages in another way once they are answered, so that the '
                         'answer has no likelihood. Use a template whose prompt is the beginning of the conversation.')
    return whole.ids[len(context):][whole.target[len(context):]].tolist()


def cut(text: str, until: Sequence[str]) -> str:
    """Return a text up to the first of some ends, without blanks around it."""
    places = [text.index(end) for end in until if end and end in text]
    return text[:min(places)].strip() if places else text
