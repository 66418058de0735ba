"""Golden files of published tokenizers, and their names and shapes at full size."""
import torch

from tests.conftest import DATA


def widen(node):
    """The same with floating tensors in float32, as they were when the values were computed."""
    if isinstance(node, dict):
        return {key: widen(value) for key, value in node.items()}
    if isinstance(node, list):
        return [widen(value) for value in node]
    return node.float() if torch.is_tensor(node) and node.is_floating_point() else node


def read_golden(name):
    """What a golden file holds, in float32."""
    return widen(torch.load(DATA / f'golden_{name}.pt', weights_only=True))


def read_keys(name):
    """Published name -> tensor of its shape, without memory."""
    lines = (DATA / f'keys_{name}.txt').read_text().splitlines()[1:]
    return {key: torch.empty(eval(shape), device='meta') for key, shape in (line.split(': ', 1) for line in lines)}


def is_near(got, want, limit):
    """Whether values differ by at most `limit` times the largest of them, or times 1."""
    return got.shape == want.shape and (got - want).abs().max() <= limit * max(1, want.abs().max())


def is_near_gradient(got, want):
    """Whether gradients differ by at most 3e-4 of the largest of them."""
    return (got - want).abs().max() <= 3e-4 * want.abs().max()
