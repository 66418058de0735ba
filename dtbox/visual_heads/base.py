"""The contract of visual heads: hidden states of a language model to the codes of places.

The state at LM step t predicts what stands at step t + 1. A step holds the cells (depths) of one place of every stream,
or some of them: `expand` says which. Everything runs in float32 under any autocast.

Legend: P target steps, H width of the language model, M images, N places, S steps of an image, Q codes per place
(depths), K codebook size, R rows that are drawn.
"""
from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.arguments import read_arguments, read_number
from dtbox.code_tables import CodeTables
from dtbox.errors import InputError
from dtbox.sampling import Guidance, Sampler, SamplingRule
from dtbox.structures import HeadLosses
from dtbox.visual_heads.cross_entropy import sum_cross_entropy


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return a block without autocast, which does not know meta tensors."""
    return contextlib.nullcontext() if device.type == 'meta' else torch.autocast(device.type, enabled=False)


class Classifiers(nn.Module):
    """One linear classifier for each depth of a stream.

    Args:
        sizes: K of each depth.
        width: of a state.

    Untrained logits of states of norm sqrt(width) have the standard deviation `SPREAD`, so that the loss begins at
    ln K.
    """
    SPREAD = 0.1

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.weight = nn.Parameter(torch.randn(sum(sizes), width) * (self.SPREAD * width ** -0.5))

    def at(self, depth: int) -> Tensor:
        """Weights [K, width] of a depth."""
        start = sum(self.sizes[:depth])
        return self.weight[start:start + self.sizes[depth]]

    def logits(self, depth: int, states: Tensor) -> Tensor:
        """States [..., width] -> logits [..., K] of a depth, float32."""
        return (states @ self.at(depth).T).float()

    def losses(self, states: Tensor, codes: Tensor, chunk: int | None = None) -> Tensor:
        """States [P,Q,width], codes [P,Q] -> summed cross entropy [Q] float32; a negative code has none."""
        return sum_cross_entropy(states, self.weight, codes, self.sizes, chunk)

    def losses_at(self, depth: int, states: Tensor, codes: Tensor, chunk: int | None = None) -> Tensor:
        """States [P,width], codes [P,1] of one depth -> summed cross entropy [1] float32."""
        return sum_cross_entropy(states[:, None], self.at(depth), codes, self.sizes[depth:depth + 1], chunk)


class VisualHead(nn.Module):
    """Base class of visual heads. A subclass gives `_sum_losses`, `_make_logits` and `_draw`, and the three methods of
    steps where a step is not a place.

    Args:
        tables: rows of the codes.
        width: H.
        streams: which streams the head predicts; None for all.

    Attributes:
        names: names of the streams that it predicts, in the order of the tables.
        example: constructor arguments of a small instance, for the contract suite.
    """
    example: ClassVar[dict[str, Any] | None] = None

    def __init__(self, tables: CodeTables, width: int, streams: Sequence[str] | None = None) -> None:
        super().__init__()
        self.tables = tables
        self.width = width
        self.names = tables.pick(streams)

    @property
    def depths(self) -> dict[str, int]:
        """Stream -> Q, of the streams that the head predicts."""
        return {name: len(self.tables.sizes[name]) for name in self.names}

    # ---- steps

    def count_steps(self) -> int:
        """Return the LM steps S of an image."""
        return self.tables.places

    def expand(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Codes of places, stream -> [M,N,Q] -> codes of steps [M,S,Q], `EMPTY` where a step holds none."""
        return dict(codes)

    def collapse(self, steps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Codes of steps, stream -> [M,S,Q] -> codes of places [M,N,Q], the inverse of `expand`."""
        return dict(steps)

    # ---- losses

    @read_arguments(keep_share=read_number(0, 1, above=True))
    def losses(self, hidden: Tensor, codes: Mapping[str, Tensor], keep_share: float = 1.0,
               generator: torch.Generator | None = None) -> HeadLosses:
        """Sum the cross entropy of target steps.

        Args:
            hidden: [P,H], the state before each target step.
            codes: stream -> codes of the steps [P,Q].
            keep_share: fraction of the steps that go through the head, chosen at random; their losses are scaled so
                that the expected sums are those of all steps. Sesame's CSM trains that way.
            generator: of the choice, on the CPU; None takes torch's own.

        Returns:
            HeadLosses; the counts are those of all steps.
        """
        self._check(hidden, codes)
        counts = {name: (codes[name] >= 0).sum(0) for name in self.names}
        scale, total = 1.0, len(hidden)
        if keep_share < 1 and total:
            kept = max(1, round(keep_share * total))
            index = torch.randperm(total, generator=generator)[:kept].sort().values.to(hidden.device)
            hidden, scale = hidden[index], total / kept
            codes = {name: codes[name][index] for name in self.names}
        with without_autocast(hidden.device):
            sums = self._sum_losses(self._cast(hidden), codes)
        return HeadLosses({name: value * scale for name, value in sums.items()}, counts)

    def logits(self, hidden: Tensor, codes: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """Teacher-forced logits: hidden [P,H], codes stream -> [P,Q] -> stream -> Q tensors [P,K] float32."""
        self._check(hidden, codes)
        with without_autocast(hidden.device):
            return self._make_logits(self._cast(hidden), codes)

    @torch.no_grad()
    def sample(self, hidden: Tensor, rule: SamplingRule, guidance: Guidance | None = None,
               generators: Sequence[torch.Generator] = (), step: int = 0) -> dict[str, Tensor]:
        """Draw the codes of one step.

        Args:
            hidden: [R,H]; under guidance [2R,H], the conditional rows first.
            rule: temperature, top-k, top-p.
            guidance: None where there are no unconditional rows.
            generators: R generators, one for each row.
            step: number of the step, 0 to S - 1.

        Returns:
            stream -> codes [R,Q] int64, `EMPTY` where the step holds none.
        """
        sampler = Sampler(rule, guidance, generators, self.depths, hidden.device)
        sampler.check(hidden)
        with without_autocast(hidden.device):
            return self._draw(self._cast(hidden), sampler, step)

    def _cast(self, hidden: Tensor) -> Tensor:
        return hidden.to(next(self.parameters()).dtype)

    def _check(self, hidden: Tensor, codes: Mapping[str, Tensor]) -> None:
        if hidden.ndim != 2 or hidden.shape[1] != self.width:
            raise InputError(f'hidden states are {list(hidden.shape)}; expected [P, {self.width}].')
        for name, depth in self.depths.items():
            if name not in codes or codes[name].shape != (len(hidden), depth):
                came = list(codes[name].shape) if name in codes else f'of {", ".join(codes) or "no stream"}'
                raise InputError(f'codes are {came}; expected {name} [{len(hidden)}, {depth}].')

    def _sum_losses(self, hidden: Tensor, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return stream -> summed cross entropy [Q] float32; arguments as of `losses`."""
        raise NotImplementedError

    def _make_logits(self, hidden: Tensor, codes: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """See `logits`."""
        raise NotImplementedError

    def _draw(self, hidden: Tensor, sampler: Sampler, step: int) -> dict[str, Tensor]:
        """Return stream -> codes [R,Q] of a step from hidden [copies x R, H]."""
        raise NotImplementedError
