"""Exact nearest-code search, in blocks that stay in cache, so that no more than a block of the distance matrix ever
exists.

argmin_k |z - E_k|^2 = argmax_k (z . E_k - |E_k|^2 / 2): the half-norms are one more channel of a single matrix product,
[z, 1] with [E, -|E|^2 / 2]. Ties go to the first index, as argmin does.

On the CPU the codes of a tile are laid out in groups: column i * G + g of the tile holds member i of group g, so that
the best score of every group is a vectorised maximum over the members. Only the winning group is then looked into,
member by member. That is two to three times faster than an argmax over all scores, and it is exact: groups are runs of
neighbouring codes, so the first best group and the first best member in it are the first best code.

Where the CPU multiplies bfloat16, a coarse product (`dtbox/quantizers/coarse.py`) first tells which groups can hold the
nearest code, and only these are searched in float32. The codes are the same, near ties included: the sums of a vector
and a code do not depend on how many others stand beside them, from LEAST_ROWS vectors on.

Legend: M vectors, K codes, C code width, T codes of a tile, G groups of a tile, I members of a group.
"""
from __future__ import annotations

import contextlib
import functools
import threading
from typing import Callable, Iterator

import torch
from torch import Tensor

from dtbox.quantizers import coarse

MEMBERS = 32
"""Codes of a group (I)."""
TILE = 4096
"""Most codes of a tile (T)."""
ENTRIES = 1 << 20
"""Scores that exist at a time for each thread: 4 MB."""
DEVICE_ENTRIES = 1 << 26
"""Scores that exist at a time on another device than the CPU: 256 MB."""


LEAST_ROWS = 4
"""Products of fewer vectors add up in another order."""
WORTH = 1 << 28
LEAST_VECTORS = 512
"""Multiplications and vectors from which on a coarse product pays for the table in bfloat16."""


class CodeSearch:
    """A codebook prepared for search: worth keeping while the codebook does not change, as over the depths of a
    residual quantizer.

    Args:
        codebook: [K, C]; searched in float32. It must not change while this object lives.
    """

    def __init__(self, codebook: Tensor) -> None:
        self.codebook = codebook.detach().float()
        self.size, self.device = len(self.codebook), self.codebook.device
        self.plain = not _may_be_coarse(self.codebook)
        if self.device.type != 'cpu':
            self.table = _with_half_norms(self.codebook).t().contiguous()

    @functools.cached_property
    def tiles(self) -> list[tuple[int, Tensor, int]]:
        """(first code, table [C + 1, T], groups) of each tile."""
        return [(start, *_grouped(_with_half_norms(part)))
                for start, part in zip(range(0, self.size, TILE), self.codebook.split(TILE))]

    @functools.cached_property
    def coarse(self) -> tuple[coarse.CoarseTable, Tensor]:
        """The table in bfloat16, and the rows of float32 [K, C + 1] for what it leaves open."""
        return coarse.CoarseTable(self.codebook), _with_half_norms(self.codebook)

    @torch.no_grad()
    def __call__(self, z: Tensor) -> Tensor:
        """z [M, C] -> nearest codes [M] int64 in [0, K)."""
        codes = torch.empty(len(z), dtype=torch.int64, device=z.device)
        if not len(z):
            return codes
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            if self.device.type == 'cpu':
                self._search_in_parts(z, codes)
            else:
                z = torch.cat([z, z.new_ones(len(z), 1)], 1)
                with full_precision():
                    best = _best_compiled() if z.is_cuda else _best
                    for rows, out in zip(*(t.split(max(1, DEVICE_ENTRIES // self.size)) for t in (z, codes))):
                        out.copy_(best(rows, self.table))
        return codes

    def _search_in_parts(self, z: Tensor, codes: Tensor) -> None:
        """Coarse search where it pays, until it leaves most vectors open; then plain search."""
        start = 0
        worth = type(z) is Tensor and len(z) >= LEAST_VECTORS and len(z) * self.codebook.numel() >= WORTH
        while worth and start < len(z) and not self.plain:
            rows = max(256, torch.get_num_threads() * coarse.MAXIMA // self.coarse[0].groups)
            part = z[start:start + rows]
            self.plain = self._search_coarse(part, codes[start:start + rows]) > len(part) // 2
            start += rows
        if start < len(z):
            self._search(z[start:], codes[start:])

    def _search_coarse(self, z: Tensor, codes: Tensor) -> int:
        """Search the groups that the coarse product leaves; returns how many vectors it could say nothing about."""
        table = self.coarse[0]
        rows, counts, rest = table.find(z, _take_scratch)
        if len(rest):
            found = torch.empty_like(rest)
            self._search(z[rest], found)
            codes[rest] = found
        if len(rows):
            top, member = self._scores(z, rows, counts, table.members).max(1)
            groups = torch.arange(len(counts)).repeat_interleave(counts)
            best = top.new_full((len(z),), float('-inf')).scatter_reduce_(0, rows, top, 'amax')
            code = torch.where(top == best[rows], groups * table.members + member, self.size)
            codes.scatter_reduce_(0, rows, code, 'amin', include_self=False)
        return len(rest)

    def _scores(self, z: Tensor, rows: Tensor, counts: Tensor, members: int) -> Tensor:
        """Scores [P, members] of pairs of a vector and a group, sorted by group; -inf where the last group has no more
        codes."""
        pairs = torch.cat([z, z.new_ones(len(z), 1)], 1)[rows]
        scores = pairs.new_full((len(pairs), members), float('-inf'))
        start = 0
        for group, count in enumerate(counts.tolist()):
            if count:
                part = _enough(pairs[start:start + count])
                codes = self.coarse[1][group * members:(group + 1) * members]
                scores[start:start + count, :len(codes)] = torch.mm(part, codes.t())[:count]
                start += count
        return scores

    def _search(self, z: Tensor, codes: Tensor) -> None:
        """All scores in float32."""
        z = torch.cat([z, z.new_ones(len(z), 1)], 1)
        widest = max(table.shape[1] for _, table, _ in self.tiles)
        rows = max(16, torch.get_num_threads() * ENTRIES // widest)
        memory = _take_scratch(z, max(LEAST_ROWS, min(rows, len(z))) * widest)
        for start in range(0, len(z), rows):
            part = z[start:start + rows]
            count, part = len(part), _enough(part)
            best, winner = _best_of_tile(part, *self.tiles[0][1:], memory)
            for first, table, groups in self.tiles[1:]:
                score, code = _best_of_tile(part, table, groups, memory)
                better = score > best  # a later tile has to be better, not as good
                best, winner = torch.where(better, score, best), torch.where(better, code + first, winner)
            codes[start:start + rows] = winner[:count]


def _may_be_coarse(table: Tensor) -> bool:
    """Whether a coarse search can pay for a table [K, C]."""
    return type(table) is Tensor and table.device.type == 'cpu' and len(table) >= 1024 \
        and not torch.compiler.is_compiling() and coarse.has_fast_products()


def _with_half_norms(table: Tensor) -> Tensor:
    """Rows [K, C] -> [K, C + 1]."""
    return torch.cat([table, table.pow(2).sum(1, keepdim=True).mul_(-0.5)], 1)


def _enough(rows: Tensor) -> Tensor:
    """Rows, repeated to LEAST_ROWS where they are fewer."""
    return rows if len(rows) >= LEAST_ROWS else rows[torch.arange(LEAST_ROWS) % len(rows)]


def traced_search(codebook: Tensor) -> Callable[[Tensor], Tensor]:
    """As CodeSearch, without tiles: plain operations that torch.export and ONNX can hold."""
    table = codebook.float()
    return lambda z: (z.float() @ table.t() - table.pow(2).sum(1) / 2).argmax(1)


def make_search(codebook: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function z [M, C] -> nearest codes [M] for as long as the table [K, C] does not change; while a graph is
    exported, one that the graph can hold."""
    return traced_search(codebook) if torch.compiler.is_exporting() else CodeSearch(codebook)


def nearest_codes(z: Tensor, codebook: Tensor) -> Tensor:
    """Find the nearest row of a codebook for each vector.

    Args:
        z: [M, C] vectors; searched in float32.
        codebook: [K, C].

    Returns:
        [M] int64 in [0, K).
    """
    return make_search(codebook)(z)


_SCRATCH = threading.local()


def _take_scratch(like: Tensor, size: int) -> Tensor:
    """Return at least `size` float32 without values; a thread gets the same memory each time, as fresh pages cost more
    than they look."""
    if type(like) is not Tensor:  # of a trace, which memory of other calls must not enter
        return like.new_empty(size)
    kept = getattr(_SCRATCH, 'memory', None)
    if kept is None or kept.numel() < size:
        with torch.inference_mode(False):
            kept = torch.empty(size, device='cpu', dtype=torch.float32)
        _SCRATCH.memory = kept
    return kept


def _grouped(rows: Tensor) -> tuple[Tensor, int]:
    """Rows [k, C + 1] -> a tile's table [C + 1, I * G] and its number of groups; padded with rows that no vector is
    near to."""
    groups = -(-len(rows) // MEMBERS)
    missing = groups * MEMBERS - len(rows)
    if missing:
        padding = rows.new_zeros(missing, rows.shape[1])
        padding[:, -1] = float('-inf')
        rows = torch.cat([rows, padding])
    return rows.view(groups, MEMBERS, -1).permute(2, 1, 0).reshape(rows.shape[1], -1).contiguous(), groups


def _best_of_tile(z: Tensor, table: Tensor, groups: int, memory: Tensor) -> tuple[Tensor, Tensor]:
    """z [m, C + 1] -> best score [m] and code within the tile [m]."""
    scores = memory[:len(z) * table.shape[1]].view(len(z), table.shape[1])
    torch.mm(z, table, out=scores)
    scores = scores.view(len(z), MEMBERS, groups)
    best, group = scores.amax(1).max(1)
    inside = scores.gather(2, group[:, None, None].expand(-1, MEMBERS, 1)).squeeze(2)
    return best, group * MEMBERS + inside.argmax(1)


def _best(z: Tensor, table: Tensor) -> Tensor:
    """z [m, C + 1], table [C + 1, K] -> nearest codes [m]."""
    return (z @ table).argmax(1)


@functools.lru_cache(1)
def _best_compiled() -> Callable:
    """`_best` as one compiled graph where torch can compile for the GPU, so that the scores are read once."""
    from torch.utils._triton import has_triton
    return torch.compile(_best, dynamic=True) if has_triton() else _best


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Keep TF32 out of the products of a block: it would give other codes."""
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
