"""Made-up outputs, and ranks that are threads: the collectives meet at a barrier, so a rank that stays away is a
deadlock here too."""
import threading

import pytest
import torch

from dtbox import distributed
from dtbox.evaluation import EvalContext
from dtbox.registry import METRICS
from dtbox.structures import Batch, TeacherOutput, TokenizerOutput

# Q codes of K for N tokens of width D, embeddings of width E, images of S pixels
Q = 2
K = 16
N = 4
D = 6
E = 5
S = 12


def _embed_text(texts):
    """Deterministic unit vectors of width E."""
    rows = [torch.randn(E, generator=torch.Generator().manual_seed(sum(map(ord, t)))) for t in texts]
    return torch.nn.functional.normalize(torch.stack(rows), dim=1)


def _teacher(images):
    return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)[:, :E] * 3


@pytest.fixture
def context():
    """An EvalContext that fits `make`."""
    return EvalContext(classes=[f'class {i}' for i in range(7)], embed_text=_embed_text, teacher=_teacher,
                       vocabularies=dict(pixel=(Q, [K] * Q), semantic=(1, [K // 2])))


@pytest.fixture
def build(context):
    """Return build(name, **arguments) -> a metric of the registry that knows the context."""
    def build(name, **kwargs):
        metric = METRICS.build(dict(type=name, **kwargs))
        metric.setup(context)
        return metric
    return build


@pytest.fixture
def make():
    """Return make(n, seed, sets=None) -> (Batch, TokenizerOutput) of n samples with everything there."""
    return _make


def _make(n, seed=0, sets=None, texts=True):
    g = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 3, S, S, generator=g) * 2 - 1
    text = torch.randn(n, E, generator=g)
    noisy = [text + s * torch.randn(n, E, generator=g) for s in (0.5, 0.8)]
    tokens = torch.randn(n, N, D, generator=g)
    outputs = TokenizerOutput(
        images=images, reconstructions=images + 0.2 * torch.randn(n, 3, S, S, generator=g),
        codes=dict(pixel=torch.randint(0, K, (n, N, Q), generator=g),
                   semantic=torch.randint(0, K // 2, (n, N, 1), generator=g)),
        features=dict(semantic=tokens + 0.3 * torch.randn(n, N, D, generator=g)),
        losses=dict(pixel=dict(commitment=torch.tensor(0.1))), pooled=noisy[1], text_pooled=text,
        logit_scale=torch.tensor(2.0), teacher=TeacherOutput(tokens=tokens, pooled=noisy[0]))
    batch = Batch(images=(images * 127.5 + 127.5).byte(), texts=[f'text {seed} {i}' for i in range(n)] if texts
                  else None, labels=torch.randint(0, 7, (n,), generator=g), sets=sets,
                  keys=[f'{seed}-{i}' for i in range(n)])
    return batch, outputs


class ThreadRanks:
    """Stand-in for torch.distributed: `run(work, n)` calls work(rank) in n threads that share the collectives."""

    def __init__(self, monkeypatch):
        self.local = threading.local()
        monkeypatch.setattr(distributed, 'get_rank', lambda: getattr(self.local, 'rank', 0))
        monkeypatch.setattr(distributed, 'gather_objects', self.gather)
        monkeypatch.setattr(distributed, 'gather_tensor', self.gather_equal)
        monkeypatch.setattr(distributed, 'sum_tensor', lambda t: torch.stack(self.gather_equal(t)).sum(dim=0))

    def gather_equal(self, tensor):
        parts = self.gather(tensor)
        assert len({(p.shape, p.dtype) for p in parts}) == 1, 'ranks met in one collective with different tensors'
        return parts

    def gather(self, value):
        if not hasattr(self.local, 'rank'):  # outside `run`: a single rank
            return [value]
        self.slots[self.local.rank] = value
        self.barrier.wait(timeout=10)
        values = list(self.slots)
        self.barrier.wait(timeout=10)
        return values

    def run(self, work, n=2):
        self.slots, self.barrier = [None] * n, threading.Barrier(n)
        results, errors = [None] * n, []

        def go(rank):
            self.local.rank = rank
            try:
                results[rank] = work(rank)
            except Exception as e:
                errors.append(e)
                self.barrier.abort()

        threads = [threading.Thread(target=go, args=(r,)) for r in range(n)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if errors:
            raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
        return results


@pytest.fixture
def thread_ranks(monkeypatch):
    """Return a ThreadRanks."""
    return ThreadRanks(monkeypatch)
