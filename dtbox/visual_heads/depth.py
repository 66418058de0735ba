"""Depth transformers as a head: the published head of DualToken (arXiv 2503.14324), and three ways to let the codes of
one stream see those of another.

| order | factorisation of a place, given h |
|---|---|
| independent | p(y|h) p(z|h), each over its depths: what is published |
| X_first | p(x|h) p(y|h,x): the first depth of the other streams sees the sum of all rows of X |
| joint | one transformer over the depths of all streams |

Width, heads and blocks are not published; the blocks are those of `layers/causal_block.py`.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch.nn as nn
from torch import Tensor

from dtbox.code_tables import CodeTables
from dtbox.errors import InputError, at, closest
from dtbox.registry import VISUAL_HEADS
from dtbox.sampling import Sampler
from dtbox.values import Count, Positive, Within
from dtbox.visual_heads.base import VisualHead
from dtbox.visual_heads.chain import DepthChain
from dtbox.visual_heads.drawing import ChainDrawer, group_chains

FIRST = '_first'


@VISUAL_HEADS.register_module()
class DepthHead(VisualHead):
    """One or several depth transformers over the codes of a place, after arXiv 2203.01941.

    Args:
        tables: rows of the codes; filled in by the model.
        width: H of the language model; filled in by the model.
        order: 'independent', 'joint', or 'X_first' with the name X of a stream, such as 'semantic_first'.
        first: of `joint`, the stream that comes first; None takes the last one of the tables.
        inner: width W of the transformers.
        blocks, heads: of each transformer.
        depth_input: 'sum' of the rows of the depths before, or 'concat', for codes without a residual order.
        dropout: on residual branches in training.
        chunk: places whose logits are held at once; None chooses.
        recompute: whether activations are computed again in the backward pass, to save memory.
        streams: which streams the head predicts; None for all.
    """
    example = dict(inner=16, blocks=2, heads=2)

    def __init__(self, tables: CodeTables, width: int, order: str = 'independent', first: str | None = None,
                 inner: Positive = 512, blocks: Count = 3, heads: Positive = 8,
                 depth_input: Literal['sum', 'concat'] = 'sum', dropout: Annotated[float, Within(0, 0.99)] = 0.0,
                 chunk: Positive | None = None, recompute: bool = False, streams: Sequence[str] | None = None) -> None:
        super().__init__(tables, width, streams)
        self.order, self.chunk = order, chunk
        self.chains = nn.ModuleList(
            DepthChain(tables, width, names, given, inner, blocks, heads, dropout, depth_input == 'concat', recompute)
            for names, given in plan_chains(self.names, order, first))
        self._drawers: list[ChainDrawer] | None = None

    def _sum_losses(self, hidden: Tensor, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        sums = {name: classify.losses(states, codes[name], self.chunk) for chain in self.chains
                for name, states, classify in zip(chain.streams, chain(hidden, codes), chain.classifiers)}
        return {name: sums[name] for name in self.names}

    def _make_logits(self, hidden: Tensor, codes: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        logits = {name: [classify.logits(d, states[:, d]) for d in range(states.shape[1])] for chain in self.chains
                  for name, states, classify in zip(chain.streams, chain(hidden, codes), chain.classifiers)}
        return {name: logits[name] for name in self.names}

    def _draw(self, hidden: Tensor, sampler: Sampler, step: int) -> dict[str, Tensor]:
        # fused optimizers write weights without a trace: an image begins with what the weights are now
        if not step or self._drawers is None or not all(drawer.is_current() for drawer in self._drawers):
            self._drawers = [ChainDrawer(chains) for chains in group_chains(list(self.chains))]
        codes: dict[str, Tensor] = {}
        for drawer in self._drawers:
            codes.update(drawer.draw(hidden, sampler, codes))
        return {name: codes[name] for name in self.names}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_drawers': None}  # a copy of weights


def plan_chains(names: Sequence[str], order: str, first: str | None = None) -> list[tuple[list[str], list[str]]]:
    """Return (streams, streams given before) of each chain, in the order in which they are drawn.

    Args:
        names: streams, in the order of the tables.
        order, first: see `DepthHead`.

    Raises:
        InputError: an order that there is not, or `first` where it says nothing.
    """
    if order == 'joint':
        first = names[-1] if first is None else first
        check_stream(first, names, 'first')
        return [([first, *(name for name in names if name != first)], [])]
    if first is not None:
        raise InputError(f'`first` is {first!r}, which `order={order!r}` does not read. Leave it out, or write '
                         f"order='{first}{FIRST}'.", 'first')
    if order == 'independent':
        return [([name], []) for name in names]
    orders = ['independent', 'joint', *(f'{name}{FIRST}' for name in names if len(names) > 1)]
    if order not in orders:
        raise InputError(f'`order` is {order!r}.{closest(order, orders)} Expected one of: {", ".join(orders)}.',
                         'order')
    head = order.removesuffix(FIRST)
    return [([head], []), *(([name], [head]) for name in names if name != head)]


def check_stream(name: str, names: Sequence[str], where: str) -> None:
    """Raise `InputError` unless a stream is one of some."""
    if name not in names:
        with at(where):
            raise InputError(f'there is no stream `{name}`.{closest(name, names)} There are: {", ".join(names)}.')
