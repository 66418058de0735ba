"""The contract of decoders finds what it looks for: for every check a decoder with one fault."""
import re

import pytest
import torch
import torch.nn as nn

from dtbox.decoders.light import LightCNNDecoder
from dtbox.errors import InputError
from dtbox.testing import run_checks
from tests.testing.broken_kit import Faults

FAULTS = Faults('decoder', **LightCNNDecoder.example)
breaks = FAULTS.breaks


@breaks('images')
class OneChannel(LightCNNDecoder):
    def forward(self, features):
        return super().forward(features).mean(1, keepdim=True)


@breaks('other_layouts')
class AlwaysSquare(LightCNNDecoder):
    def forward(self, features):
        images = super().forward(features)
        return images[..., :images.shape[-2]]


@breaks('rows_and_columns')
class ReadsByColumn(LightCNNDecoder):
    def to_map(self, features):
        return super().to_map(features).transpose(2, 3)


@breaks('last_layer')
class FirstLayer(LightCNNDecoder):
    @property
    def last_layer(self):
        return torch.nn.Parameter(torch.zeros(3))


@breaks('gradients')
class DetachesFeatures(LightCNNDecoder):
    def forward(self, features):
        return super().forward(features.detach())


@breaks('stands_alone')
class SeesTheBatch(LightCNNDecoder):
    def forward(self, features):
        return super().forward(features - features.mean(0, keepdim=True))


@breaks('not_clamped')
class Clamps(LightCNNDecoder):
    def forward(self, features):
        return super().forward(features).clamp(-1, 1)


@breaks('recompute')
class RecomputesOtherwise(LightCNNDecoder):
    def __init__(self, in_dim, layout, image_size, width=32, blocks=1, recompute=False):
        super().__init__(in_dim, layout, image_size, width, blocks, recompute=recompute)

    def forward(self, features):
        return super().forward(features) + float(self.recompute)


@breaks('forward_leaves_state')
class CountsPasses(LightCNNDecoder):
    def __init__(self, **args):
        super().__init__(**args)
        self.register_buffer('passes', torch.zeros(()))

    def forward(self, features):
        self.passes += 1
        return super().forward(features)


@breaks('state_dict')
class HiddenOffset(LightCNNDecoder):
    def __init__(self, **args):
        super().__init__(**args)
        self.offset = torch.randn(())

    def forward(self, features):
        return super().forward(features) + self.offset


@breaks('autocast')
class OverflowsInHalf(LightCNNDecoder):
    def forward(self, features):
        images = super().forward(features)
        return images * float('inf') if torch.is_autocast_enabled('cpu') else images


@breaks('refuses_wrong_features')
class TakesAnyFeatures(LightCNNDecoder):
    def to_map(self, features):
        wanted = self.layout.tokens * self.in_dim
        flat = features.reshape(-1)
        flat = torch.cat([flat, flat.new_zeros(-len(flat) % wanted)])
        return flat.view(-1, self.in_dim, *self.layout.map_shape)


@breaks('refuses_wrong_sizes')
class GivesOtherSizes(LightCNNDecoder):
    def check_scale(self, levels, what):
        pass


@pytest.mark.parametrize('check', FAULTS.checks)
def test_the_fault_is_found(check):
    FAULTS.require_found(check)


def test_an_idle_parameter_is_found():
    class Idle(LightCNNDecoder):
        def __init__(self, **args):
            super().__init__(**args)
            self.idle = nn.Parameter(torch.zeros(1))
    assert 'no gradient, zeros, or NaN at idle' in FAULTS.run(Idle, 'gradients').detail


@pytest.mark.parametrize('where, what', [((slice(None), slice(8, None)), r'8 of the 16 tokens: 8, 9, 10'),
                                         ((slice(None), slice(None), [0]), r'1 of the \d+ channels: 0\.')])
def test_features_that_are_ignored(where, what):
    """A decoder that reads half of the tokens, or all channels but one, still has a gradient somewhere."""
    class Ignores(LightCNNDecoder):
        def forward(self, features):
            mask = torch.ones_like(features)
            mask[where] = 0
            return super().forward(features * mask)
    result = FAULTS.run(Ignores, 'gradients')
    assert result.status == 'fails'
    assert re.search(f'do not depend on {what}', result.detail)


def test_what_does_not_derive_from_the_base_class():
    with pytest.raises(InputError, match=r'`Linear` does not derive from dtbox\.decoders\.base\.Decoder'):
        run_checks(dict(type=nn.Linear, in_features=1, out_features=1), kind='decoder')
