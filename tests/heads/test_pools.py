"""Heads: the trunk's own pool, and a mean with norm and linear layer."""
import pytest
import torch
from torch import nn

from dtbox.encoders.base import Encoder
from dtbox.errors import InputError
from dtbox.registry import HEADS


class Doubled(Encoder):
    """Two prefix tokens; the pool is twice the mean over all tokens."""
    num_prefix_tokens, pooled_dim = 2, 3

    def pool(self, tokens):
        """Return twice the mean."""
        return 2 * tokens.mean(1)


def test_trunk_pool_asks_the_encoder():
    head = HEADS.build(dict(type='TrunkPool'), pooled_dim=3)
    assert head(torch.ones(1, 4, 3), Doubled()).tolist() == [[2., 2., 2.]] and head.reads is None
    assert not list(head.parameters()) and head.pooled_dim == 3


def test_trunk_without_a_pool():
    with pytest.raises(InputError, match='reads the pool of encoder `trunk`, which has none. Choose MeanPool'):
        HEADS.build(dict(type='TrunkPool'), pooled_dim=None)


@pytest.mark.parametrize('reads', [None, 'semantic'])
def test_mean_pool_by_hand(reads):
    head = HEADS.build(dict(type='MeanPool', in_dim=2, out_dim=1, reads=reads))
    nn.init.constant_(head.fc.weight, 3.)
    head.fc.weight.data[0, 1] = 5.
    nn.init.constant_(head.fc.bias, 1.)
    tokens = torch.tensor([[[9., 9.], [9., 9.], [0., 2.], [2., 20.]]])
    tokens = tokens[:, 2:] if reads else tokens  # of a vocabulary there are patch tokens only
    # mean (1, 11) -> norm (-1, 1) -> 5 - 3 + 1
    assert head(tokens, Doubled()).item() == pytest.approx(3, abs=1e-5) and head.pooled_dim == 1


@pytest.mark.parametrize('reads, grid', [(None, None), ('semantic', (2, 1))])
def test_mean_pool_of_a_region_by_hand(reads, grid):
    """Its tokens on the grid of the vocabulary that the head reads, or else on that of the trunk."""
    class Wide(Doubled):
        depth = 4

        def grid(self, layer):
            return {4: (1, 2)}[layer]

    head = HEADS.build(dict(type='MeanPool', in_dim=2, out_dim=1, reads=reads))
    head.fc.weight.data[:] = torch.tensor([[3., 5.]])
    nn.init.constant_(head.fc.bias, 1.)
    tokens = torch.tensor([[[9., 9.], [9., 9.], [0., 2.], [4., 0.]]])[:, 2 if reads else 0:]
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, slice(2, 4) if reads else slice(None), slice(None) if reads else slice(2, 4)] = True
    # the second token alone: (4, 0) -> norm (1, -1) -> 3 - 5 + 1
    found, = head.pool_regions(tokens, [mask], Wide(), grid)
    assert found.tolist() == [[pytest.approx(-1, abs=1e-5)]]
