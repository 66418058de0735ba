"""The contract of visual embeddings finds what it looks for: for every check an embedding with one fault."""
import pytest
import torch

from dtbox.visual_embeddings.codes import CodesEmbedding
from dtbox.visual_embeddings.features import FeaturesEmbedding
from tests.testing.broken_kit import Faults

FAULTS = Faults('visual_embedding')
breaks = FAULTS.breaks


@breaks('shape')
class InOneRow(CodesEmbedding):
    def forward(self, codes):
        return super().forward(codes).flatten(0, 1)


@breaks('stands_alone')
class SeesTheBatch(CodesEmbedding):
    def forward(self, codes):
        out = super().forward(codes)
        return out - out.mean(0)


@breaks('token_local')
class SeesThePlaceBefore(CodesEmbedding):
    def forward(self, codes):
        out = super().forward(codes)
        return out + out.roll(1, 1)


class IgnoresTheLastDepth(CodesEmbedding):
    def forward(self, codes):
        return super().forward({name: torch.cat([value[..., :-1], torch.zeros_like(value[..., -1:])], -1)
                                for name, value in codes.items()})


@breaks('steps')
class EveryStepTheFirst(FeaturesEmbedding):
    def step(self, codes, cache=None):
        out = super().step(codes, cache)
        cache.count = 0
        return out


@breaks('gradients')
class UnusedWeights(CodesEmbedding):
    def __init__(self, tables, width):
        super().__init__(tables, width)
        self.more = torch.nn.Linear(2, 2)


@breaks('state_dict')
class SavesTheTables(CodesEmbedding):
    def __init__(self, tables, width):
        super().__init__(tables, width)
        self.register_buffer('offset', torch.zeros(1))

    def forward(self, codes):
        self.offset += 1
        return super().forward(codes) + self.offset


@breaks('wrong_codes')
class TakesAnything(CodesEmbedding):
    def check(self, codes):
        pass

    def forward(self, codes):
        return super().forward({name: codes.get(name, torch.zeros(1, 1, 1, dtype=torch.long)) for name in self.names})


@breaks('autocast')
class Overflows(CodesEmbedding):
    def forward(self, codes):
        out = super().forward(codes)
        return out * float('inf') if out.dtype == torch.bfloat16 else out


@pytest.mark.parametrize('check', FAULTS.checks)
def test_fault_is_found(check):
    FAULTS.require_found(check)


def test_a_depth_that_changes_nothing():
    result = FAULTS.run(IgnoresTheLastDepth, 'token_local')
    assert 'another code of pixel at depth 2 changes nothing at its place' in result.detail
