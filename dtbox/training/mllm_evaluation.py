"""What an evaluation of a multimodal language model looks at: replies, drawings, and the likelihood of codes.

Letters: B samples, M images, P visual targets, Q codes of a place, S drawings of a prompt.
"""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.code_tables import EMPTY
from dtbox.conversations import Conversation, ConversationBatch
from dtbox.errors import at
from dtbox.mllm.contexts import Context, take_context
from dtbox.mllm.image_generation import generate_images
from dtbox.mllm.text_generation import reply
from dtbox.mllm_output import MLLMOutput, Reply
from dtbox.registry import check_arguments
from dtbox.sampling import Guidance, SamplingRule, seed_generator
from dtbox.training.mllm_images import decode, show_images
from dtbox.values import Factor, Positive, check_values

CLOSED_LOOP = 'closed_loop'
"""Kind of the caption of one's own drawing."""


@dataclass(frozen=True)
class Settings:
    """How evaluation draws and answers.

    Attributes:
        scales: scales of guidance; each gives drawings of its own.
        seeds: drawings S of each prompt and scale.
        sampling: arguments of the SamplingRule of codes.
        max_tokens: most text ids of a reply. Replies are greedy.
        closed_loop: caption one's own drawings of the first scale, too.
        question: that asks for a caption.
        batch: rows that are generated at a time.
    """
    scales: Sequence[Factor] = (1.0,)
    seeds: Positive = 1
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: Positive = 32
    closed_loop: bool = True
    question: str = 'what is it?'
    batch: Positive = 64


def read_settings(values: Mapping[str, Any] | None) -> Settings:
    """Return the Settings of a config's dict; `InputError` for what they do not have."""
    with at('evaluation'):
        check_arguments(Settings, values or {}, '`evaluation`')
        check_values(Settings, values or {})
        settings = Settings(**(values or {}))
        check_arguments(SamplingRule, settings.sampling, '`sampling`')
        SamplingRule(**settings.sampling)
    return settings


# ---- one batch ------------------------------------------------------------------------------------------------------

def predict(task: Any, batch: ConversationBatch) -> MLLMOutput:
    """Return the MLLMOutput of a batch: replies to all questions, drawings of all prompts.

    Args:
        task: MLLMTask.
        batch: a conversation of the kind 'draw' is drawn, those of other kinds are asked. One without image has NaN in
            the place of its pixels; see `show_images` for one that is known by its codes.
    """
    codes = task.codes.read(batch)
    asked = [i for i, conversation in enumerate(batch.conversations) if conversation.kind != 'draw']
    drawn = [i for i, conversation in enumerate(batch.conversations) if conversation.kind == 'draw']
    replies: list[list[Reply]] = [[] for _ in batch.conversations]
    for i, some in zip(asked, ask(task, [batch.conversations[i] for i in asked], codes)):
        replies[i] += some
    rows = [i for i, conversation in enumerate(batch.conversations) if conversation.parts]
    shown = torch.tensor([batch.conversations[i].parts[0].image for i in rows], dtype=torch.int64)
    taken = {name: value[shown].to(task.device) for name, value in codes.items()}
    reconstructions = decode(task, [batch.conversations[i] for i in rows], taken)
    images = show_images(batch, shown, reconstructions)
    more: dict[str, Any] = {}
    if drawn:
        more, loops = draw(task, [batch.conversations[i] for i in drawn], codes)
        for i, some in zip(drawn, loops):
            replies[i] += some
        more = {key: spread(value, drawn, len(batch)) for key, value in more.items()}
    return MLLMOutput(images=spread(images, rows, len(batch)),
                      reconstructions=spread(reconstructions, rows, len(batch)), replies=replies, **more)


def ask(task: Any, conversations: Sequence[Conversation], codes: Mapping[str, Tensor]) -> list[list[Reply]]:
    """Ask each question of some conversations by itself, what came before it in the context; greedy.

    Args:
        task: MLLMTask.
        conversations: of a batch.
        codes: stream -> [M,N,Q] of the batch's images.

    Returns:
        the Replies of each conversation.
    """
    asked: list[tuple[int, Context, Conversation, int]] = []
    shown = task.model.expand(codes)
    for i, conversation in enumerate(conversations):
        for part in conversation.questions() if conversation.shared_prefix else [conversation]:
            for number, turn in enumerate(part.turns):
                if turn.role == 'assistant' and turn.text and part.kind != 'text':
                    prompt = task.model.sequence.render_prompt(replace(part, turns=part.turns[:number]))
                    asked.append((i, take_context(prompt, shown), part, number))
    texts = reply(task.model, [context for _, context, _, _ in asked], task.evaluation.max_tokens,
                  task.evaluation.batch)
    replies: list[list[Reply]] = [[] for _ in conversations]
    for (i, _, part, number), text in zip(asked, texts):
        answer = part.turns[number]
        asked_for = part.turns[number - 1].text
        replies[i].append(Reply(answer.kind or part.kind, asked_for, answer.text, text, answer.others))
    return replies


def draw(task: Any, conversations: Sequence[Conversation], codes: Mapping[str, Tensor]
         ) -> tuple[dict[str, Any], list[list[Reply]]]:
    """Draw the prompts of some conversations, and caption the drawings.

    Args:
        task: MLLMTask.
        conversations: of the kind 'draw', of a batch.
        codes: stream -> [M,N,Q] of the batch's images.

    Returns:
        (`prompts`, `drawings`, `nats`, `nats_without` of MLLMOutput; the Replies of the closed loop of each).
    """
    settings, model = task.evaluation, task.model
    shown = model.expand(codes)
    prompts = [conversation.turns[-2].text for conversation in conversations]
    contexts = [take_context(model.sequence.render_prompt(replace(c, turns=c.turns[:-1]), draw=True), shown)
                for c in conversations]
    drawings, loops = {}, [[] for _ in conversations]
    for scale in settings.scales:
        sheets = []
        for seed in range(settings.seeds):
            made = draw_contexts(task, contexts, prompts, scale, seed)
            sheets.append(task.tokenizer.decode(made, prompts))
            if settings.closed_loop and scale == settings.scales[0]:
                for i, text in enumerate(caption(task, made)):
                    loops[i].append(Reply(CLOSED_LOOP, '', prompts[i], text))
        drawings[f's={scale:g}'] = torch.stack(sheets, 1)
    return dict(prompts=prompts, drawings=drawings, nats=measure_nats(task, conversations, shown, False),
                nats_without=measure_nats(task, conversations, shown, True)), loops


def draw_contexts(task: Any, contexts: Sequence[Context], prompts: Sequence[str], scale: float,
                  seed: int) -> dict[str, Tensor]:
    """Return stream -> codes [B,N,Q] of drawings; the random numbers of a drawing depend on its prompt and the seed."""
    rule, guidance = SamplingRule(**task.evaluation.sampling), Guidance(scale)
    parts = []
    for first in range(0, len(contexts), task.evaluation.batch):
        rows = slice(first, first + task.evaluation.batch)
        generators = [seed_generator(seed, prompt) for prompt in prompts[rows]]
        parts.append(generate_images(task.model, contexts[rows], rule, guidance, generators))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def caption(task: Any, codes: Mapping[str, Tensor]) -> list[str]:
    """Return the caption that the model gives to images of codes [B,N,Q], the closed loop."""
    before, after = task.model.sequence.prompt_for_question(task.evaluation.question, 'caption')
    shown = task.model.expand(codes)
    mark = task.model.sequence.tokens.image
    contexts = [Context.of_text(before).add_image({name: value[i] for name, value in shown.items()}, mark
                                                  ).add_text(after) for i in range(len(next(iter(shown.values()))))]
    return reply(task.model, contexts, task.evaluation.max_tokens, task.evaluation.batch)


def measure_nats(task: Any, conversations: Sequence[Conversation], codes: Mapping[str, Tensor],
                 drop: bool) -> dict[str, Tensor]:
    """Return stream -> [B,Q]: the mean over places of -log p of the true codes of drawings; `drop` takes the prompts
    away."""
    model, parts = task.model, []
    for first in range(0, len(conversations), task.evaluation.batch):
        rows = [[(i, model.sequence.render(c, drop))]
                for i, c in enumerate(conversations[first:first + task.evaluation.batch])]
        batch = model.sequence.assemble(rows, codes).to(task.device)
        hidden, targets = model.select_visual_targets(model.run(batch), batch)
        parts.append({name: average_nats(depths, targets[name], len(rows))
                      for name, depths in model.visual_head.logits(hidden, targets).items()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def average_nats(logits: Sequence[Tensor], codes: Tensor, samples: int) -> Tensor:
    """Return [B,Q]: the mean of -log p of the codes of each sample at each depth.

    Args:
        logits: [P,K] of each depth.
        codes: [P,Q], `EMPTY` where a step holds none; as many steps of each sample, one sample after the other.
        samples: B.
    """
    nats = torch.stack([F.cross_entropy(one, codes[:, depth], reduction='none', ignore_index=EMPTY)
                        for depth, one in enumerate(logits)], -1)
    there = (codes >= 0).reshape(samples, -1, codes.shape[1]).sum(1)
    return (nats.reshape(samples, -1, codes.shape[1]).sum(1) / there).cpu()


def spread(value: Any, rows: Sequence[int], size: int) -> Any:
    """Return what some rows of a batch have, for all `size` rows: NaN, or '' in a list, where a row has nothing."""
    if isinstance(value, dict):
        return {key: spread(one, rows, size) for key, one in value.items()}
    if isinstance(value, Tensor):
        whole = value.new_full((size, *value.shape[1:]), float('nan'))
        whole[torch.tensor(rows)] = value
        return whole
    listed = [''] * size
    for row, one in zip(rows, value):
        listed[row] = one
    return listed
