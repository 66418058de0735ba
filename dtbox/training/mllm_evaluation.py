"""What an evaluation of a multimodal language model looks at: replies, drawings, and the likelihood of codes.

Letters: B samples, M images, P visual targets, Q codes of a place, S drawings of a prompt.
"""
from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Mapping, Sequence

import torch
import torch.nn.functional as F
from mmengine.utils import is_seq_of
from torch import Tensor, nn

from dtbox.conversations import Conversation, ConversationBatch
from dtbox.errors import InputError, at
from dtbox.mllm.contexts import Context
from dtbox.mllm.image_generation import generate_images
from dtbox.mllm.text_generation import generate_texts
from dtbox.mllm_output import MLLMOutput, Reply
from dtbox.registry import ENCODERS, TEXTS
from dtbox.sampling import Guidance, SamplingRule
from dtbox.values import check_values


@dataclass(frozen=True)
class Settings:
    """How evaluation draws and answers.

    Attributes:
        scales: scales of guidance; each gives drawings of its own.
        seeds: drawings S of each prompt and scale.
        sampling: arguments of the SamplingRule of codes.
        max_tokens: most text ids of a reply. Replies are greedy.
        closed_loop: caption one's own drawings, too.
        batch: rows that are generated at a time.
    """
    scales: Sequence[float] = (1.0,)
    seeds: int = 1
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int = 32
    closed_loop: bool = True
    batch: int = 64


def read_settings(values: Mapping[str, Any] | None) -> Settings:
    """Return the Settings of a config's dict; `InputError` for what they do not have."""
    with at('evaluation'):
        check_values(Settings, values or {})
        settings = Settings(**(values or {}))
        SamplingRule(**settings.sampling)
    return settings


class Judge(nn.Module):
    """Frozen towers whose embeddings judge drawings.

    Args:
        encoder: config of the encoder, with its own pool and weights.
        text: config of the text tower.
        image_size: of the drawings.
    """

    def __init__(self, encoder: Mapping, text: Mapping, image_size: Sequence[int]) -> None:
        super().__init__()
        self.encoder = ENCODERS.build(encoder, where='encoder', image_size=image_size)
        self.text = TEXTS.build(text, where='text')
        self.requires_grad_(False).eval()

    def init_weights(self) -> None:
        """Load the weights of both towers."""
        for name in ('encoder', 'text'):
            with at(name):
                getattr(self, name).init_weights()

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1,1] -> pooled [B,E], not normalised."""
        tokens, _ = self.encoder.run(self.encoder.embed(images), 0, self.encoder.depth, set())
        return self.encoder.pool(tokens)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts -> embeddings [T,E], normalised."""
        device = next(self.text.parameters()).device
        return F.normalize(self.text(self.text.ids(list(texts)).to(device)), dim=-1)


def build_judge(cfg: Mapping | None, image_size: Sequence[int]) -> Judge | None:
    """Build the judge of dict(encoder=..., text=...); None for None."""
    if cfg is None:
        return None
    with at('judge'):
        if set(cfg) != {'encoder', 'text'}:
            raise InputError(f'got the keys {", ".join(sorted(cfg)) or "none"}; expected dict(encoder=..., text=...).')
        return Judge(**cfg, image_size=image_size)


# ---- one batch ------------------------------------------------------------------------------------------------------

def predict(task: Any, batch: ConversationBatch) -> MLLMOutput:
    """Return the MLLMOutput of a batch: replies to all questions, drawings of all prompts.

    Args:
        task: MLLMTask.
        batch: a conversation of the kind 'draw' is drawn, those of other kinds are asked.
    """
    codes = task.codes(batch.images)
    asked = [i for i, conversation in enumerate(batch.conversations) if conversation.kind != 'draw']
    drawn = [i for i, conversation in enumerate(batch.conversations) if conversation.kind == 'draw']
    replies: list[list[Reply]] = [[] for _ in batch.conversations]
    for i, some in zip(asked, ask(task, [batch.conversations[i] for i in asked], codes)):
        replies[i] += some
    shown = torch.tensor([conversation.parts[0].image for conversation in batch.conversations])
    images = batch.images[shown].to(task.device).float() / 127.5 - 1
    taken = {name: value[shown] for name, value in codes.items()}
    more: dict[str, Any] = {}
    if drawn:
        more, loops = draw(task, [batch.conversations[i] for i in drawn], codes)
        for i, some in zip(drawn, loops):
            replies[i] += some
        more = {key: spread(value, drawn, len(batch)) for key, value in more.items()}
    reads = task.tokenizer.model.reads
    reconstructions = task.tokenizer.decode({n: c.to(task.device) for n, c in taken.items() if n in reads or not reads})
    return MLLMOutput(images=images, reconstructions=reconstructions, replies=replies, **more)
