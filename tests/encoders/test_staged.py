"""Staged encoders: their stages, put together, are the model's own forward."""
import pytest
import torch

from dtbox.encoders.base import Encoder
from dtbox.errors import InputError
from tests.encoders.conftest import FAMILIES, PREFIX, TIMM


def images(encoder, count=2):
    return torch.randn(count, 3, *encoder.image_size).clamp(-1, 1)


def whole(encoder):
    """The model that the encoder stages, as its library runs it."""
    return encoder.trunk if hasattr(encoder, 'trunk') else encoder.visual


@pytest.mark.parametrize('family', FAMILIES)
def test_stages_are_the_models_own_forward(build, family):
    encoder = build(family)
    x = images(encoder)
    with torch.no_grad():
        tokens, tapped = encoder.run(encoder.embed(x), 0, encoder.depth, range(encoder.depth + 1))
        pooled, want = encoder.pool(tokens), whole(encoder)(x)
    assert torch.allclose(pooled, want, atol=1e-5) and pooled.shape == (2, encoder.pooled_dim) and want.std() > 0.01
    count = encoder.grid(1)[0] * encoder.grid(1)[1]
    assert tokens.shape == (2, encoder.num_prefix_tokens + count, encoder.width(1))
    assert sorted(tapped) == list(range(encoder.depth + 1))
    assert all(t.shape == (2, count, encoder.width(layer)) for layer, t in tapped.items())
    assert torch.equal(tapped[encoder.depth], encoder.patches(tokens))


@pytest.mark.parametrize('family', FAMILIES)
def test_layers_are_raw_outputs_of_blocks(build, family):
    """Layer l is what block l returns, before any norm; layer 0 is what the first block gets."""
    encoder = build(family)
    x, found = images(encoder), {}
    model = whole(encoder)
    model = model.trunk if hasattr(model, 'trunk') else model
    blocks = model.blocks if hasattr(model, 'blocks') else model.transformer.resblocks
    handles = [b.register_forward_hook(lambda m, args, out, i=i: found.update({i + 1: out,
                                                                               **({0: args[0]} if i == 0 else {})}))
               for i, b in enumerate(blocks)]
    with torch.no_grad():
        whole(encoder)(x)
        for handle in handles:
            handle.remove()
        _, tapped = encoder.run(encoder.embed(x), 0, encoder.depth, set(found))
    for layer, want in found.items():
        assert torch.allclose(tapped[layer], want[:, encoder.num_prefix_tokens:], atol=1e-5), layer


@pytest.mark.parametrize('family', FAMILIES)
def test_the_norm_is_the_models_own(build, family):
    """`normalize` gives what timm's `forward_features`, or open_clip's `forward_intermediates`, returns."""
    encoder = build(family)
    x = images(encoder)
    model = whole(encoder)
    model = model.trunk if hasattr(model, 'trunk') else model
    with torch.no_grad():
        tokens, _ = encoder.run(encoder.embed(x), 0, encoder.depth)
        if not encoder.has_norm:
            assert family in ('average', 'eva02') and isinstance(model.norm, torch.nn.Identity)
            return
        got = encoder.normalize(tokens)
        if hasattr(model, 'forward_features'):
            want = model.forward_features(x)
        else:
            deep = model.forward_intermediates(x, [-1], normalize_intermediates=True, output_fmt='NLC',
                                               output_extra_tokens=True)
            want = torch.cat([deep['image_intermediates_prefix'][0], deep['image_intermediates'][0]], 1)
    assert got.shape == tokens.shape and torch.allclose(got, want, atol=1e-5)
    assert (got - tokens).abs().max() > 0.1


def test_norms_that_follow_the_pool(tiny_clip):
    """open_clip's `final_ln_after_pool` and attention pools norm one vector, not the tokens."""
    from open_clip.transformer import VisionTransformer

    from dtbox.encoders.open_clip_tower import StagedCLIP
    sizes = dict(image_size=16, patch_size=8, width=32, layers=1, heads=2, mlp_ratio=1, output_dim=16)
    assert StagedCLIP(VisionTransformer(**sizes)).has_norm
    for args in (dict(final_ln_after_pool=True), dict(attentional_pool=True, attn_pooler_heads=2)):
        assert not StagedCLIP(VisionTransformer(**sizes, **args)).has_norm


@pytest.mark.parametrize('family', FAMILIES)
def test_resuming_in_the_middle(build, family):
    encoder = build(family)
    x = images(encoder)
    with torch.no_grad():
        straight, all_taps = encoder.run(encoder.embed(x), 0, encoder.depth, {0, 1, 2})
        halfway, first = encoder.run(encoder.embed(x), 0, 2, {1, 2})
        end, second = encoder.run(halfway, 2, encoder.depth, {2})
    assert torch.equal(end, straight) and torch.equal(first[1], all_taps[1]) and torch.equal(second[2], all_taps[2])
    assert encoder.run(halfway, 2, 2, {1, 2})[1].keys() == {2} and encoder.run(halfway, 2, 2)[0] is halfway


@pytest.mark.parametrize('family', [*TIMM])
def test_prefix_tokens(build, family):
    encoder = build(family)
    assert encoder.num_prefix_tokens == PREFIX[family]
    with torch.no_grad():
        tokens = encoder.embed(images(encoder))
    patches = torch.randn_like(encoder.patches(tokens)).double()
    swapped = encoder.with_patches(tokens, patches)
    assert swapped.dtype == tokens.dtype and torch.equal(encoder.patches(swapped), patches.float())
    assert torch.equal(swapped[:, :PREFIX[family]], tokens[:, :PREFIX[family]])


def test_images_need_not_be_square_nor_whole_patches(build):
    encoder = build('siglip', image_size=(35, 50))
    assert encoder.image_size == (35, 50) and encoder.grid(1) == (2, 3)
    x = images(encoder)
    with torch.no_grad():
        before = encoder.embed(x)
        x[..., 32:, :], x[..., 48:] = 9, 9  # beyond the last whole patch
        assert torch.equal(encoder.embed(x), before) and before.shape == (2, 6, 32)


@pytest.mark.parametrize('family', ['vit', 'eva02', 'open_clip', 'open_clip on timm'])
def test_recomputing_changes_no_gradient(build, family):
    grads, recomputed = [], []
    for recompute in (False, True):
        encoder = build(family, recompute=recompute).train()
        model = whole(encoder)
        model = model.trunk if hasattr(model, 'trunk') else model
        block = model.blocks[0] if hasattr(model, 'blocks') else model.transformer.resblocks[0]
        calls = []
        block.register_forward_pre_hook(lambda *_: calls.append(1))
        torch.manual_seed(0)
        tokens, _ = encoder.run(encoder.embed(images(encoder)), 0, encoder.depth)
        encoder.pool(tokens).pow(2).sum().backward()
        grads.append({n: p.grad for n, p in encoder.named_parameters()})
        recomputed.append(len(calls))
        encoder.eval()
        with torch.no_grad():
            encoder.run(encoder.embed(images(encoder)), 0, 1)
    assert recomputed == [1, 2]
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        assert (grad is None) == (grads[1][name] is None) and (grad is None
                                                               or torch.allclose(grad, grads[1][name], atol=1e-6)), name


def test_contract_of_the_base_class():
    encoder = Encoder()
    for call in (lambda: encoder.width(1), lambda: encoder.grid(1), lambda: encoder.embed(None),
                 lambda: encoder.step(None, 1),
                 lambda: encoder.pool(None)):
        with pytest.raises(NotImplementedError):
            call()
    assert encoder.init_weights() is None


@pytest.mark.parametrize('shape, dtype, says', [
    ((2, 3, 48, 40), torch.float32,
     r'the shape \[2, 3, 48, 40\]; expected a float tensor \[B, 3, 48, 48\] in \[-1, 1\]'),
    ((2, 1, 48, 48), torch.float32, r'the shape \[2, 1, 48, 48\]'),
    ((3, 48, 48), torch.float32, r'the shape \[3, 48, 48\]'),
    ((2, 3, 48, 48), torch.uint8, r'torch\.uint8; expected .*Divide uint8 by 127\.5'),
    ((0, 3, 48, 48), torch.float32, 'the batch is empty')])
def test_images_that_do_not_fit(build, shape, dtype, says):
    with pytest.raises(InputError, match=says):
        build('vit').check_images(torch.zeros(shape, dtype=dtype))
