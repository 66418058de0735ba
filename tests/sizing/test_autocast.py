"""What a pass under autocast keeps, counted by hand."""
import torch
from torch import nn

from dtbox.sizing.autocast import cast_as_training
from dtbox.sizing.tracing import KeptBytes

ROWS, WIDTH = 8, 16


def count(part, half):
    kept = KeptBytes(part.parameters())
    with torch.device('meta'), cast_as_training(kept, half) as cast, kept:
        part(torch.zeros(ROWS, WIDTH, requires_grad=True))
    return kept.bytes, cast.copies


def test_a_product_keeps_half_and_a_norm_whole():
    """A linear layer keeps its input as bfloat16; a norm its input as float32, with a mean and a deviation a row. The
    copy of the weights that learn is there once, whatever the batch."""
    with torch.device('meta'):
        linear, norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)
    rows = ROWS * WIDTH
    assert count(linear, False) == (4 * rows, 0)
    assert count(linear, True) == (2 * rows, 2 * (WIDTH * WIDTH + WIDTH))
    assert count(norm, False) == count(norm, True) == (4 * rows + 2 * 4 * ROWS, 0)
    assert count(nn.Sequential(linear, norm), True)[0] == 2 * rows + 4 * rows + 2 * 4 * ROWS
    assert count(linear.requires_grad_(False), True)[1] == 0
