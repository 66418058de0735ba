"""Drawing the codes of one place from depth transformers, with a cache of keys and values that is new for every place.

Chains of one shape (the two of `independent`) take their steps together, their weights stacked: on small models Python
takes most of the time of a place. Two chains of 2 blocks, guided, took about 5 ms a place so at one row and 7.3 to 7.9
one after the other; at 64 rows the two ways are equal.

Legend: S chains, X rows (R drawn ones, 2R under guidance), H width of the language model, W width of a chain, A heads,
V width of a head, T steps, K codes, e width of a row.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.layers.causal_block import EPSILON, CausalBlock
from dtbox.sampling import Sampler
from dtbox.visual_heads.chain import DepthChain

LARGE = 2 ** 24
"""Parameters of a chain from which on it is not stacked: the copy would cost memory, and Python matters little."""


def group_chains(chains: Sequence[DepthChain]) -> list[list[DepthChain]]:
    """Return the chains in groups that can take their steps together, in order."""
    shapes = [[p.shape for p in chain.parameters()] for chain in chains]
    small = sum(shape.numel() for shape in shapes[0]) < LARGE
    alone = any(chain.given or len(chain.streams) > 1 for chain in chains)
    sizes = {tuple(chain.tables.sizes[chain.streams[0]]) for chain in chains}
    if small and not alone and len(sizes) == 1 and all(shape == shapes[0] for shape in shapes):
        return [list(chains)]
    return [[chain] for chain in chains]


class Linears:
    """Linear layers of S chains: [S,X,in] -> [S,X,out]."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self.weight = stack([layer.weight for layer in layers]).transpose(1, 2)
        self.bias = None if layers[0].bias is None else stack([layer.bias for layer in layers])[:, None]

    def __call__(self, x: Tensor) -> Tensor:
        return torch.bmm(x, self.weight) if self.bias is None else torch.baddbmm(self.bias, x, self.weight)


class Blocks:
    """One block of S chains; `step` is `CausalBlock.forward` for one vector, given those before."""

    def __init__(self, blocks: Sequence[CausalBlock]) -> None:
        self.heads = blocks[0].heads
        self.norms = [stack([norm.weight for norm in norms])[:, None] for norms in (
            [block.norm1 for block in blocks], [block.norm2 for block in blocks])]
        self.qkv, self.out = (Linears([getattr(block, name) for block in blocks]) for name in ('qkv', 'out'))
        self.gate_up, self.down = (Linears([getattr(block, name) for block in blocks]) for name in ('gate_up', 'down'))

    def make_cache(self, x: Tensor, steps: int) -> Tensor:
        """Return room for keys and values [2,SX,A,T,V]."""
        return x.new_empty(2, x.shape[0] * x.shape[1], self.heads, steps, x.shape[2] // self.heads)

    def step(self, x: Tensor, cache: Tensor, t: int) -> Tensor:
        """Vectors [S,X,W] of step t (from 0) -> [S,X,W]; writes their keys and values into the cache. No dropout."""
        qkv = self.qkv(normalize(x, self.norms[0])).view(-1, 3, self.heads, cache.shape[-1])
        cache[:, :, :, t] = qkv[:, 1:].transpose(0, 1)
        mixed = qkv[:, 2]
        if t:
            query = (qkv[:, 0] * cache.shape[-1] ** -0.5).unsqueeze(-1)
            scores = (cache[0, :, :, :t + 1] @ query).transpose(-2, -1)
            mixed = (scores.softmax(-1) @ cache[1, :, :, :t + 1]).squeeze(-2)
        x = x + self.out(mixed.reshape(x.shape))
        gate, up = self.gate_up(normalize(x, self.norms[1])).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class ChainDrawer:
    """Draws the codes of one place from S chains of one shape.

    Args:
        chains: their weights are read when this is made; `is_current` says whether they have changed since.
    """

    def __init__(self, chains: Sequence[DepthChain]) -> None:
        self.chains = list(chains)
        self._tables = [(module._parameters, name) for chain in chains for module in chain.modules()
                        for name in module._parameters]
        self._state = self._read_state()
        first = self.chains[0]
        self.hidden_in = [Linears([chain.hidden_in[i] for chain in chains]) for i in (0, 2)]
        self.given_in = [Linears([chain.given_in[i] for chain in chains]) for i in range(len(first.given_in))]
        self.code_in = [Linears([chain.code_in[i] for chain in chains]) for i in range(len(first.code_in))]
        self.position = stack([chain.position for chain in chains])[:, :, None]
        self.blocks = [Blocks([chain.blocks[i] for chain in chains]) for i in range(len(first.blocks))]
        self.norm = stack([chain.norm.weight for chain in chains])[:, None]
        self.classifiers = [stack([chain.classifiers[first.streams.index(name)].at(depth) for chain in chains])
                            .transpose(1, 2) for name, depth in first.steps]

    def is_current(self) -> bool:
        """Whether the chains have the weights that were read, as far as PyTorch counts writes: those of fused
        optimizers it does not."""
        return self._state == self._read_state()

    def _read_state(self) -> list[tuple[int, int]]:
        """Return where the weights of the chains lie and how often they were written."""
        weights = [table[name] for table, name in self._tables]
        return [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in weights if p is not None]

    def draw(self, hidden: Tensor, sampler: Sampler, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draw the codes of one place.

        Args:
            hidden: [X,H].
            sampler: of the place.
            known: codes of the given streams [R,Q].

        Returns:
            stream -> [R,Q], of all streams of the chains.
        """
        first = self.chains[0]
        x = self.hidden_in[1](F.gelu(self.hidden_in[0](hidden.expand(len(self.chains), -1, -1))))
        for name, linear in zip(first.given, self.given_in):
            x = x + linear(first.accumulate(name, sampler.repeat(known[name]))[:, -1][None])
        caches = [block.make_cache(x, len(first.steps)) for block in self.blocks]
        drawn: dict[str, list[Tensor]] = {name: [] for chain in self.chains for name in chain.streams}
        seen: dict[str, Tensor] = {}
        for t, (stream, depth) in enumerate(first.steps):
            number = first.streams.index(stream)
            x = x + self.position[:, t]
            for block, cache in zip(self.blocks, caches):
                x = block.step(x, cache, t)
            logits = torch.bmm(normalize(x, self.norm), self.classifiers[t])
            names = [chain.streams[number] for chain in self.chains]
            for name, one in zip(names, logits):
                drawn[name].append(sampler.draw(name, depth, one))
            if t + 1 < len(first.steps):
                for name, chain in zip(names, self.chains):
                    seen[name] = chain.see(name, depth, drawn[name][-1], seen.get(name))
                x = self.code_in[number](torch.stack([sampler.repeat(seen[name]) for name in names]))
        return {name: torch.stack(codes, 1) for name, codes in drawn.items()}


def stack(weights: Sequence[Tensor]) -> Tensor:
    """Return weights of S chains as [S,...]: a view of one, a copy of several."""
    return weights[0].detach()[None] if len(weights) == 1 else torch.stack([weight.detach() for weight in weights])


def normalize(x: Tensor, weight: Tensor) -> Tensor:
    """`RMSNorm` of x [S,X,W] with weights [S,1,W]."""
    return F.rms_norm(x, x.shape[-1:], None, EPSILON) * weight
