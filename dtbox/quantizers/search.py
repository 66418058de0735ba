"""Exact nearest-code search, in blocks, so that no more than a block of the distance matrix ever exists.

argmin_k |z - E_k|^2 = argmax_k (z . E_k - |E_k|^2 / 2): the half-norms are folded into one matrix product. Ties go to the
first index, as argmin does.
"""
import torch

BLOCK = 1 << 20
"""Entries of one block of scores (4 MB in float32)."""


@torch.no_grad()
def nearest_codes(z, codebook, block=BLOCK):
    """Find the nearest row of a codebook for each vector.

    Args:
        z: [M, C] vectors; searched in float32.
        codebook: [K, C].
        block: most entries of the score matrix that exist at a time.

    Returns:
        [M] int64 in [0, K).
    """
    with torch.autocast(z.device.type, enabled=False):
        z, codebook = z.float(), codebook.float()
        minus_half = codebook.pow(2).sum(1).mul_(-0.5)
        rows = max(1, block // len(codebook))
        codes = torch.empty(len(z), dtype=torch.int64, device=z.device)
        table = codebook.t().contiguous()
        for start in range(0, len(z), rows):
            scores = torch.addmm(minus_half, z[start:start + rows], table)
            codes[start:start + rows] = scores.argmax(1)
    return codes
