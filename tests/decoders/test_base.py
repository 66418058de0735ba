"""The base class of decoders: which layouts it takes, and the map of a grid."""
import pytest
import torch

from dtbox.decoders.base import Decoder
from dtbox.errors import InputError
from dtbox.layout import Grid, Scales, Sequence


class Any(Decoder):
    """A decoder of a grid or a sequence."""
    accepts = (Grid, Sequence)


def test_the_map_of_a_grid():
    """Token n lies at row n // columns; the map is resized to the latent size."""
    tokens = torch.arange(6.).view(1, 6, 1)
    assert Any(1, Grid(2, 3), 16).to_map(tokens)[0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    decoder = Any(1, Grid(2, 3), 16, latent_size=(4, 6))
    assert decoder.latent == (4, 6)
    assert decoder.to_map(tokens).shape == (1, 1, 4, 6)


def test_a_sequence_has_no_latent_size():
    with pytest.raises(InputError, match='Any needs tokens on a grid'):
        _ = Any(4, Sequence(5), 16).latent
    with pytest.raises(InputError,
                       match='^latent_size: .*resizes the map of a grid; the tokens are a sequence of 5 tokens'):
        Any(4, Sequence(5), 16, latent_size=4)


def test_layouts_that_it_does_not_take():
    with pytest.raises(InputError,
                       match=r'^layout: `layout` is Scales.*; Any takes a Grid or Sequence of dtbox\.layout'):
        Any(4, Scales([1, 2]), 16)
