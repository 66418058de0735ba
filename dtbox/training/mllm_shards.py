"""A multimodal language model that FSDP2 shards: its blocks, and whole weights while single ranks run it."""
from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator, Sequence

import torch

from dtbox.errors import InputError
from dtbox.training.parallel import ShardPlan, find_blocks, reshard


def plan_shards(model: Any, lists: Sequence[str]) -> ShardPlan:
    """Return how FSDP2 divides a MultimodalLM: blocks of the language model and of depth transformers one at a time,
    all else as one.

    Args:
        model: MultimodalLM.
        lists: names of lists of blocks.

    Raises:
        InputError: the language model has no such list, or weights of several types train together.
    """
    if not find_blocks(model.lm, lists):
        raise InputError(f'the language model has no list of blocks named {", ".join(lists)}; FSDP2 would gather all '
                         'of it at once. Name its list of blocks.', 'model_wrapper_cfg.blocks')
    blocks = find_blocks(model, lists)
    own = {id(p) for block in blocks for p in block.parameters()}
    rest = [p for p in model.parameters() if id(p) not in own]
    for parameters in (*(list(block.parameters()) for block in blocks), rest):
        kinds = sorted({str(p.dtype).removeprefix('torch.') for p in parameters if p.requires_grad})
        if len(kinds) > 1:
            raise InputError(f'weights of the types {" and ".join(kinds)} would train together, which FSDP2 does not '
                             "do. Take dtype='float32' with amp='bfloat16', or freeze the language model.",
                             'model.lm.dtype')
    return ShardPlan(blocks=blocks)


@contextlib.contextmanager
def hold_whole(model: Any, shards: ShardPlan | None, run: Callable[[], Any]) -> Iterator[None]:
    """Within the block each rank holds the whole weights of a model, so that ranks may run it by themselves, any number
    of times. All ranks enter the block.

    Args:
        model: what FSDP2 has sharded, or not.
        shards: how; None where it is whole already.
        run: a pass through all blocks.
    """
    if shards is None:
        yield
        return
    training, blocks = model.training, list(shards.blocks)
    # FSDP2 gathers ahead in the order of the passes before, which soon is not the same on all ranks
    for block, before in zip((*blocks, model), (model, *blocks)):
        block.set_modules_to_backward_prefetch([before])
    for block in blocks:
        block.set_reshard_after_forward(False)
    try:
        with torch.no_grad():
            model.eval()
            run()
            model.train(training)
        yield
    finally:
        for block in blocks:
            block.set_reshard_after_forward(shards.frees)
        reshard(model)
