"""Gradient estimators."""
import torch

from dtbox.registry import ESTIMATORS


def test_straight_through():
    z = torch.tensor([[1., -2.]], requires_grad=True)
    quantized = torch.tensor([[3., 5.]], requires_grad=True)
    out = ESTIMATORS.build(dict(type='StraightThrough'))(z, quantized)
    assert out.tolist() == [[3., 5.]]
    (out * torch.tensor([2., 7.])).sum().backward()
    assert z.grad.tolist() == [[2., 7.]] and quantized.grad is None
