"""One key switches the attention of a whole model; what comes out stays the same."""
import copy
import pickle

import open_clip
import pytest
import timm
import torch

from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.layers import attention
from dtbox.layers.attention_switch import switch_attention
from dtbox.registry import ATTENTION, MODELS
from tests.layers.test_attention import kernels  # noqa: F401

TEXT = dict(context_length=6, vocab_size=20, width=32, heads=4, layers=2)


def models():
    """name -> (module, input): every kind of attention that libraries bring."""
    return {
        'siglip': (timm.create_model('vit_base_patch16_siglip_224', img_size=32, embed_dim=32, depth=2, num_heads=4,
                                     num_classes=0),
                   torch.randn(2, 3, 32, 32)),
        'class token': (timm.create_model('vit_tiny_patch16_224', img_size=32, embed_dim=32, depth=2, num_heads=4),
                        torch.randn(2, 3, 32, 32)),
        'eva02': (timm.create_model('eva02_tiny_patch14_224', img_size=28, embed_dim=32, depth=2, num_heads=2),
                  torch.randn(2, 3, 28, 28)),
        'eva': (timm.create_model('eva_giant_patch14_224', img_size=28, embed_dim=32, depth=2, num_heads=2),
                torch.randn(2, 3, 28, 28)),
        'dinov3': (timm.create_model('vit_small_patch16_dinov3', img_size=32, embed_dim=32, depth=2, num_heads=2),
                   torch.randn(2, 3, 32, 32)),
        'clip text': (open_clip.transformer.TextTransformer(**TEXT), torch.randint(1, 20, (3, 6)))}


@pytest.fixture
def counting():
    """A backend that counts its calls and computes as `eager` does."""
    calls = []

    @ATTENTION.register_module('counting')
    def counted(q, k, v, causal=False, bias=None):
        calls.append((tuple(q.shape), causal, bias is not None))
        return attention.eager(q, k, v, causal, bias)
    yield calls
    ATTENTION.module_dict.pop('counting')


@pytest.mark.parametrize('name', sorted(models()))
def test_libraries(name, counting):
    model, x = models()[name]
    model.eval()
    with torch.no_grad():
        want = model(x)
        count = switch_attention(model, 'counting')
        assert torch.allclose(model(x), want, atol=2e-5) and len(counting) == count == (3 if name == 'siglip' else 2)
        assert list(model.state_dict()) == list(models()[name][0].state_dict())
        if name == 'clip text':
            assert {(causal, bias) for _, causal, bias in counting} == {(False, True)}
        other = copy.deepcopy(model)
        for p in other.parameters():
            p.zero_()
        # the copy has weights of its own
        assert torch.allclose(model(x), want, atol=2e-5) and not torch.allclose(other(x), want, atol=2e-5)


def test_torch_attention_in_ways_that_only_torch_computes():
    part = torch.nn.MultiheadAttention(8, 2)
    switch_attention(part, 'eager')
    x = torch.randn(4, 1, 8)
    with pytest.raises(InputError, match="only PyTorch itself computes .* choose the attention backend 'sdpa'"):
        part(x, x, x, need_weights=True)


@pytest.mark.parametrize('recipe', ['dualtoken_rq', 'vqgan'])
def test_one_key_of_a_config(recipe, counting):
    """Trunk, projections both ways, pool, decoder, text tower, teacher: sdpa, eager and xformers' adapter agree."""
    found = {}
    for name in (None, 'sdpa', 'eager', 'counting'):
        cfg = resolve(load_config(f'configs/{recipe}.py', {'model.tokenizer.attention': name} if name else {})).model
        cfg.gan = None
        torch.manual_seed(0)
        model = MODELS.build(cfg).eval()
        images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
        with torch.no_grad():
            outputs = model.tokenizer(images)
            found[name] = [outputs.reconstructions, outputs.pooled,
                           model.teacher.encoder.pool(model.teacher.encoder.embed(images))
                           if model.teacher is not None else None]
    for name in ('sdpa', 'eager', 'counting'):
        for a, b in zip(found[None], found[name]):
            assert a is None and b is None or torch.allclose(a, b, atol=1e-4)
    assert len(counting) > (1 if recipe == 'vqgan' else 12)


def test_xformers_in_a_whole_model(kernels):  # noqa: F811
    model, x = models()['siglip']
    model.eval()
    with torch.no_grad():
        want = model(x)
        switch_attention(model, 'xformers')
        assert torch.allclose(model(x), want, atol=2e-5)


def test_a_backend_that_cannot_run_is_told_with_its_place():
    pytest.importorskip('timm')
    with pytest.raises(InputError, match='`xformers`'):
        switch_attention(models()['siglip'][0], 'xformers')
    with pytest.raises(InputError, match='Did you mean `eager`'):
        switch_attention(models()['siglip'][0], 'eagre')
    part, x = models()['siglip']
    switch_attention(part.eval(), 'eager')
    assert torch.equal(pickle.loads(pickle.dumps(part))(x), part(x))


@pytest.mark.parametrize('backend', ['eager', 'sdpa'])
def test_boolean_masks_of_torch_attention(backend):
    """torch.nn has True where a query may not look, our backends where it may."""
    torch.manual_seed(0)
    part = torch.nn.MultiheadAttention(8, 2)
    x = torch.randn(4, 1, 8)
    mask = torch.ones(4, 4, dtype=torch.bool).triu(1)
    want = part(x, x, x, need_weights=False, attn_mask=mask)[0]
    switch_attention(part, backend)
    assert torch.allclose(part(x, x, x, need_weights=False, attn_mask=mask)[0], want, atol=1e-5)
