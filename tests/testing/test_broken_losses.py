"""The contract of losses finds what it looks for: for every check a loss with one fault."""
import pytest
import torch
import torch.nn as nn

from dtbox.losses.base import Loss
from dtbox.losses.pixel import L2Loss
from tests.testing.broken_kit import Faults

FAULTS = Faults('loss')
breaks = FAULTS.breaks


@breaks('legal_paths')
class ReadsAnOddPath(L2Loss):
    requires = ('reconstructions', 'images', 'teacher.logits')


@breaks('reads_what_it_requires')
class ReadsMore(L2Loss):
    def terms(self, outputs, batch):
        return {'l2': super().terms(outputs, batch)['l2'] + self.read(outputs, 'pooled').mean()}


@breaks('names')
class SaysLoss(L2Loss):
    names = ('pixel_loss',)

    def terms(self, outputs, batch):
        return {'pixel_loss': super().terms(outputs, batch)['l2']}


@breaks('scalars')
class OnePerImage(L2Loss):
    def terms(self, outputs, batch):
        made, images = self.read_pair(outputs, *self.requires)
        return {'l2': (made - images).square().mean((1, 2, 3))}


@breaks('gradients')
class TrainsTheTeacher(Loss):
    requires = ('features.semantic', 'teacher.tokens')
    names = ('distance',)

    def terms(self, outputs, batch):
        student, teacher = self.read_pair(outputs, *self.requires)
        return {'distance': (student - teacher).square().mean()}


@breaks('finite_where_it_is_best')
class RootOfNothing(L2Loss):
    def terms(self, outputs, batch):
        return {'l2': super().terms(outputs, batch)['l2'].sqrt()}


@breaks('raw')
class WeighsItself(L2Loss):
    def __init__(self, weight=1.0):
        super().__init__()


@breaks('autocast')
class HalfPrecision(L2Loss):
    def forward(self, outputs, batch):
        made, images = outputs.reconstructions, outputs.images
        product = torch.nn.functional.linear(made.flatten(1), images.flatten(1))
        return {'l2': product.float().mean()}


@breaks('order_of_images')
class FirstCountsMore(L2Loss):
    def terms(self, outputs, batch):
        made, images = self.read_pair(outputs, *self.requires)
        each = (made - images).square().mean((1, 2, 3))
        return {'l2': each.mean() + each[0]}


@breaks('one_image')
class Deviation(L2Loss):
    def terms(self, outputs, batch):
        made, images = self.read_pair(outputs, *self.requires)
        return {'l2': (made - images).square().mean((1, 2, 3)).std()}


@breaks('leaves_state')
class Averages(L2Loss):
    def __init__(self):
        super().__init__()
        self.register_buffer('average', torch.zeros(()))

    def terms(self, outputs, batch):
        terms = super().terms(outputs, batch)
        self.average.copy_(terms['l2'].detach())
        return terms


@breaks('nothing_to_train')
class Learns(L2Loss):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


@pytest.mark.parametrize('check', FAULTS.checks)
def test_the_fault_is_found(check):
    FAULTS.require_found(check)


def test_a_loss_that_swallows_what_is_missing():
    """Without what it requires a loss must not fall back on something else."""
    class FallsBack(L2Loss):
        def terms(self, outputs, batch):
            if outputs.reconstructions is None:
                return {'l2': outputs.images.mean() * 0}
            return super().terms(outputs, batch)
    result = FAULTS.run(FallsBack, 'reads_what_it_requires')
    assert result.status == 'fails' and 'without `reconstructions`, which it requires' in result.detail
