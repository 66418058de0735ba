"""The sigmoid loss for image-text pairs (SigLIP, arXiv 2303.15343, equation 1)."""
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


@LOSSES.register_module()
class SigmoidContrastiveLoss(Loss):
    """-1/B sum_ij log sigmoid(y_ij * (exp(scale) * cos_ij + bias)), y = 1 for pairs and -1 for the rest (term `contrastive`).

    Pairs are formed within the batch of each process.

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
        if batch.texts is None:
            raise InputError('SigmoidContrastiveLoss needs a text for each image, and this batch has none. '
                             'Use data with texts (captions or class folders), or take the term out.')
        image, text = self.read_pair(outputs, 'pooled', 'text_pooled')
        if len(batch.texts) != len(image):
            raise InputError(f'SigmoidContrastiveLoss got {len(batch.texts)} texts for {len(image)} images; expected one each.')
        scale, bias = (self.read(outputs, k).reshape(()) for k in ('logit_scale', 'logit_bias'))
        logits = scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T + bias
        pairs = same_text(batch.texts, image.device) if self.duplicates else torch.eye(len(image), dtype=torch.bool, device=image.device)
        return {'contrastive': -F.logsigmoid(torch.where(pairs, logits, -logits)).sum() / len(image)}
