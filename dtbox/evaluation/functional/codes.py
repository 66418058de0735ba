"""What a histogram of codes says about a codebook.

Shapes: K codebook size.
"""
import torch

from dtbox.errors import InputError


def code_usage(histogram):
    """Use of a codebook.

    Args:
        histogram: [K], how often each code was seen.

    Returns:
        dict of floats: `usage`, the share of codes seen at least once; `perplexity`, exp of the entropy (in nats) of the
        histogram, 1 to K: how many codes it would be if all were used alike; `dead`, the number of codes never seen.

    Raises:
        InputError: when nothing was counted.
    """
    histogram = torch.as_tensor(histogram).double()
    total = histogram.sum()
    if histogram.ndim != 1 or not total > 0:
        raise InputError(f'expected a histogram [K] with at least one code in it, got shape {list(histogram.shape)}, sum {total:g}.')
    seen = (histogram > 0).sum().item()
    entropy = torch.special.entr(histogram / total).sum()
    return dict(usage=seen / len(histogram), perplexity=entropy.exp().item(), dead=float(len(histogram) - seen))
