"""Vocabularies: taps, weights, projections, and where features may go back."""
import pytest
import torch

from dtbox.encoders.base import Encoder
from dtbox.errors import InputError
from dtbox.layout import Grid
from dtbox.registry import VOCABULARIES
from dtbox.tokenizers.vocabulary import parse_taps

FSQ = dict(type='FSQ', levels=[5, 5])
LINEAR = dict(type='LinearProjection', norm=False)


class Fake(Encoder):
    """An encoder of which only the sizes are asked."""

    def __init__(self, depth=4, width=4, grid=(2, 2), normed=False):
        super().__init__()
        self.depth = depth
        self.has_norm = normed
        self._width = width
        self._grid = grid

    def width(self, layer):
        """Return the channels."""
        return self._width

    def grid(self, layer):
        """Return the grid; layer 0 may be finer."""
        return self._grid


ONE = dict(trunk=Fake())
TWO = dict(a=Fake(), b=Fake(depth=6, width=6))
NORMED = dict(trunk=Fake(normed=True))


def build(taps, encoders=ONE, **args):
    cfg = dict(dict(type='Vocabulary', taps=taps, quantizer=FSQ, projection=LINEAR), **args)
    return VOCABULARIES.build(cfg, where='v', encoders=encoders)


@pytest.mark.parametrize('taps, encoders, parsed', [
    (3, ONE, [(('trunk', 3), 1.0)]), ('3', ONE, [(('trunk', 3), 1.0)]), ('trunk:0', ONE, [(('trunk', 0), 1.0)]),
    ({4: 1.0, 2: 0.6}, ONE, [(('trunk', 4), 1.0), (('trunk', 2), 0.6)]),
    ([1, 'trunk:2'], ONE, [(('trunk', 1), 1.0), (('trunk', 2), 1.0)]),
    ({'b:6': 2, 'a:4': -1}, TWO, [(('b', 6), 2.0), (('a', 4), -1.0)]),
    ('norm', NORMED, [(('trunk', 'norm'), 1.0)]),
    ({'trunk:norm': 1.0, 4: 0.5}, NORMED, [(('trunk', 'norm'), 1.0), (('trunk', 4), 0.5)])])
def test_taps(taps, encoders, parsed):
    assert parse_taps(taps, encoders) == parsed


@pytest.mark.parametrize('taps, encoders, says', [
    (5, ONE, r'tap `5` is beyond the last layer: encoder `trunk` has 4 blocks\. Choose a layer from 0 to 4'),
    ('a:5', TWO, r'encoder `a` has 4 blocks'),
    (3, TWO, r'tap `3` names no encoder; with the encoders a, b write `name:layer`'),
    (-1, ONE, 'tap `-1` is not `layer`, `norm` or `encoder:layer`'), ('c:1', TWO, 'the encoders are a, b'),
    ('deep', ONE, 'tap `deep` is not'), ('Norm', ONE, 'tap `Norm` is not'),
    ('norm', ONE, r'tap `norm` follows a norm after the last block, and encoder `trunk` has none .* Tap its last '
                  r'layer, 4\.'), ('norm', TWO, 'tap `norm` names no encoder'),
    (['norm', 'trunk:norm'], NORMED, 'tapped twice'),
    ([], ONE, 'at least one tap'), ({}, ONE, 'at least one tap'), ([1, 'trunk:1'], ONE, 'tapped twice')])
def test_taps_that_are_none(taps, encoders, says):
    with pytest.raises(InputError, match=r'^v\.taps: .*' + says):
        build(taps, encoders)


def test_weighted_sum_by_hand():
    """P1 (1, 2, 3, 4) + 0.6 P2 (1, 1, 1, 1), each with its own weights."""
    voc = build({4: 1.0, 2: 0.6})
    for project, value in zip(voc.projections, (1., 10.)):
        project.fc.weight.data.fill_(value), project.fc.bias.data.zero_()
    z = voc.combine([torch.tensor([[[1., 2., 3., 4.]]]), torch.ones(1, 1, 4)])
    assert z.flatten().tolist() == pytest.approx([10 + 0.6 * 40] * 2) and voc.weights() == [1.0, 0.6]
    assert 'tap_logits' not in dict(voc.named_parameters())


def test_learned_soft_split():
    """Weights 3 and 1 begin as their shares 3/4 and 1/4, and get gradients."""
    voc = build({4: 3.0, 2: 1.0}, learn=True)
    for project, value in zip(voc.projections, (0.01, 0.02)):
        project.fc.weight.data.fill_(value), project.fc.bias.data.zero_()
    taps = [torch.ones(1, 4, 4), torch.ones(1, 4, 4)]
    assert voc.weights().tolist() == pytest.approx([0.75, 0.25])
    assert voc.combine(taps).flatten().tolist() == pytest.approx([0.75 * 0.04 + 0.25 * 0.08] * 8)
    voc(taps).features.sum().backward()
    grad = voc.tap_logits.grad
    # a softmax moves shares, not their sum
    assert grad.abs().min() > 0 and grad.sum().item() == pytest.approx(0, abs=1e-6)
    assert 'tap_logits' in voc.state_dict()


def test_learned_weights_begin_positive():
    with pytest.raises(InputError,
                       match=r'^v\.taps: a learned soft split starts from positive weights; got \[1\.0, 0\.0\]'):
        build({4: 1.0, 2: 0}, learn=True)


def test_shared_projection():
    voc = build([1, 2], share_projection=True)
    assert len(voc.projections) == 1
    x = torch.randn(1, 4, 4)
    assert torch.allclose(voc.combine([x, x]), 2 * voc.projections[0](x))
    assert len(build([1, 2]).projections) == 2
    with pytest.raises(InputError, match=r'^v\.share_projection: taps of the widths \[4, 6\] cannot share'):
        build(['a:1', 'b:1'], TWO, share_projection=True)


def test_sizes_follow_from_encoder_and_quantizer():
    voc = build(['b:1', 'a:2'], TWO, post_projection=dict(type='MLPProjection', hidden=3))
    assert [(p.fc.in_features, p.fc.out_features) for p in voc.projections] == [(6, 2), (4, 2)]
    assert (voc.post_projection.fc1.in_features, voc.post_projection.fc1.out_features,
            voc.post_projection.fc2.out_features) == (2, 3, 6)
    assert voc.out_dim == 6 and voc.layout == voc.feature_layout == Grid(2, 2)
    assert type(build(1, projection=dict(type='AttentionProjection')).post_projection).__name__ == 'AttentionProjection'


def test_forward_encode_and_features_agree():
    voc = build({4: 1.0, 2: 0.6}).eval()
    taps = [torch.randn(3, 4, 4), torch.randn(3, 4, 4)]
    out = voc(taps)
    assert torch.equal(voc.encode(taps), out.codes) and torch.allclose(voc.features(out.codes), out.features, atol=1e-6)
    assert out.quantized.shape == (3, 4, 2)
    assert out.features.shape == (3, 4, 4)
    assert torch.allclose(voc.post_projection(out.quantized), out.features)
    assert not voc.encode([t.requires_grad_(True) for t in taps]).requires_grad


def test_no_projection_at_the_encoders_width():
    voc = build(1, quantizer=dict(type='VQ', size=4, dim=4), projection=dict(type='NoProjection')).eval()
    x = torch.randn(1, 4, 4)
    assert torch.equal(voc([x]).codes[..., 0], voc.quantizer.codebook.search(x[0])[None])
    assert voc.features(torch.zeros(1, 4, 1).long())[0, 0].tolist() == voc.quantizer.codebook.weight[0].tolist()
    with pytest.raises(InputError, match=r'^v\.projection: NoProjection keeps the width'):
        build(1, projection=dict(type='NoProjection'))


@pytest.mark.parametrize('layer', [1, 3, 4])
def test_reinjection(layer):
    assert build(1, reinject=layer).reinject == ('trunk', layer)


@pytest.mark.parametrize('taps, encoders, layer, says', [
    (2, ONE, 0, 'cannot re-inject after layer 0'), (2, ONE, 5, 'encoder `trunk` has 4 blocks'),
    (2, ONE, 1, r'taps its layers \[2\], which must not lie after'),
    ('norm', NORMED, 4, r'taps its layers \[.norm.\], which must not lie after'),
    (['a:1', 'b:5'], TWO, 5, 'encoder `a` has 4 blocks')])
def test_reinjection_that_does_not_fit(taps, encoders, layer, says):
    with pytest.raises(InputError, match=r'^v\.reinject: .*' + says):
        build(taps, encoders, reinject=layer)


def test_layouts_must_agree():
    with pytest.raises(InputError,
                       match='^v.taps: the taps have different token layouts: a:1 a 2 x 2 token grid, b:1 a 4 x 4 '
                             'token grid'):
        build(['a:1', 'b:1'], dict(a=Fake(), b=Fake(grid=(4, 4))))
