"""VQ by hand."""
import pytest
import torch

from tests.quantizers.conftest import build, set_table


def test_by_hand():
    vq = build('VQ', size=3, dim=2).train()
    set_table(vq.codebook, [[0., 0.], [1., 1.], [4., 0.]])
    z = torch.tensor([[[0.9, 1.2], [3., 0.]]], requires_grad=True)
    out = vq(z)
    assert out.codes.tolist() == [[[1], [2]]] and out.features.tolist() == [[[1., 1.], [4., 0.]]]
    assert out.losses.keys() == {'commitment'} and out.losses['commitment'].item() == pytest.approx((0.01 + 0.04 + 1
                                                                                                     + 0) / 4)
    (out.features * torch.tensor([1., 2.])).sum().backward(retain_graph=True)
    assert z.grad.tolist() == [[[1., 2.], [1., 2.]]]
    z.grad = None
    out.losses['commitment'].backward()  # 2 (z - q) / 4
    assert z.grad.flatten().tolist() == pytest.approx([-0.05, 0.1, -0.5, 0.])
    assert vq.decode(torch.tensor([[[2], [0]]])).tolist() == [[[4., 0.], [0., 0.]]]
    assert (vq.dim, vq.codebook_sizes) == (2, [3])


def test_commit_moves_the_codes():
    vq = build('VQ', size=2, dim=1, codebook=dict(type='EMACodebook', decay=0.5, restart=0.0, eps=1e-9)).train()
    set_table(vq.codebook, [[0.], [10.]])
    vq(torch.tensor([[[1.], [3.], [9.]]]))
    vq.commit()
    assert vq.codebook.cluster_size.tolist() == [1.5, 1.0] and vq.codebook.embed_sum.flatten().tolist() == [2., 9.5]
    assert vq.codebook.weight.flatten().tolist() == pytest.approx([2 / 1.5, 9.5])
