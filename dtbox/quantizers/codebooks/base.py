"""What codebooks share: a table, what a training forward collects for it, statistics over ranks, the restart of unused
codes.

Legend: M vectors, K codes, C code width, Q codes per token, B batch, N tokens.
"""
from __future__ import annotations

from typing import Any, Callable

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox import distributed
from dtbox.quantizers.codebooks.vectors import draw, statistics, take_rows
from dtbox.quantizers.search import make_search
from dtbox.registry import STARTS
from dtbox.values import Count, Factor, Fraction, Positive, Seed, check_values


class Codebook(nn.Module):
    """Base class of codebooks: a table [K, C] with `weight`, `cluster_size` (averaged counts) and `updates`.

    The statistics of all vectors collected since the last commit, over micro-batches and ranks, make one update. A code
    whose averaged count falls below `restart` takes a vector of the global batch, drawn by a generator that all ranks
    share, so that n ranks equal one.

    Args:
        size: number of codes K.
        dim: code width C.
        decay: of the averaged counts, per update.
        restart: threshold of the averaged count below which a code restarts; 0 never restarts.
        start: config of where the table starts (`SampleStart`, `KMeansStart`, `CheckpointStart`); None is a normal
            distribution.
        cosine: compare directions: vectors and rows are L2-normalised (ViT-VQGAN, arXiv 2110.04627, section 3.2).
        delay: updates before a start from data, as the deeper tables of a residual quantizer need.
        seed: of the draws.

    Attributes:
        restarts: codes that restarted in this process so far.
    """

    def __init__(self, size: Positive, dim: Positive, decay: Fraction = 0.99, restart: Factor = 1.0,
                 start: dict | None = None, cosine: bool = False, delay: Count = 0, seed: Seed = 0) -> None:
        super().__init__()
        check_values(Codebook, locals())
        self.size, self.dim = size, dim
        self.decay, self.restart = decay, restart
        self.cosine = cosine
        self.delay, self.seed = delay, seed
        self.restarts, self.pending = 0, []
        self.start = STARTS.build(start, where='start') if start else None

    # ---- what a quantizer asks --------------------------------------------------------------------------------

    def prepare(self, z: Tensor) -> Tensor:
        """z [..., C] -> what is compared with the table: z itself, or its direction."""
        return F.normalize(z, dim=-1) if self.cosine else z

    def table(self) -> Tensor:
        """Return the rows as they are looked up, [K, C]."""
        return F.normalize(self.weight, dim=-1) if self.cosine else self.weight

    def searcher(self) -> Callable[[Tensor], Tensor]:
        """Return a function z [M, C] -> nearest codes [M] int64, for as long as the table does not change."""
        return make_search(self.table())

    def search(self, z: Tensor) -> Tensor:
        """z [M, C] -> nearest codes [M] int64."""
        return self.searcher()(z)

    def lookup(self, codes: Tensor) -> Tensor:
        """codes [...] int64 -> rows [..., C]."""
        rows = F.embedding(codes, self.weight)
        return F.normalize(rows, dim=-1) if self.cosine else rows

    def losses(self, values: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """Terms that train the table: values [B,N,C] and the rows [B,N,C] they are quantized to (sums of rows in a
        residual quantizer)."""
        return {}

    def init_weights(self) -> None:
        """Start from what the config names, where that is a file."""
        if self.start is not None and not self.start.needs_data:
            self.begin(*self.start.load(self.size, self.dim))

    def collect(self, vectors: Tensor, codes: Tensor) -> None:
        """Keep what a training forward found, for the next commit.

        Args:
            vectors: [Q, B, N, C] (depth first; Q = 1 where there is one), copied.
            codes: [Q, B, N] int64.
        """
        if codes.numel() and self.collects:
            self.pending.append((vectors.detach().float().clone(), codes.clone()))

    def discard(self) -> None:
        """Forget what was collected."""
        self.pending = []

    @torch.no_grad()
    def commit(self) -> None:
        """Make one update from all that was collected, over all ranks; nothing where no rank collected anything."""
        if not self.collects:
            return
        gathered = self._gather_pending()
        if gathered is None:
            return
        vectors, codes, batches = gathered
        self.pending = []
        if self.start is not None and self.start.needs_data and int(self.updates) == self.delay:
            self._begin_from(vectors, batches, self.start)
        else:
            count, total = statistics(vectors.flatten(0, -2), codes.flatten(), self.size)
            distributed.sum_in_place(count, total)
            self.cluster_size.mul_(self.decay).add_(count, alpha=1 - self.decay)
            self.learn(total)
            self.refresh(vectors, count, batches)
            self.settle()
        self.updates += 1

    # ---- what a subclass says ---------------------------------------------------------------------------------

    @property
    def collects(self) -> bool:
        """Whether training forwards collect anything at all."""
        return True

    def learn(self, total: Tensor) -> None:
        """Take the sums [K, C] of the vectors of each code into account; `cluster_size` is new already."""

    def refresh(self, vectors: Tensor, count: Tensor, batches: list[int]) -> None:
        """Give rows that are hardly used something to do: by default codes below `restart` restart.

        Args:
            vectors: this rank's [Q, B, N, C].
            count: vectors of each code [K], over all ranks.
            batches: B of every rank.
        """
        if self.restart > 0:
            self._restart(vectors, batches)

    def replace(self, codes: Tensor, rows: Tensor) -> None:
        """Give codes [R] new rows [R, C]."""
        raise NotImplementedError

    def settle(self) -> None:
        """Finish an update: bring the table up to date."""

    def begin(self, table: Tensor, count: Tensor | None) -> None:
        """Start from a table [K, C], with the number of vectors [K] of each row (None: not known)."""
        raise NotImplementedError

    # ---- the parts of an update -------------------------------------------------------------------------------

    def _gather_pending(self) -> tuple[Tensor, Tensor, list[int]] | None:
        """Join the micro-batches along B; every rank takes part, also one that collected nothing.

        Returns:
            vectors [Q,B,N,C], codes [Q,B,N], batch sizes of all ranks; None when no rank has anything.
        """
        parallel = distributed.get_world_size() > 1
        if not self.pending and not parallel:
            return None
        if self.pending:
            vectors = torch.cat([v for v, _ in self.pending], 1)
            codes = torch.cat([c for _, c in self.pending], 1)
            shape = [vectors.shape[0], vectors.shape[1], vectors.shape[2]]
        else:
            shape = [0, 0, 0]
        if not parallel:
            return vectors, codes, [shape[1]]
        mine = torch.tensor(shape, device=self.weight.device)
        shapes = [s.tolist() for s in distributed.gather_tensor(mine)]
        depth, _, tokens = max(shapes)
        if depth == 0:
            return None
        if not self.pending:
            vectors = self.weight.new_zeros(depth, 0, tokens, self.dim)
            codes = torch.zeros(depth, 0, tokens, dtype=torch.int64, device=self.weight.device)
        return vectors, codes, [s[1] for s in shapes]

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.updates))

    def _begin_from(self, vectors: Tensor, batches: list[int], start: Any) -> None:
        """Begin from vectors of the global batch, the same on every rank."""
        total = vectors.shape[0] * sum(batches) * vectors.shape[2]
        generator = self._generator()
        rows = take_rows(vectors, batches, torch.randperm(total, generator=generator)[:start.limit])
        self.begin(*start(rows, self.size, generator))

    def _restart(self, vectors: Tensor, batches: list[int]) -> None:
        """Give unused codes a vector of the global batch [Q, sum of batches, N, C], picked by a shared generator."""
        dead = (self.cluster_size < self.restart).nonzero().squeeze(1)
        if not len(dead):
            return
        depth, _, tokens, dim = vectors.shape
        picks, noise = draw(depth * sum(batches) * tokens, len(dead), dim, self._generator())
        self.replace(dead, take_rows(vectors, batches, picks) + noise.to(vectors.device))
        self.cluster_size[dead] = 1.0
        self.restarts += len(dead)
