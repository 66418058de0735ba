"""The contract of visual heads finds what it looks for: for every check a head with one fault."""
import pytest
import torch

from dtbox.structures import HeadLosses
from dtbox.visual_heads.delay import DelayHead
from dtbox.visual_heads.parallel import ParallelHead
from tests.testing.broken_kit import Faults

FAULTS = Faults('visual_head')
breaks = FAULTS.breaks


@breaks('expands')
class ForgetsTheDelay(DelayHead):
    def collapse(self, steps):
        return {name: value[:, :self.tables.places] for name, value in steps.items()}


@breaks('losses')
class MeansNotSums(ParallelHead):
    def losses(self, hidden, codes, keep_share=1.0, generator=None):
        found = super().losses(hidden, codes, keep_share, generator)
        return HeadLosses({name: value / len(hidden) for name, value in found.sums.items()}, found.counts)


@breaks('starts_at_chance')
class LargeWeights(ParallelHead):
    def __init__(self, tables, width, inner):
        super().__init__(tables, width, inner)
        for part in self.parts:
            part.classifiers.weight.data *= 10


@breaks('no_steps')
class SkipsNoSteps(ParallelHead):
    def _sum_losses(self, hidden, codes):
        if not len(hidden):
            return {name: torch.zeros(depth, requires_grad=True) for name, depth in self.depths.items()}
        return super()._sum_losses(hidden, codes)


@breaks('empty_cells')
class EmptyIsTheFirstCode(ParallelHead):
    def losses(self, hidden, codes, keep_share=1.0, generator=None):
        first = {name: value.clamp(min=0) for name, value in codes.items()}
        return super().losses(hidden, first, keep_share, generator)


@breaks('keeps_some')
class KeepsAll(ParallelHead):
    def losses(self, hidden, codes, keep_share=1.0, generator=None):
        return super().losses(hidden, codes)


@breaks('samples_as_logits')
class DrawsTheNext(ParallelHead):
    def _draw(self, hidden, sampler, step):
        return {name: (codes + 1) % 5 for name, codes in super()._draw(hidden, sampler, step).items()}


@breaks('rows_alone')
class OneGeneratorForAll(ParallelHead):
    def sample(self, hidden, rule, guidance=None, generators=(), step=0):
        return super().sample(hidden, rule, guidance, [generators[0]] * len(generators), step)


@breaks('guides')
class OneTooFar(ParallelHead):
    def _draw(self, hidden, sampler, step):
        if sampler.guidance is not None:
            given, none = hidden.chunk(2)
            hidden = torch.cat([2 * given - none, none])
        return super()._draw(hidden, sampler, step)


@breaks('gradients')
class UnusedWeights(ParallelHead):
    def __init__(self, tables, width, inner):
        super().__init__(tables, width, inner)
        self.more = torch.nn.Linear(2, 2)


@breaks('state_dict')
class CountsSteps(ParallelHead):
    def __init__(self, tables, width, inner):
        super().__init__(tables, width, inner)
        self.register_buffer('seen', torch.zeros(1))


@breaks('wrong_states')
class TakesAnything(ParallelHead):
    def _check(self, hidden, codes):
        pass

    def _sum_losses(self, hidden, codes):
        rows = min(len(hidden), *map(len, codes.values()))
        full = torch.nn.functional.pad(hidden, (0, self.width - hidden.shape[1]))
        return super()._sum_losses(full[:rows], {name: value[:rows] for name, value in codes.items()})


@breaks('autocast')
class InHalf(ParallelHead):
    def _cast(self, hidden):
        hidden = super()._cast(hidden)
        return hidden.bfloat16().float() if torch.is_autocast_enabled('cpu') else hidden

    def losses(self, hidden, codes, keep_share=1.0, generator=None):
        return super().losses(self._cast(hidden), codes, keep_share, generator)


@pytest.mark.parametrize('check', FAULTS.checks)
def test_fault_is_found(check):
    FAULTS.require_found(check)
