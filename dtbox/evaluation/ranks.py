"""The few collectives that metrics need. Every rank calls them in the same order, also one that saw no sample.

Without torch.distributed they are the identity. Works with gloo (CPU) and NCCL (tensors travel over the current GPU).
"""
import torch
import torch.distributed as dist


def initialised():
    """Whether torch.distributed runs."""
    return dist.is_available() and dist.is_initialized()


def rank():
    """Number of this rank."""
    return dist.get_rank() if initialised() else 0


def gather_objects(value):
    """Return the list of every rank's `value`, by rank; plain types only, they are pickled."""
    if not initialised():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def sum_tensor(tensor):
    """Return the sum over ranks of a tensor that has the same shape everywhere, dense or sparse on all."""
    if not initialised():
        return tensor
    if tensor.is_sparse:
        tensor = tensor.coalesce()
        parts = gather_objects((tensor.indices().cpu(), tensor.values().cpu()))
        indices, values = torch.cat([i for i, _ in parts], 1), torch.cat([v for _, v in parts])
        return torch.sparse_coo_tensor(indices, values, tensor.shape, check_invariants=False).coalesce().to(tensor.device)
    total = tensor.to(_device()).clone()
    dist.all_reduce(total)
    return total.to(tensor.device)


def gather_tensor(tensor):
    """Return the list of every rank's tensor, by rank; the same shape and dtype everywhere."""
    if not initialised():
        return [tensor]
    tensor = tensor.to(_device()).contiguous()
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor)
    return [p.cpu() for p in parts]


def gather_rows(rows):
    """Concatenate rows over ranks that hold different numbers of them.

    Args:
        rows: float32 [M, E] on the CPU; M may be 0 (E is then free) and differs from rank to rank.

    Returns:
        [sum of M, E], by rank.
    """
    sizes = gather_objects(tuple(rows.shape))
    if len(sizes) == 1:
        return rows
    longest, width = max(m for m, _ in sizes), max((e for m, e in sizes if m), default=rows.shape[1])
    padded = rows.new_zeros(longest, width)
    if len(rows):
        padded[:len(rows)] = rows
    if not longest:
        return padded
    return torch.cat([part[:m] for part, (m, _) in zip(gather_tensor(padded), sizes)])


def _device():
    return torch.device('cuda', torch.cuda.current_device()) if dist.get_backend() == 'nccl' else torch.device('cpu')
