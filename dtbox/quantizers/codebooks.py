"""Codebooks: the table of a quantizer and how it learns.

`EMACodebook` keeps exponential moving averages of counts and sums (VQ-VAE, arXiv 1711.00937, appendix A.1), with the
restart of unused codes (Jukebox, arXiv 2005.00341) as RQ-VAE (arXiv 2203.01941) and DualToken do it.

Legend: M vectors, K codes, C code width.
"""
import torch
import torch.distributed as dist
import torch.nn as nn

from dtbox.quantizers.base import check_sizes
from dtbox.quantizers.search import nearest_codes
from dtbox.registry import CODEBOOKS


def sum_over_ranks(*tensors):
    """Sum tensors in place over all ranks; nothing to do for one process."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        for t in tensors:
            dist.all_reduce(t)


FADED = 1e-3
"""Averaged count below which a row is left as it is."""


@CODEBOOKS.register_module()
class EMACodebook(nn.Module):
    """A table [K, C] that follows its vectors by exponential moving averages.

    The statistics of all vectors collected since the last commit, over micro-batches and ranks, make one update:
    n <- decay n + (1 - decay) count, s <- decay s + (1 - decay) sum, E = s / smoothed n. A code whose averaged count falls
    below `restart` takes a vector of the global batch, drawn by a generator that all ranks share, so that n ranks equal one.

    Args:
        size: number of codes K.
        dim: code width C.
        decay: of the averages, per update.
        restart: threshold of the averaged count below which a code restarts; 0 never restarts.
        eps: of the Laplace smoothing.
        seed: of the draws.
    """

    def __init__(self, size, dim, decay=0.99, restart=1.0, eps=1e-5, seed=0):
        super().__init__()
        check_sizes(size=size, dim=dim)
        self.size, self.dim, self.decay, self.restart, self.eps, self.seed = size, dim, decay, restart, eps, seed
        weight = torch.randn(size, dim)
        self.register_buffer('weight', weight)
        # without restart an unused code would be divided by a count near 0: let each start as if it had been used once
        self.register_buffer('cluster_size', torch.zeros(size) if restart > 0 else torch.ones(size))
        self.register_buffer('embed_sum', weight.clone())
        self.register_buffer('updates', torch.zeros((), dtype=torch.int64))
        self.pending = []

    def search(self, z):
        """z [M, C] -> nearest codes [M] int64."""
        return nearest_codes(z, self.weight)

    def lookup(self, codes):
        """codes [...] int64 -> rows [..., C]."""
        return nn.functional.embedding(codes, self.weight)

    def collect(self, vectors, codes):
        """Keep what a training forward found, for the next commit.

        Args:
            vectors: [Q, B, N, C] (depth first; Q = 1 where there is one), copied.
            codes: [Q, B, N] int64.
        """
        if codes.numel():
            self.pending.append((vectors.detach().float().clone(), codes.clone()))

    def discard(self):
        """Forget what was collected."""
        self.pending = []

    @torch.no_grad()
    def commit(self):
        """Make one update from all that was collected, over all ranks; nothing where no rank collected anything."""
        vectors, codes, batches = self._gathered_pending()
        if vectors is None:
            return
        self.pending = []
        count, total = statistics(vectors.flatten(0, -2), codes.flatten(), self.size)
        sum_over_ranks(count, total)
        self.cluster_size.mul_(self.decay).add_(count, alpha=1 - self.decay)
        self.embed_sum.mul_(self.decay).add_(total, alpha=1 - self.decay)
        if self.restart > 0:
            self._restart(vectors, batches)
        table = smoothed(self.cluster_size, self.embed_sum, self.eps)
        # a code that has not been used for long keeps its row: its sums have faded away, and the smoothing would pull it to zero
        self.weight.copy_(torch.where(self.cluster_size[:, None] < FADED, self.weight, table))
        self.updates += 1

    def _gathered_pending(self):
        """Join the micro-batches along B; every rank takes part, also one that collected nothing.

        Returns:
            vectors [Q,B,N,C], codes [Q,B,N], batch sizes of all ranks; (None, None, None) when no rank has anything.
        """
        parallel = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not self.pending and not parallel:
            return None, None, None
        if self.pending:
            vectors = torch.cat([v for v, _ in self.pending], 1)
            codes = torch.cat([c for _, c in self.pending], 1)
            shape = [vectors.shape[0], vectors.shape[1], vectors.shape[2]]
        else:
            shape = [0, 0, 0]
        if not parallel:
            return vectors, codes, [shape[1]]
        mine = torch.tensor(shape, device=self.weight.device)
        shapes = [torch.zeros_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(shapes, mine)
        shapes = [s.tolist() for s in shapes]
        depth, _, tokens = max(shapes)
        if depth == 0:
            return None, None, None
        if not self.pending:
            vectors = self.weight.new_zeros(depth, 0, tokens, self.dim)
            codes = torch.zeros(depth, 0, tokens, dtype=torch.int64, device=self.weight.device)
        return vectors, codes, [s[1] for s in shapes]

    def _restart(self, vectors, batches):
        """Give unused codes a vector of the global batch [Q, sum of batches, N, C], picked by a shared generator."""
        dead = (self.cluster_size < self.restart).nonzero().squeeze(1)
        if not len(dead):
            return
        depth, _, tokens, dim = vectors.shape
        whole = sum(batches)
        rank = dist.get_rank() if len(batches) > 1 else 0
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.updates))
        picks, noise = draw(depth * whole * tokens, len(dead), dim, generator)
        rows = self.weight.new_zeros(len(dead), dim)
        d, rest = picks // (whole * tokens), picks % (whole * tokens)
        b, n = rest // tokens - sum(batches[:rank]), rest % tokens
        mine = ((b >= 0) & (b < batches[rank])).nonzero().squeeze(1)
        device = vectors.device
        rows[mine.to(device)] = vectors[d[mine].to(device), b[mine].to(device), n[mine].to(device)]
        if len(batches) > 1:
            sum_over_ranks(rows)
        self.embed_sum[dead] = rows + noise.to(device)
        self.cluster_size[dead] = 1.0


def draw(candidates, wanted, dim, generator):
    """Pick candidates for dead codes.

    Without repetition where there are enough; otherwise they repeat, with one-sided noise U[0,1) * 0.01 / sqrt(C) that tells
    the copies apart (RQ-VAE's rule).

    Returns:
        picks [wanted] int64, noise [wanted, dim] (zeros where none is needed).
    """
    if candidates >= wanted:
        return torch.randperm(candidates, generator=generator)[:wanted], torch.zeros(wanted, dim)
    copies = -(-wanted // candidates)
    picks = torch.randperm(candidates * copies, generator=generator)[:wanted] % candidates
    return picks, torch.rand(wanted, dim, generator=generator) * 0.01 / dim ** 0.5


def statistics(vectors, codes, size):
    """Count and sum the vectors of each code, without a one-hot matrix.

    Args:
        vectors: [M, C] float32.
        codes: [M] int64.
        size: number of codes K.

    Returns:
        count [K], total [K, C], float32.
    """
    count = torch.bincount(codes, minlength=size).to(vectors.dtype)
    return count, vectors.new_zeros(size, vectors.shape[1]).index_add_(0, codes, vectors)


def smoothed(cluster_size, embed_sum, eps):
    """Return the table: sums over Laplace-smoothed counts (spec: n (c + eps) / (n + K eps))."""
    n = cluster_size.sum()
    return embed_sum / (n * (cluster_size + eps) / (n + len(cluster_size) * eps)).unsqueeze(1)
