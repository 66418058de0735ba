"""The contract of heads finds what it looks for: for every check a head with one fault."""
import pytest
import torch

from dtbox.heads.pools import MeanPool
from tests.testing.broken_kit import Faults

FAULTS = Faults('head', in_dim=32, out_dim=8)
breaks = FAULTS.breaks


@breaks('shape')
class OneTooWide(MeanPool):
    def __init__(self, in_dim, out_dim):
        super().__init__(in_dim, out_dim)
        self.pooled_dim += 1


def test_embeddings_in_half_are_found():
    class Half(MeanPool):
        def forward(self, tokens, encoder):
            return super().forward(tokens, encoder).half()
    result = FAULTS.run(Half, 'shape')
    assert result.status == 'fails' and 'a float16 tensor' in result.detail


@breaks('stands_alone')
class SeesTheBatch(MeanPool):
    def forward(self, tokens, encoder):
        out = super().forward(tokens, encoder)
        return out - out.mean(0)


@breaks('gradients')
class NoNorm(MeanPool):
    def forward(self, tokens, encoder):
        return self.fc(tokens.mean(1))


@breaks('regions')
class IgnoresMasks(MeanPool):
    def pool_regions(self, tokens, masks, encoder, grid=None):
        return [self(rows[None], encoder).expand(len(mask), -1) for rows, mask in zip(tokens, masks)]


@breaks('state_dict')
class HiddenOffset(MeanPool):
    def __init__(self, in_dim, out_dim):
        super().__init__(in_dim, out_dim)
        self.offset = torch.randn(())

    def forward(self, tokens, encoder):
        return super().forward(tokens, encoder) + self.offset


@breaks('trunk_stays_outside')
class KeepsTheTrunk(MeanPool):
    def forward(self, tokens, encoder):
        self.trunk = encoder
        return super().forward(tokens, encoder)


@breaks('autocast')
class OverflowsInHalf(MeanPool):
    def forward(self, tokens, encoder):
        out = super().forward(tokens, encoder)
        return out * float('inf') if out.dtype == torch.bfloat16 else out


@pytest.mark.parametrize('check', FAULTS.checks)
def test_the_fault_is_found(check):
    FAULTS.require_found(check)
