"""Embeddings of all processes, with gradients that find their way back."""
import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmengine.dist import all_gather_object, get_rank, get_world_size


class _Gather(torch.autograd.Function):
    """[M,D], the same M everywhere -> [M * processes, D]; backward sums what every process says of these rows."""

    @staticmethod
    def forward(ctx, rows):
        parts = [torch.empty_like(rows) for _ in range(get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(get_world_size())[get_rank()]


def gathered(image, text, words):
    """Join the embeddings of all processes.

    Args:
        image, text: [B,E] of this process; B may differ between processes and may be 0.
        words: B texts.

    Returns:
        (images [G,E], texts [G,E], G texts, place of this process's first row among the G).
    """
    if get_world_size() == 1:
        return image, text, list(words), 0
    parts = all_gather_object(list(words))
    counts = [len(part) for part in parts]
    most = max(counts)
    rows = _Gather.apply(F.pad(torch.cat([image, text], 1), (0, 0, 0, most - len(image))))
    kept = torch.cat([torch.arange(n) + i * most for i, n in enumerate(counts)]).to(rows.device)
    images, texts = rows[kept].chunk(2, 1)
    return images, texts, [word for part in parts for word in part], sum(counts[:get_rank()])
