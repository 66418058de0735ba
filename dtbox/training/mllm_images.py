"""The images that an evaluation of a multimodal language model shows: real ones, and what their codes decode to.

Letters: B samples, M images.
"""
from __future__ import annotations

from typing import Any, Mapping, Sequence

import torch
from torch import Tensor

from dtbox.conversations import Conversation, ConversationBatch


def decode(task: Any, conversations: Sequence[Conversation], codes: Mapping[str, Tensor]) -> Tensor:
    """Return the images of codes [B,3,H,W] in [-1,1]; NaN for those that a decoder guided by texts cannot make, since
    their conversation does not say what they show.

    Args:
        task: MLLMTask.
        conversations: B, whose first images these are.
        codes: stream -> [B,N,Q].
    """
    texts = [describe_image(conversation) for conversation in conversations]
    if not task.tokenizer.needs_texts:
        return task.tokenizer.decode(codes, texts)
    known = [i for i, text in enumerate(texts) if text.strip()]
    images = torch.full((len(texts), 3, *task.tokenizer.model.image_size), float('nan'), device=task.device)
    if known:
        images[known] = task.tokenizer.decode({name: value[known] for name, value in codes.items()},
                                              [texts[i] for i in known]).to(images)
    return images


def describe_image(conversation: Conversation) -> str:
    """Return what the first image of a conversation shows: the prompt of a drawing, the first caption of a given image;
    '' where nothing says it."""
    if conversation.kind == 'draw':
        return conversation.turns[-2].text
    return next((turn.text for turn in conversation.turns
                 if turn.role == 'assistant' and (turn.kind or conversation.kind) == 'caption'), '')


def show_images(batch: ConversationBatch, shown: Tensor, reconstructions: Tensor) -> Tensor:
    """Return the images that metrics compare with, [B,3,H,W] in [-1,1]: the reconstruction of one that is known by its
    codes alone.

    Args:
        batch: M images.
        shown: int64 [B], numbers of the images.
        reconstructions: [B,3,H,W] of them.
    """
    if batch.codes is None:
        return batch.images[shown].to(reconstructions.device).float() / 127.5 - 1
    images, known = reconstructions.clone(), batch.codes.known[shown]
    if not bool(known.all()):
        images[~known] = batch.images[shown[~known]].to(images.device).float() / 127.5 - 1
    return images
