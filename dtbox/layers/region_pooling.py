"""Tokens of single regions of a picture."""
import torch
import torch.nn.functional as F


def tokens_inside(masks, grid):
    """Say which tokens belong to which region: those of whose patch at least half does; where none, the one that the region covers most.

    Args:
        masks: bool [M, H, W], none empty.
        grid: (rows, columns) of the tokens.

    Returns:
        bool [M, N].
    """
    share = F.adaptive_avg_pool2d(masks.to(torch.float32)[:, None], grid).flatten(1)
    inside = share >= 0.5
    best = F.one_hot(share.argmax(1), share.shape[1]).bool()
    return torch.where(inside.any(1, keepdim=True), inside, best)


def pool_regions(tokens, masks, grid, pool):
    """Pool the tokens of each region as those of a whole picture are pooled.

    Args:
        tokens: [B, N, D].
        masks: B tensors bool [M, H, W]; M may be 0 and differ.
        grid: (rows, columns) of the tokens.
        pool: callable [1, n, D] -> [1, E].

    Returns:
        list of B tensors [M, E].
    """
    found = []
    for rows, mask in zip(tokens, masks):
        pooled = [pool(rows[None, inside])[0] for inside in tokens_inside(mask.to(rows.device), grid)] if len(mask) else []
        found.append(torch.stack(pooled) if pooled else rows.new_zeros(0, 0))
    return found
