"""How several processes share one model: copies whose gradients are averaged (DDP), or shards of weights, gradients and optimizer state (FSDP2).

`model_wrapper_cfg = dict(type='FSDP2')` chooses; DDP is the default. Checkpoints are the same whichever is chosen: whole tensors, in the model's own
names, so that a run may be resumed under another wrapper or in one process.
"""
import contextlib
import dataclasses
import warnings

import torch
import torch.nn as nn

from dtbox import distributed
from dtbox.errors import InputError
from dtbox.registry import WRAPPERS
from dtbox.structures import TokenizerOutput

BLOCKS = ('blocks', 'resblocks', 'layers')
"""Names of lists of blocks in encoders and text towers."""


def blocks_in(part, names=BLOCKS):
    """Return the blocks of an encoder or text tower: the members of its lists of these names."""
    return [block for name, module in part.named_modules()
            if isinstance(module, (nn.ModuleList, nn.Sequential)) and name.rpartition('.')[2] in names for block in module]


@WRAPPERS.register_module()
class DDP:
    """torch.nn.parallel.DistributedDataParallel around tokenizer and discriminator.

    Args:
        bucket_cap_mb: megabytes of gradients that travel at once; None takes PyTorch's 25, with a first bucket of 1, which leaves early.
        static_graph: let PyTorch remember the order of gradients of the first step; not with losses that begin later.
    """

    def __init__(self, bucket_cap_mb=None, static_graph=False):
        # gradients live in the buckets, so that they are neither copied nor held twice
        self.options = dict(bucket_cap_mb=bucket_cap_mb, static_graph=static_graph, broadcast_buffers=False, gradient_as_bucket_view=True)

    def wrap(self, model, optim):
        """Wrap a TokenizerTask in place; nothing to do in one process."""
        if distributed.is_initialized():
            from torch.nn.parallel import DistributedDataParallel
            ids = [torch.cuda.current_device()] if torch.cuda.is_available() else None
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', FutureWarning)  # newer versions call broadcast_buffers by another name
                model.wrap(lambda m: DistributedDataParallel(m, device_ids=ids, **self.options))


@WRAPPERS.register_module()
class FSDP2:
    """PyTorch's `fully_shard` (per-parameter sharding, arXiv 2304.11277 and PyTorch's FSDP2 notes) of tokenizer and discriminator, each with its own
    optimizer.

    Each process holds 1/n of weights, gradients and moments. Blocks of encoders and text tower are gathered one at a time, the decoder and all else
    as one. Codebooks are buffers and whole everywhere. Teacher and LPIPS are not sharded.

    Args:
        reshard_after_forward: free a block's whole weights after its forward pass, and gather them again for the backward pass.
        blocks: names of the lists of blocks in encoders and text tower.

    Raises:
        InputError: one process only, or codebooks that are parameters.
    """

    def __init__(self, reshard_after_forward=True, blocks=BLOCKS):
        self.reshard, self.blocks = bool(reshard_after_forward), tuple(blocks)

    def wrap(self, model, optim):
        """Shard a TokenizerTask in place, and let its optimizers (OptimWrapperDict) have the shards."""
        if not distributed.is_initialized():
            raise InputError('FSDP2 shards a model over processes, and there is one only. Start several with torchrun and --launcher pytorch, or '
                             'leave model_wrapper_cfg out.', 'model_wrapper_cfg')
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
        self._check(model.tokenizer)
        _register_outputs()
        model.tokenizer.postpone()  # a process that left a forward pass would leave the others waiting for its part of the next block
        kind = model.iteration.device.type
        mesh = init_device_mesh(kind, (distributed.get_world_size(),))
        before = {name: dict(module.named_parameters()) for name, module in model.modules_to_train().items()}
        tokenizer = model.tokenizer
        for part in (*tokenizer.encoders.values(), *([tokenizer.text] if tokenizer.text is not None else [])):
            for block in blocks_in(part, self.blocks):
                fully_shard(block, mesh=mesh, reshard_after_forward=self.reshard)
        if tokenizer.decoder is not None:
            fully_shard(tokenizer.decoder, mesh=mesh, reshard_after_forward=False)  # its last weight is asked for after the forward pass
        for module in model.modules_to_train().values():
            fully_shard(module, mesh=mesh, reshard_after_forward=False, ignored_params=_averaged_scalars(module))
        for method in ('encode', 'features', 'decode', 'pool_image', 'pool_text', 'pool_regions'):
            register_fsdp_forward_method(tokenizer, method)
        for name, module in model.modules_to_train().items():
            _hand_over(optim[name], before[name], dict(module.named_parameters()))

    @staticmethod
    def _check(tokenizer):
        for name, stream in tokenizer.streams.items():
            learned = [n for n, _ in stream.quantizer.named_parameters()]
            if learned:
                raise InputError(f'the codebook of `{name}` is learned by gradient ({learned[0]}), which FSDP2 would shard; codebooks have to be '
                                 'whole in every process. Take EMACodebook, or leave model_wrapper_cfg out (DDP).', 'model_wrapper_cfg')


def _averaged_scalars(module):
    """Return the set of a module's parameters without dimensions, which cannot be sharded; their gradients are averaged as they come."""
    def average(parameter):
        distributed.average_in_place(parameter.grad)
    scalars = {p for p in module.parameters() if p.ndim == 0}
    for parameter in scalars:
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(average)
    return scalars


def _hand_over(wrapper, before, after):
    """Put the parameters that took the place of others into an optimizer (OptimWrapper) that has not stepped yet."""
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


def clip_grad_norm(parameters, max_norm, norm_type=2.0):
    """Clip the norm of all gradients together, some of them sharded, as `torch.nn.utils.clip_grad_norm_`; returns the norm before."""
    sides = [[p for p in parameters if is_sharded(p) == sharded] for sharded in (True, False)]
    norms = [torch.nn.utils.get_total_norm([p.grad for p in side], norm_type) for side in sides if side]
    total = torch.linalg.vector_norm(torch.stack([gathered(n) for n in norms]), norm_type)
    for side in sides:
        if side:
            torch.nn.utils.clip_grads_with_norm_(side, max_norm, total)
    return total


def _register_outputs():
    """Let FSDP2 see the tensors in a TokenizerOutput: it starts a part's backward pass from them."""
    from torch.utils import _pytree as pytree
    if TokenizerOutput in pytree.SUPPORTED_NODES:
        return
    names = [f.name for f in dataclasses.fields(TokenizerOutput)]
    pytree.register_pytree_node(TokenizerOutput, lambda out: ([getattr(out, n) for n in names], None),
                                lambda values, _: TokenizerOutput(**dict(zip(names, values))))


def is_sharded(tensor):
    """Whether each process holds a part of this tensor."""
    return hasattr(tensor, 'full_tensor')


def gathered(value):
    """Return a structure of dicts and lists with whole tensors in the place of sharded ones; a collective where there are any."""
    if is_sharded(value):
        return value.full_tensor()
    if isinstance(value, dict):
        return type(value)((k, gathered(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(gathered(v) for v in value)
    return value


def scattered(state, like):
    """Return a state dict with tensors sharded as those of the same name in `like` are; a collective where there are any."""
    return {name: as_sharded(value, like[name]) if name in like else value for name, value in state.items()}


def as_sharded(value, like):
    """Shard a whole tensor as the tensor `like` is; others, and tensors of another shape, are returned as they are."""
    if not is_sharded(like) or is_sharded(value) or not isinstance(value, torch.Tensor) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def load_optimizer(optimizer, state):
    """Load whole moments into a torch optimizer whose parameters may be sharded."""
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    own = {index: {k: as_sharded(v, parameters[int(index)]) for k, v in moments.items()} for index, moments in state['state'].items()}
    optimizer.load_state_dict({**state, 'state': own})


def local(tensor):
    """Return the part of a tensor that this process holds: all of it, unless it is sharded."""
    return tensor.to_local() if hasattr(tensor, 'to_local') else tensor


@contextlib.contextmanager
def synchronised(module, now):
    """Sum a wrapped module's gradients over processes in a backward pass within the block, or (`now` False, as gradients accumulate) leave them."""
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
