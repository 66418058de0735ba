"""How several ranks share one model: copies whose gradients are averaged (DDP), or shards of weights, gradients and
optimizer state (FSDP2).

`model_wrapper_cfg = dict(type='FSDP2')` chooses; DDP is the default. Checkpoints are the same whichever is chosen:
whole tensors, in the model's own names, so that a run may be resumed under another wrapper or in one process.
"""
from __future__ import annotations

import contextlib
import dataclasses
import warnings
from typing import Any, Callable, Iterator, Mapping, Sequence

import torch
import torch.nn as nn
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor

from dtbox import distributed
from dtbox.errors import InputError
from dtbox.registry import WRAPPERS
from dtbox.values import PositiveNumber

BLOCKS = ('blocks', 'resblocks', 'layers')
"""Names of lists of blocks in networks."""


def find_blocks(part: nn.Module, names: Sequence[str] = BLOCKS) -> list[nn.Module]:
    """Return the blocks of a network: the members of its lists of these names."""
    lists = [module for name, module in part.named_modules()
             if isinstance(module, (nn.ModuleList, nn.Sequential)) and name.rpartition('.')[2] in names]
    return [block for blocks in lists for block in blocks]


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """How FSDP2 divides a task; what is not named here is gathered with its part, as one.

    Attributes:
        blocks: modules that are gathered one at a time, in the order in which they run.
        wholes: modules that are gathered as one and stay whole until the backward pass.
        methods: (module, name of a method) that needs whole weights as `forward` does.
        outputs: dataclasses that parts return, with tensors inside.
        frees: whether whole weights of blocks are freed after a forward pass.
    """
    blocks: Sequence[nn.Module] = ()
    wholes: Sequence[nn.Module] = ()
    methods: Sequence[tuple[nn.Module, str]] = ()
    outputs: Sequence[type] = ()
    frees: bool = True


@WRAPPERS.register_module()
class DDP:
    """torch.nn.parallel.DistributedDataParallel around each part of a task.

    Args:
        bucket_cap_mb: megabytes of gradients that travel at once; None takes PyTorch's 25, with a first bucket of 1,
            which leaves early.
        static_graph: let PyTorch remember the order of gradients of the first step; not with losses that begin later.
    """

    def __init__(self, bucket_cap_mb: PositiveNumber | None = None, static_graph: bool = False) -> None:
        # gradients live in the buckets, so that they are neither copied nor held twice
        self.options = dict(bucket_cap_mb=bucket_cap_mb, static_graph=static_graph, broadcast_buffers=False,
                            gradient_as_bucket_view=True)

    def wrap(self, task: nn.Module, optimizers: OptimWrapperDict) -> None:
        """Wrap the parts of a Task in place; nothing to do in one process."""
        if distributed.is_initialized():
            from torch.nn.parallel import DistributedDataParallel
            ids = [torch.cuda.current_device()] if torch.cuda.is_available() else None
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', FutureWarning)  # newer versions call broadcast_buffers by another name
                task.wrap(lambda part: DistributedDataParallel(part, device_ids=ids, **self.options))


@WRAPPERS.register_module()
class FSDP2:
    """PyTorch's `fully_shard` (per-parameter sharding, arXiv 2304.11277 and PyTorch's FSDP2 notes) of the parts of a
    task, each with its own optimizer.

    Each rank holds 1/n of weights, gradients and moments. Blocks are gathered one at a time, all else as one (see
    `Task.plan_shards`). Buffers, and networks outside the parts, are whole on every rank.

    Args:
        reshard_after_forward: free a block's whole weights after its forward pass, and gather them again for the
            backward pass.
        blocks: names of the lists of blocks in networks.

    Raises:
        InputError: one rank only, or a task that cannot be divided.
    """

    def __init__(self, reshard_after_forward: bool = True, blocks: Sequence[str] = BLOCKS) -> None:
        self.reshard, self.blocks = bool(reshard_after_forward), tuple(blocks)

    def wrap(self, task: nn.Module, optimizers: OptimWrapperDict) -> None:
        """Shard the parts of a Task in place, and let its optimizers have the shards."""
        if not distributed.is_initialized():
            raise InputError('FSDP2 shards a model over ranks, and there is one only. Start several with torchrun and '
                             '--launcher pytorch, or leave model_wrapper_cfg out.', 'model_wrapper_cfg')
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
        plan = task.plan_shards(self.blocks)
        for kind in plan.outputs:
            _register_outputs(kind)
        mesh = init_device_mesh(task.device.type, (distributed.get_world_size(),))
        before = {name: dict(part.named_parameters()) for name, part in task.parts.items()}
        for block in plan.blocks:
            fully_shard(block, mesh=mesh, reshard_after_forward=self.reshard)
        task.shards = dataclasses.replace(plan, frees=self.reshard)
        for module in plan.wholes:
            fully_shard(module, mesh=mesh, reshard_after_forward=False)
        for part in task.parts.values():
            fully_shard(part, mesh=mesh, reshard_after_forward=False, ignored_params=_average_scalars(part))
        for module, method in plan.methods:
            register_fsdp_forward_method(module, method)
        for name, part in task.parts.items():
            _hand_over(optimizers[name], before[name], dict(part.named_parameters()))


def _average_scalars(module: nn.Module) -> set[nn.Parameter]:
    """Return the parameters without dimensions, which cannot be sharded; their gradients are averaged as they come."""
    def average(parameter: nn.Parameter) -> None:
        distributed.average_in_place(parameter.grad)
    scalars = {p for p in module.parameters() if p.ndim == 0}
    for parameter in scalars:
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(average)
    return scalars


def _hand_over(wrapper: OptimWrapper, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    """Put the parameters that took the place of others into an optimizer that has not stepped yet."""
    table = {id(old): after[name] for name, old in before.items()}
    shards_fuse = isinstance(wrapper.optimizer, (torch.optim.Adam, torch.optim.AdamW))
    for group in wrapper.optimizer.param_groups:
        group['params'] = [table[id(p)] for p in group['params']]
        if len({is_sharded(p) for p in group['params']}) > 1:
            group['foreach'] = False  # PyTorch's loops over many tensors do not take both kinds together
        if not shards_fuse or group['foreach'] is False:
            group['fused'] = None
    if getattr(wrapper, 'clip_func', None) is torch.nn.utils.clip_grad_norm_:
        wrapper.clip_func = clip_grad_norm


def clip_grad_norm(parameters: Sequence[Tensor], max_norm: float, norm_type: float = 2.0) -> Tensor:
    """Clip the norm of all gradients, some of them sharded, as `torch.nn.utils.clip_grad_norm_`."""
    sides = [[p for p in parameters if is_sharded(p) == sharded] for sharded in (True, False)]
    norms = [torch.nn.utils.get_total_norm([p.grad for p in side], norm_type) for side in sides if side]
    total = torch.linalg.vector_norm(torch.stack([gather_shards(n) for n in norms]), norm_type)
    for side in sides:
        if side:
            torch.nn.utils.clip_grads_with_norm_(side, max_norm, total)
    return total


def _register_outputs(kind: type) -> None:
    """Let FSDP2 see the tensors in a dataclass: it starts a part's backward pass from them."""
    from torch.utils import _pytree as pytree
    if kind in pytree.SUPPORTED_NODES:
        return
    names = [f.name for f in dataclasses.fields(kind)]
    pytree.register_pytree_node(kind, lambda out: ([getattr(out, n) for n in names], None),
                                lambda values, _: kind(**dict(zip(names, values))))


# ---- tensors that may be sharded ------------------------------------------------------------------------------------


def is_sharded(tensor: Any) -> bool:
    """Return whether each rank holds a part of this tensor."""
    return hasattr(tensor, 'full_tensor')


def gather_shards(value: Any, take: Callable[[Tensor], Tensor] = lambda whole: whole) -> Any:
    """Return dicts and lists with whole tensors, as `take` returns them, in place of sharded ones; a collective."""
    if is_sharded(value):
        return take(value.full_tensor())
    if isinstance(value, dict):
        return type(value)((k, gather_shards(v, take)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(gather_shards(v, take) for v in value)
    return value


def collect_shards(value: Any) -> Any:
    """As `gather_shards`, one tensor at a time onto the CPU of rank 0, which writes them; others get empty ones."""
    first = distributed.get_rank() == 0
    return gather_shards(value, lambda whole: whole.cpu() if first else whole.new_empty(0))


def reshard(module: nn.Module) -> None:
    """Let a sharded module hold shards alone again; a pass without backward pass leaves whole weights behind."""
    for part in module.modules():
        if hasattr(part, 'reshard'):
            part.reshard()


def shard_state(state: Mapping[str, Any], like: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return a state dict with tensors sharded as those of the same name in `like`; a collective where any are."""
    return {name: shard_as(value, like[name]) if name in like else value for name, value in state.items()}


def shard_as(value: Any, like: Tensor) -> Any:
    """Shard a whole tensor as the tensor `like` is; others, and tensors of another shape, are returned as they are."""
    if not is_sharded(like) or is_sharded(value) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load whole moments into an optimizer whose parameters may be sharded."""
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    own = {index: {k: shard_as(v, parameters[int(index)]) for k, v in moments.items()}
           for index, moments in state['state'].items()}
    forms = [{form: group[form] for form in ('fused', 'foreach') if form in group} for group in optimizer.param_groups]
    groups = [{**saved, **form} for saved, form in zip(state['param_groups'], forms, strict=True)]
    optimizer.load_state_dict({**state, 'state': own, 'param_groups': groups})


def get_local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this rank holds: all of it, unless it is sharded."""
    return tensor.to_local() if hasattr(tensor, 'to_local') else tensor


@contextlib.contextmanager
def sync_gradients(module: nn.Module, now: bool) -> Iterator[None]:
    """Sum the gradients of a wrapped module over ranks in the backward pass of the block.

    Args:
        module: DistributedDataParallel, or a module that FSDP2 shards; others are left alone.
        now: False while gradients accumulate; they then stay those of this rank.
    """
    if now:
        yield
    elif hasattr(module, 'no_sync'):
        with module.no_sync():
            yield
    elif hasattr(module, 'set_requires_gradient_sync'):
        module.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            module.set_requires_gradient_sync(True)
    else:
        yield
