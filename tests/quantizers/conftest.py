"""Small quantizers, and codebooks with values that can be followed by hand."""
import torch

from dtbox.registry import QUANTIZERS


def build(type, **args):
    """Return a quantizer."""
    return QUANTIZERS.build(dict(type=type, **args))


def set_table(book, rows):
    """Give a codebook its rows, as if it had been made with them."""
    rows = torch.as_tensor(rows)
    book.weight.copy_(rows), book.embed_sum.copy_(rows)


def state_of(module):
    """Return a copy of a module's state."""
    return {k: v.clone() for k, v in module.state_dict().items()}


def same_state(module, state, tolerance=0.0):
    """Whether a module's state equals `state`."""
    own = module.state_dict()
    return own.keys() == state.keys() and all(torch.allclose(own[k].double(), v.double(), rtol=0, atol=tolerance)
                                              for k, v in state.items())
