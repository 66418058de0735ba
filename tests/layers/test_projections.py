"""Projections: shapes, and values computed from the formula with other means."""
import math

import pytest
import torch
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.layout import Grid, Sequence
from dtbox.registry import PROJECTIONS


def build(kind, in_dim, out_dim, **args):
    return PROJECTIONS.build(dict(type=kind, in_dim=in_dim, out_dim=out_dim, **args))


@pytest.mark.parametrize('kind', ['AttentionProjection', 'MLPProjection', 'LinearProjection'])
@pytest.mark.parametrize('sizes', [(32, 8), (8, 32), (8, 8)])
def test_shapes_and_gradients(kind, sizes):
    project = build(kind, *sizes)
    x = torch.randn(2, 5, sizes[0], requires_grad=True)
    out = project(x)
    assert out.shape == (2, 5, sizes[1])
    out.pow(2).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in project.parameters())


def reference(p, x, heads, causal):
    """The formula, head by head: x [N, in] -> [N, out]."""
    def norm(x, layer, eps):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True)
                                                 + eps).sqrt() * layer.weight + layer.bias
    width = max(x.shape[1], p.proj.out_features)
    w, a = width // heads, norm(x, p.norm1, 1e-5)
    rows = p.attn.qkv.weight
    outs = []
    for h in range(heads):
        own = slice(h * w, (h + 1) * w)
        q = a @ rows[:width][own].T + p.attn.q_bias[own]
        k = a @ rows[width:2 * width][own].T
        v = a @ rows[2 * width:][own].T + p.attn.v_bias[own]
        scores = q @ k.T / w ** 0.5
        if causal:
            scores = scores + torch.full_like(scores, float('-inf')).triu(1)
        outs.append(scores.softmax(-1) @ v)
    o = sum(outs) / heads if x.shape[1] > p.proj.out_features else torch.cat(outs, -1)
    y = norm(x, p.norm3, 1e-5) @ p.proj.weight.T + p.proj.bias + o @ p.attn.proj.weight.T + p.attn.proj.bias
    u = norm(norm(y, p.norm2, 1e-5), p.mlp.norm, 1e-6)
    gate = F.gelu(u @ p.mlp.w0.weight.T + p.mlp.w0.bias, approximate='tanh')
    return y + (gate * (u @ p.mlp.w1.weight.T + p.mlp.w1.bias)) @ p.mlp.w2.weight.T + p.mlp.w2.bias


@pytest.mark.parametrize('in_dim, out_dim, causal', [(12, 4, False), (4, 12, True), (6, 6, True)])
@pytest.mark.parametrize('attention', ['sdpa', 'eager'])
def test_attention_projection_follows_the_formula(in_dim, out_dim, causal, attention):
    project = build('AttentionProjection', in_dim, out_dim, attention=attention).double()
    for parameter in project.parameters():
        torch.nn.init.normal_(parameter)
    heads = max(in_dim, out_dim) // min(in_dim, out_dim)
    assert (project.attn.heads, project.attn.causal) == (heads, causal)
    x = torch.randn(7, in_dim, dtype=torch.double)
    assert torch.allclose(project(x[None])[0], reference(project, x, heads, causal), atol=1e-10)


def test_heads_are_averaged_on_the_way_down():
    """One token attends to itself, so each head gives its own values: the mean of the two value biases comes out."""
    project = build('AttentionProjection', 4, 2)
    with torch.no_grad():
        project.attn.qkv.weight.zero_()
        project.attn.v_bias.copy_(torch.tensor([1., 2., 5., 10.]))
        project.attn.proj.weight.copy_(torch.eye(2))
        project.attn.proj.bias.zero_()
    assert project.attn(torch.randn(1, 1, 4)).tolist() == [[[3., 6.]]]


def test_other_head_widths_are_pooled():
    """Two heads of width 4 on the way to 2 channels: neighbours are averaged after the mean over heads."""
    project = build('AttentionProjection', 8, 2, heads=2)
    with torch.no_grad():
        project.attn.qkv.weight.zero_()
        project.attn.v_bias.copy_(torch.tensor([1., 2., 3., 4., 5., 6., 7., 8.]))
        project.attn.proj.weight.copy_(torch.eye(2))
        project.attn.proj.bias.zero_()
    assert project.attn(torch.randn(1, 1, 8)).tolist() == [[[3.5, 5.5]]]


def test_heads_stand_side_by_side_on_the_way_up():
    project = build('AttentionProjection', 2, 4)
    with torch.no_grad():
        project.attn.qkv.weight.zero_()
        project.attn.v_bias.copy_(torch.tensor([1., 2., 5., 10.]))
        project.attn.proj.weight.copy_(torch.eye(4))
        project.attn.proj.bias.zero_()
    assert project.attn(torch.randn(1, 1, 2)).tolist() == [[[1., 2., 5., 10.]]]


@pytest.mark.parametrize('sizes, causal, looks_ahead', [
     ((4, 12), None, False), ((12, 4), None, True), ((4, 12), False, True), ((12, 4), True, False)])
def test_who_looks_ahead(sizes, causal, looks_ahead):
    project = build('AttentionProjection', *sizes, causal=causal)
    x = torch.randn(1, 6, sizes[0])
    before = project(x)[:, :3]
    x[:, 4] = torch.randn(sizes[0])
    assert torch.allclose(project(x)[:, :3], before, atol=1e-6) != looks_ahead


def test_parameter_names_are_the_published_ones():
    names = set(build('AttentionProjection', 8, 4).state_dict())
    assert {n.rpartition('.')[0] for n in names} == {'norm1', 'norm2', 'norm3', 'proj', 'attn', 'attn.qkv',
                                                     'attn.proj', 'mlp.norm', 'mlp.w0', 'mlp.w1', 'mlp.w2'}
    assert 'attn.q_bias' in names and 'attn.qkv.bias' not in names


def test_plain_projections_by_hand():
    linear = build('LinearProjection', 2, 1, norm=False)
    linear.fc.weight.data, linear.fc.bias.data = torch.tensor([[2., 3.]]), torch.tensor([1.])
    assert linear(torch.tensor([[[1., 10.]]])).tolist() == [[[33.]]]
    normed = build('LinearProjection', 2, 1)
    normed.fc.weight.data, normed.fc.bias.data = torch.tensor([[2., 3.]]), torch.tensor([1.])
    # (1, 11) -> (-1, 1)
    assert normed(torch.tensor([[[1., 11.]]])).item() == pytest.approx(2 * -1 + 3 * 1 + 1, abs=1e-5)
    assert build('MLPProjection', 6, 2).fc1.out_features == 6 and build('MLPProjection', 6, 2,
                                                                        hidden=5).fc1.out_features == 5
    x = torch.randn(1, 2, 3)
    assert build('NoProjection', 3, 3)(x) is x


@pytest.mark.parametrize('args, says', [
    (('AttentionProjection', 12, 5), r'maps 12 to 5 channels, but one must divide the other.*divides 12'),
    (('NoProjection', 3, 4), r'map 3 to 4 channels.*dim to 3')])
def test_sizes_that_do_not_fit(args, says):
    with pytest.raises(InputError, match=says):
        build(*args)


def test_heads_that_do_not_divide():
    with pytest.raises(InputError, match='5 heads, which do not divide 12 channels'):
        build('AttentionProjection', 12, 4, heads=5)


def test_scrambling_by_hand():
    """Two tokens of three channels, [[1, 2, 3], [4, 5, 6]], read again as three rows of two: columns 1, 3, 5 and 2, 4,
    6; the layer takes 100, 10 and 1 times their values."""
    project = build('ScramblingProjection', 3, 1)
    project.load_state_dict({'fc.weight': torch.tensor([[100., 10., 1.]]), 'fc.bias': torch.zeros(1)})
    assert project(torch.arange(1., 7.).view(1, 2, 3)).flatten().tolist() == [135., 246.]


def test_two_linear_layers_and_tanh_by_hand():
    project = build('TanhProjection', 2, 1)
    with torch.no_grad():
        project.fc1.weight.copy_(torch.tensor([[1., 0.], [0., 2.]]))
        project.fc1.bias.copy_(torch.tensor([0., 1.]))
        project.fc2.weight.copy_(torch.tensor([[1., -3.]]))
        project.fc2.bias.fill_(.5)
    x = torch.tensor([[[.2, .1]]])
    assert project(x).item() == pytest.approx(math.tanh(.2) - 3 * math.tanh(1.2) + .5)


def test_a_convolution_over_the_grid():
    """A kernel that is 1 at its right neighbour moves the map to the left; tokens outside of the grid are zero."""
    project = build('ConvProjection', 1, 1, layout=Grid(2, 3))
    with torch.no_grad():
        project.conv.weight.zero_()[0, 0, 1, 2] = 1
        project.conv.bias.zero_()
    assert project(torch.arange(6.).view(1, 6, 1)).flatten().tolist() == [1, 2, 0, 4, 5, 0]
    for args, says in ((dict(kernel=2), 'kernel: `kernel` is 2; expected an odd number'),
                       (dict(layout=Sequence(6)), 'ConvProjection needs tokens on a grid')):
        with pytest.raises(InputError, match=says):
            build('ConvProjection', 1, 1, **dict(dict(layout=Grid(2, 3)), **args))


def test_a_semantic_decoder():
    """Its names and sizes; tokens see each other; the golden data of TokenFlow is in tests/converters."""
    project = build('BEiTProjection', 3, 5, layout=Grid(2, 2), width=8, depth=1, heads=2)
    assert project.pos_embed.shape == (1, 5, 8)
    x = torch.randn(2, 4, 3)
    other = x.clone()
    other[:, 3] += 1
    assert project(x).shape == (2, 4, 5) and not torch.allclose(project(x)[:, 0], project(other)[:, 0])
    with pytest.raises(InputError, match='`width` 8 does not divide into 3 heads; choose a multiple, such as 9'):
        build('BEiTProjection', 3, 5, layout=Grid(2, 2), width=8, heads=3)
