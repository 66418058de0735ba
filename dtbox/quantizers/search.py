"""Exact nearest-code search, in blocks that stay in cache, so that no more than a block of the distance matrix ever
exists.

argmin_k |z - E_k|^2 = argmax_k (z . E_k - |E_k|^2 / 2): the half-norms are one more channel of a single matrix product,
[z, 1] with [E, -|E|^2 / 2]. Ties go to the first index, as argmin does.

On the CPU the codes of a tile are laid out in groups: column i * G + g of the tile holds member i of group g, so that
the best score of every group is a vectorised maximum over the members. Only the winning group is then looked into,
member by member. That is two to three times faster than an argmax over all scores, and it is exact: groups are runs of
neighbouring codes, so the first best group and the first best member in it are the first best code.

Legend: M vectors, K codes, C code width, T codes of a tile, G groups of a tile, I members of a group.
"""
from __future__ import annotations

import contextlib
import functools
import threading
from typing import Callable, Iterator

import torch
from torch import Tensor

MEMBERS = 32
"""Codes of a group (I)."""
TILE = 4096
"""Most codes of a tile (T)."""
ENTRIES = 1 << 20
"""Scores that exist at a time for each thread: 4 MB."""
DEVICE_ENTRIES = 1 << 26
"""Scores that exist at a time on another device than the CPU: 256 MB."""


class CodeSearch:
    """A codebook prepared for search: worth keeping while the codebook does not change, as over the depths of a
    residual quantizer.

    Args:
        codebook: [K, C]; searched in float32. Copied.
    """

    def __init__(self, codebook: Tensor) -> None:
        table = codebook.detach().float()
        table = torch.cat([table, table.pow(2).sum(1, keepdim=True).mul_(-0.5)], 1)
        self.size, self.device = len(table), table.device
        if self.device.type == 'cpu':
            self.tiles = [(start, *_grouped(table[start:start + TILE])) for start in range(0, self.size, TILE)]
        else:
            self.table = table.t().contiguous()

    @torch.no_grad()
    def __call__(self, z: Tensor) -> Tensor:
        """z [M, C] -> nearest codes [M] int64 in [0, K)."""
        codes = torch.empty(len(z), dtype=torch.int64, device=z.device)
        if not len(z):
            return codes
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            z = torch.cat([z, z.new_ones(len(z), 1)], 1)
            if self.device.type == 'cpu':
                self._search(z, codes)
            else:
                with full_precision():
                    best = _best_compiled() if z.is_cuda else _best
                    for rows, out in zip(*(t.split(max(1, DEVICE_ENTRIES // self.size)) for t in (z, codes))):
                        out.copy_(best(rows, self.table))
        return codes

    def _search(self, z: Tensor, codes: Tensor) -> None:
        widest = max(table.shape[1] for _, table, _ in self.tiles)
        rows = max(16, torch.get_num_threads() * ENTRIES // widest)
        memory = _take_scratch(z, min(rows, len(z)) * widest)
        for start in range(0, len(z), rows):
            part = z[start:start + rows]
            best = None
            winner = None
            for first, table, groups in self.tiles:
                score, code = _best_of_tile(part, table, groups, memory)
                code += first
                if best is None:
                    best, winner = score, code
                else:
                    better = score > best  # a later tile has to be better, not as good
                    best, winner = torch.where(better, score, best), torch.where(better, code, winner)
            codes[start:start + rows] = winner


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
