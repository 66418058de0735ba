"""Losses for image-text pairs: sigmoid (SigLIP, arXiv 2303.15343, equation 1) and softmax (CLIP, arXiv 2103.00020,
figure 3).

Pairs are formed over the batches of all ranks: each compares its own images (texts) with everybody's texts (images),
and gradients reach those of the others, so that n ranks equal one with the global batch (open_clip's `local_loss` with
`gather_with_grad`). Equal texts are pairs of each other's images, unless `duplicates=False`.

Legend: B samples of this rank, G of all ranks.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.losses.base import Loss
from dtbox.losses.gather_embeddings import gather_embeddings
from dtbox.registry import LOSSES
from dtbox.structures import Batch, TokenizerOutput


def same_text(own: Sequence[str], all_texts: Sequence[str], device: torch.device) -> Tensor:
    """Return [B,G] bool: which of all texts equal which of the texts of this rank."""
    index = {t: i for i, t in enumerate(dict.fromkeys(all_texts))}
    rows, columns = (torch.tensor([index[t] for t in texts], dtype=torch.int64, device=device)
                     for texts in (own, all_texts))
    return rows[:, None] == columns[None]


def compared(loss: Loss, outputs: TokenizerOutput, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cosines of the images of this rank with all texts and of its texts with all images, both [B,G], and
    which are pairs [B,G] bool."""
    name = type(loss).__name__
    if batch.texts is None:
        raise InputError(f'{name} needs a text for each image, and this batch has none. '
                         'Use data with texts (captions or class folders), or take the term out.')
    image, text = loss.read_pair(outputs, 'pooled', 'text_pooled')
    if len(batch.texts) != len(image):
        raise InputError(f'{name} got {format_count(len(batch.texts), "text")} for '
                         f'{format_count(len(image), "image")}; expected one each.')
    own = 0 if batch.placeholder else len(image)
    image = F.normalize(image, dim=-1)[:own]
    text = F.normalize(text, dim=-1)[:own]
    texts = batch.texts[:own]
    images, all_texts, words, first = gather_embeddings(image, text, texts)
    if loss.duplicates:
        pairs = same_text(texts, words, image.device)
    else:
        pairs = torch.arange(own, device=image.device)[:, None] + first == torch.arange(len(words),
                                                                                        device=image.device)[None]
    return image @ all_texts.T, text @ images.T, pairs


@LOSSES.register_module()
class SigmoidContrastiveLoss(Loss):
    """-1/B sum_ij log sigmoid(y_ij * (exp(scale) * cos_ij + bias)), y = 1 for pairs and -1 for the rest (term
    `contrastive`).

    Args:
        duplicates: a text that is equal to an image's own text is its pair too, instead of a negative.
    """
    requires = ('pooled', 'text_pooled', 'logit_scale', 'logit_bias')
    names = ('contrastive',)

    def __init__(self, duplicates: bool = True):
        super().__init__()
        self.duplicates = duplicates

    def terms(self, outputs: TokenizerOutput, batch: Batch) -> dict[str, Tensor]:
        """See Loss."""
        cosines, _, pairs = compared(self, outputs, batch)
        scale, bias = (self.read(outputs, k).reshape(()) for k in ('logit_scale', 'logit_bias'))
        logits = scale.exp() * cosines + bias
        return {'contrastive': -F.logsigmoid(torch.where(pairs, logits, -logits)).sum() / max(1, len(logits))}


@LOSSES.register_module()
class SoftmaxContrastiveLoss(Loss):
    """Mean of both directions' cross-entropy of exp(scale) * cos (CLIP, arXiv 2103.00020; InfoNCE; term `contrastive`).
    The bias is not used.

    An image with several pairs, equal texts, has them as equally likely targets (UniCL, arXiv 2204.03610).

    Args:
        duplicates: a text that is equal to an image's own text is its pair too, instead of a negative.
        max_scale: exp(scale) is held at this value where it would exceed it.
    """
    requires = ('pooled', 'text_pooled', 'logit_scale')
    names = ('contrastive',)

    def __init__(self, duplicates: bool = True, max_scale: float = 100.0):
        super().__init__()
        if not max_scale > 0:
            raise InputError(f'`max_scale` is {max_scale!r}; expected a positive number.')
        self.duplicates, self.limit = duplicates, math.log(max_scale)

    def terms(self, outputs: TokenizerOutput, batch: Batch) -> dict[str, Tensor]:
        """See Loss."""
        *cosines, pairs = compared(self, outputs, batch)
        scale = self.read(outputs, 'logit_scale').reshape(()).clamp(max=self.limit).exp()
        # being a pair is mutual: the same for images and for texts
        targets = pairs.to(scale.dtype) / pairs.sum(1, keepdim=True)
        return {
            'contrastive': sum(F.cross_entropy(scale * c, targets, reduction='sum') for c in cosines)
            / 2
            / max(1, len(targets))
        }
