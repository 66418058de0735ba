"""The contract of metrics finds what it looks for: for every check a metric with one fault."""
import pytest
import torch
import torch.distributed as dist

from dtbox.evaluation.pixels import PSNR
from tests.testing.broken_kit import Faults

FAULTS = Faults('metric')
breaks = FAULTS.breaks


@breaks('values')
class SpacesInNames(PSNR):
    def values(self):
        return {f'my {name}': value for name, value in super().values().items()}


@breaks('description')
class DescribesAnother(PSNR):
    def values(self):
        return dict(super().values(), brightness=1.0)


@breaks('streaming')
class MeanOfBatches(PSNR):
    """Every batch counts the same, whatever its size."""

    def update(self, batch, outputs):
        self.add('batches', torch.tensor(1.0))
        self.add('means', self.score(outputs).mean())

    def values(self):
        return dict(psnr=self.state['means'] / self.state['batches'])


@breaks('merge')
class KeepsTheLarger(PSNR):
    def merge(self, other):
        return self if self.state['sum'] > other.state['sum'] else other


@breaks('fresh')
class SharesItsList(PSNR):
    """A list that `reset` does not make anew."""

    def __init__(self, prefix=''):
        self.rows = []
        super().__init__(prefix)

    def update(self, batch, outputs):
        self.rows += self.score(outputs).tolist()

    def values(self):
        return dict(psnr=sum(self.rows) / len(self.rows) + len(self.rows))


@breaks('missing_parts')
class NoReason(PSNR):
    def leave_out(self, reason, pictures):
        pass


@breaks('samples')
class KeepsOneOfABatch(PSNR):
    def update(self, batch, outputs):
        super().update(batch, outputs)
        self.keep('first', self.score(outputs)[:1], torch.tensor([0]))


@breaks('no_gradient')
class ClampsInPlace(PSNR):
    def score(self, outputs):
        outputs.reconstructions.clamp_(-0.5, 0.5)
        return super().score(outputs)


@breaks('two_ranks')
class OfItsOwnRank(PSNR):
    def sync(self):
        super().sync()
        if dist.is_initialized():
            self.state['sum'] = self.state['sum'] + dist.get_rank()


@pytest.mark.parametrize('check', FAULTS.checks)
def test_the_fault_is_found(check):
    FAULTS.require_found(check)
