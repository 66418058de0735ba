"""Losses for image-text pairs: sigmoid (SigLIP, arXiv 2303.15343, equation 1) and softmax (CLIP, arXiv 2103.00020, figure 3).

Pairs are formed within the batch of each process. Equal texts within a batch are pairs of each other's images, unless `duplicates=False`.
"""
import math

import torch
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.losses.base import Loss
from dtbox.registry import LOSSES


def same_text(texts, device):
    """Return [B,B] bool: where two of the texts are equal."""
    index = {t: i for i, t in enumerate(dict.fromkeys(texts))}
    ids = torch.tensor([index[t] for t in texts], device=device)
    return ids[:, None] == ids[None]


def similarities(loss, outputs, batch):
    """Return the cosines of images and texts [B,B] and which of them are pairs [B,B] bool, for a loss with `duplicates`."""
    name = type(loss).__name__
    if batch.texts is None:
        raise InputError(f'{name} needs a text for each image, and this batch has none. '
                         'Use data with texts (captions or class folders), or take the term out.')
    image, text = loss.read_pair(outputs, 'pooled', 'text_pooled')
    if len(batch.texts) != len(image):
        raise InputError(f'{name} got {len(batch.texts)} texts for {len(image)} images; expected one each.')
    pairs = same_text(batch.texts, image.device) if loss.duplicates else torch.eye(len(image), dtype=torch.bool, device=image.device)
    return F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T, pairs


@LOSSES.register_module()
class SigmoidContrastiveLoss(Loss):
    """-1/B sum_ij log sigmoid(y_ij * (exp(scale) * cos_ij + bias)), y = 1 for pairs and -1 for the rest (term `contrastive`).

    Args:
        duplicates: a text that is equal to an image's own text is its pair too, instead of a negative.
    """
    requires = ('pooled', 'text_pooled', 'logit_scale', 'logit_bias')
    names = ('contrastive',)

    def __init__(self, duplicates=True):
        super().__init__()
        self.duplicates = duplicates

    def terms(self, outputs, batch):
        """See Loss."""
        cosines, pairs = similarities(self, outputs, batch)
        scale, bias = (self.read(outputs, k).reshape(()) for k in ('logit_scale', 'logit_bias'))
        logits = scale.exp() * cosines + bias
        return {'contrastive': -F.logsigmoid(torch.where(pairs, logits, -logits)).sum() / len(logits)}


@LOSSES.register_module()
class SoftmaxContrastiveLoss(Loss):
    """Mean of both directions' cross-entropy of exp(scale) * cos (CLIP, arXiv 2103.00020; InfoNCE; term `contrastive`). The bias is not used.

    An image with several pairs, equal texts, has them as equally likely targets (UniCL, arXiv 2204.03610).

    Args:
        duplicates: a text that is equal to an image's own text is its pair too, instead of a negative.
        max_scale: exp(scale) is held at this value where it would exceed it.
    """
    requires = ('pooled', 'text_pooled', 'logit_scale')
    names = ('contrastive',)

    def __init__(self, duplicates=True, max_scale=100.0):
        super().__init__()
        if not max_scale > 0:
            raise InputError(f'`max_scale` is {max_scale!r}; expected a positive number.')
        self.duplicates, self.limit = duplicates, math.log(max_scale)

    def terms(self, outputs, batch):
        """See Loss."""
        cosines, pairs = similarities(self, outputs, batch)
        logits = self.read(outputs, 'logit_scale').reshape(()).clamp(max=self.limit).exp() * cosines
        targets = pairs.to(logits.dtype) / pairs.sum(1, keepdim=True)  # symmetric, so that its columns are the targets of the texts
        return {'contrastive': (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2}
