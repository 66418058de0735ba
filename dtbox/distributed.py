"""The collectives of dtbox: what the ranks of a run tell each other. No other module calls torch.distributed or
mmengine.dist, but for those that launch ranks, shard a model or count messages (`tests/test_distributed.py` lists
them).

Every rank calls the same functions in the same order, also a rank that holds no sample. Without a process group each
function is the identity. Works with gloo (CPU) and NCCL (tensors travel over the current GPU).
"""
from __future__ import annotations

from typing import Any, Callable, TypeVar

import torch
import torch.distributed as dist

from dtbox.errors import InputError

T = TypeVar('T')


def is_initialized() -> bool:
    """Return whether this process belongs to a process group."""
    return dist.is_available() and dist.is_initialized()


def get_rank() -> int:
    """Return the number of this rank; 0 without a process group."""
    return dist.get_rank() if is_initialized() else 0


def get_world_size() -> int:
    """Return the number of ranks; 1 without a process group."""
    return dist.get_world_size() if is_initialized() else 1


def is_divided(model: torch.nn.Module) -> bool:
    """Return whether FSDP2 has divided a model, or a part of it, among ranks."""
    from torch.distributed.fsdp import FSDPModule  # a second of imports
    return is_initialized() and any(isinstance(module, FSDPModule) for module in model.modules())


def barrier() -> None:
    """Wait until every rank is here."""
    if is_initialized():
        dist.barrier()


# ---- objects --------------------------------------------------------------------------------------------------------


def gather_objects(value: T) -> list[T]:
    """Return every rank's `value`, by rank. Plain types only: they are pickled."""
    if not is_initialized():
        return [value]
    values = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def broadcast_object(value: T) -> T:
    """Return the `value` of rank 0. Plain types and exceptions only: they are pickled."""
    if get_world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, 0)
    return values[0]


def run_on_first_rank(function: Callable[[], T]) -> T:
    """Call `function` on rank 0 only, and return its result on every rank.

    Args:
        function: what touches the disk or the network; its result is pickled.

    Raises:
        InputError, OSError: on every rank, where `function` raises one of them on rank 0.
    """
    outcome: Any = (None, None)
    if get_rank() == 0:
        try:
            outcome = (function(), None)
        except (InputError, OSError) as e:
            outcome = (None, e)
    result, error = broadcast_object(outcome)
    if error is not None:
        raise error
    return result


# ---- tensors --------------------------------------------------------------------------------------------------------


def sum_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum over ranks of a tensor that has the same shape on every rank, dense or sparse on all."""
    if not is_initialized():
        return tensor
    if tensor.is_sparse:
        return _sum_sparse(tensor)
    total = tensor.to(_get_device()).clone()
    dist.all_reduce(total)
    return total.to(tensor.device)


def _sum_sparse(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.coalesce()
    parts = gather_objects((tensor.indices().cpu(), tensor.values().cpu()))
    indices, values = torch.cat([i for i, _ in parts], 1), torch.cat([v for _, v in parts])
    total = torch.sparse_coo_tensor(indices, values, tensor.shape, check_invariants=False)
    return total.coalesce().to(tensor.device)


def sum_in_place(*tensors: torch.Tensor) -> None:
    """Sum each tensor over ranks, in place; the same shapes on every rank."""
    if get_world_size() > 1:
        for tensor in tensors:
            _reduce_in_place(tensor, dist.ReduceOp.SUM)


def average_in_place(tensor: torch.Tensor) -> None:
    """Replace a float tensor by its mean over ranks; the same shape on every rank."""
    world = get_world_size()
    if world > 1:
        _reduce_in_place(tensor, dist.ReduceOp.SUM)
        tensor.div_(world)


def broadcast_in_place(tensor: torch.Tensor) -> None:
    """Replace a tensor by that of rank 0; the same shape and dtype on every rank."""
    if is_initialized():
        moved = tensor.to(_get_device())
        dist.broadcast(moved, 0)
        if moved is not tensor:
            tensor.copy_(moved)


def gather_tensor(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Return every rank's tensor, by rank; the same shape and dtype on every rank. No gradient passes."""
    if not is_initialized():
        return [tensor]
    moved = tensor.to(_get_device()).contiguous()
    parts = [torch.empty_like(moved) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, moved)
    return [part.to(tensor.device) for part in parts]


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Concatenate rows over ranks that hold different numbers of them.

    Args:
        rows: float32 [M, E]; M may be 0 (E is then free) and differs from rank to rank.

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


# ---- agreements of a training step ----------------------------------------------------------------------------------


def is_set_anywhere(flag: bool) -> bool:
    """Return whether `flag` is set on any rank."""
    if get_world_size() == 1:
        return flag
    flags = _make_numbers([float(flag)])
    _reduce_in_place(flags, dist.ReduceOp.MAX)
    return bool(flags)


def count_samples(count: int, flag: bool = False) -> tuple[int, float, bool]:
    """Count the samples of all ranks, and say how much the mean over this rank's samples weighs among the ranks' means.

    Args:
        count: samples of this rank.
        flag: a signal that this rank gives to all.

    Returns:
        (samples of all ranks, `count` * ranks / samples of all ranks, whether `flag` is set on any rank). The second
        makes the mean over ranks of weighted means that over samples; it is 0.0 where no rank has a sample.
    """
    world = get_world_size()
    if world == 1:
        return count, 1.0 if count else 0.0, flag
    numbers = _make_numbers([float(count), float(flag)])
    _reduce_in_place(numbers, dist.ReduceOp.SUM)
    total, flags = (round(v) for v in numbers.tolist())
    return total, count * world / total if total else 0.0, flags > 0


def _make_numbers(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, device='cuda' if torch.cuda.is_available() else 'cpu')


def _reduce_in_place(tensor: torch.Tensor, operation: Any) -> None:
    moved = tensor.to(_get_device())
    dist.all_reduce(moved, operation)
    if moved is not tensor:
        tensor.copy_(moved)


def _get_device() -> torch.device:
    """Return the device whose tensors travel: the current GPU with NCCL, the CPU otherwise."""
    return torch.device('cuda', torch.cuda.current_device()) if dist.get_backend() == 'nccl' else torch.device('cpu')
