"""The contract of encoders finds what it looks for: for every check an encoder with one fault."""
import re

import pytest
import torch
import torch.nn as nn

from dtbox.encoders.timm_vit import TimmViT
from tests.testing.broken_kit import Faults

FAULTS = Faults('encoder', **TimmViT.example)
breaks = FAULTS.breaks


@breaks('sizes')
class OtherGrid(TimmViT):
    def grid(self, layer):
        return (4, 5)


@breaks('staged_run')
class CountsFromTheStart(TimmViT):
    """What a block gives depends on where the run began."""

    def run(self, tokens, start, stop, taps=()):
        tokens, taps = super().run(tokens, start, stop, taps)
        return tokens + start, taps


@breaks('taps_are_raw')
class NormedTaps(TimmViT):
    def patches(self, tokens):
        return tokens[:, self.num_prefix_tokens:]

    def run(self, tokens, start, stop, taps=()):
        tokens, taps = super().run(tokens, start, stop, taps)
        return tokens, {layer: self.trunk.norm(tap) for layer, tap in taps.items()}


@breaks('prefix_tokens')
class ForgetsReinjection(TimmViT):
    def with_patches(self, tokens, patches):
        return tokens


@breaks('stands_alone')
class SeesTheBatch(TimmViT):
    def step(self, tokens, layer):
        return super().step(tokens, layer) + 0.1 * tokens.mean(0)


@breaks('norms')
class NormsOverTheBatch(TimmViT):
    def normalize(self, tokens):
        return tokens - tokens.mean(0)


@breaks('pools')
class OtherPooledWidth(TimmViT):
    def __init__(self, **args):
        super().__init__(**args)
        self.pooled_dim += 1


@breaks('pools_regions')
class PoolsTheFirstToken(TimmViT):
    def pool_regions(self, last, masks):
        return [rows[:1].expand(len(mask), -1) for rows, mask in zip(last, masks)]


@breaks('gradients')
class DetachesTheImages(TimmViT):
    def embed(self, images):
        return super().embed(images.detach())


@breaks('forward_leaves_state')
class CountsPasses(TimmViT):
    def __init__(self, **args):
        super().__init__(**args)
        self.register_buffer('passes', torch.zeros(()))

    def embed(self, images):
        self.passes += 1
        return super().embed(images)


@breaks('state_dict')
class HiddenOffset(TimmViT):
    def __init__(self, **args):
        super().__init__(**args)
        self.offset = torch.randn(())

    def embed(self, images):
        return super().embed(images) + self.offset


@breaks('reproducible')
class OwnRandomness(TimmViT):
    def __init__(self, **args):
        super().__init__(**args)
        self.scale = nn.Parameter(torch.randn((),
                                              generator=torch.Generator().manual_seed(torch.Generator().seed() % 1000)))


@breaks('autocast')
class OverflowsInHalf(TimmViT):
    def step(self, tokens, layer):
        tokens = super().step(tokens, layer)
        return tokens * float('inf') if tokens.dtype == torch.bfloat16 or torch.is_autocast_enabled('cpu') else tokens


@breaks('refuses_wrong_images')
class TakesAnyImage(TimmViT):
    def check_images(self, images):
        pass


@pytest.mark.parametrize('check', FAULTS.checks)
def test_the_fault_is_found(check):
    FAULTS.require_found(check)


@pytest.mark.parametrize('change, says', [
    (lambda tokens: tokens.half(), 'float16 tensor .*; expected float32'),
    (lambda tokens: tokens * float('nan'), 'NaN or infinite values')])
def test_tokens_of_another_type_or_nan_are_found(change, says):
    class Changed(TimmViT):
        def patches(self, tokens):
            return change(super().patches(tokens))
    result = FAULTS.run(Changed, 'sizes')
    assert result.status == 'fails' and re.search(says, result.detail)


def test_more_idle_parameters_than_a_quarter_are_found():
    class MostlyIdle(TimmViT):
        def __init__(self, **args):
            super().__init__(**args)
            self.idle = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(100))
    result = FAULTS.run(MostlyIdle, 'gradients')
    assert result.status == 'fails' and 'Freeze or drop what is not used' in result.detail
