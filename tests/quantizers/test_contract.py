"""What every registered quantizer promises."""
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from dtbox.errors import InputError
from dtbox.registry import QUANTIZERS
from tests.quantizers.conftest import build, same_state, state_of

BOOK = dict(type='EMACodebook', decay=0.9)
ARGS = {
    'VQ': dict(type='VQ', size=16, dim=4, codebook=BOOK), 'RQ': dict(type='RQ', size=16, dim=4, depth=3, codebook=BOOK),
    'FSQ': dict(type='FSQ', levels=[5, 4, 3, 2]),
    'RQ unshared': dict(type='RQ', size=16, dim=4, depth=3, shared=False, codebook=BOOK),
    'RQ official rq': dict(type='RQ', size=16, dim=4, depth=3, official=True, variant='rq'),
    'RQ official rq_ema': dict(type='RQ', size=16, dim=4, depth=3, official=True, variant='rq_ema')}
ALL = sorted(ARGS)
LEARNING = ['RQ', 'RQ unshared', 'VQ']
every = pytest.mark.parametrize('name', ALL)
learning = pytest.mark.parametrize('name', LEARNING)


def make(name):
    torch.manual_seed(1)
    return build(**ARGS[name])


def books(quantizer):
    return [m for m in quantizer.modules() if hasattr(m, 'pending')]


def test_every_registered_quantizer_is_here():
    QUANTIZERS.import_from_location()
    assert set(QUANTIZERS.module_dict) <= set(ARGS), 'give the new quantizer its arguments in ARGS'


@every
@pytest.mark.parametrize('shape', [(2, 9), (1, 1), (0, 9)])
def test_evaluation(name, shape):
    quantizer, z = make(name).eval(), torch.randn(*shape, 4) * 2
    before, sizes = state_of(quantizer), quantizer.codebook_sizes
    out = quantizer(z)
    codes = quantizer.encode(z)
    assert codes.shape == out.codes.shape == (*shape, len(sizes)) and codes.dtype == torch.int64 and torch.equal(codes, out.codes)
    assert all(0 <= c.min() and c.max() < n for c, n in zip(codes.unbind(-1), sizes) if c.numel())
    features = quantizer.decode(codes)
    assert features.shape == out.features.shape == z.shape and quantizer.dim == 4
    assert torch.allclose(features, out.features, rtol=0, atol=1e-5) and same_state(quantizer, before)


@every
def test_encode_in_training_changes_nothing(name):
    quantizer = make(name).train()
    before = state_of(quantizer)
    codes = quantizer.encode(torch.randn(2, 9, 4, requires_grad=True))
    quantizer.commit()
    assert not codes.requires_grad and same_state(quantizer, before)


@learning
def test_training_changes_the_state_at_commit_only(name):
    quantizer, z = make(name).train(), torch.randn(2, 9, 4, requires_grad=True)
    before = state_of(quantizer)
    want = make(name).eval()(z)
    out = quantizer(z)
    assert torch.equal(out.codes, want.codes) and torch.equal(out.features, want.features)
    assert torch.equal(out.losses['commitment'], want.losses['commitment'])
    (out.features.sum() + out.losses['commitment']).backward()
    assert same_state(quantizer, before) and z.grad is not None and not list(quantizer.parameters())
    quantizer.commit()
    after = state_of(quantizer)
    assert not same_state(quantizer, before) and torch.isfinite(books(quantizer)[0].weight).all()
    quantizer.commit()
    assert same_state(quantizer, after)


@learning
def test_discard(name):
    quantizer = make(name).train()
    before = state_of(quantizer)
    quantizer(torch.randn(2, 9, 4))
    quantizer.discard()
    quantizer.commit()
    assert same_state(quantizer, before)


@learning
@pytest.mark.parametrize('sizes', [(3, 3), (1, 4, 1), (2, 0, 4)])
def test_accumulated_micro_batches_equal_one_batch(name, sizes):
    z = torch.randn(6, 9, 4)
    one, many = make(name).train(), make(name).train()
    for _ in range(3):
        one(z)
        for part in z.split(sizes):
            many(part)
        one.commit(), many.commit()
        assert same_state(many, state_of(one), 1e-5)
        assert all(int(b.updates) == int(a.updates) for a, b in zip(books(one), books(many)))
        z = z.flip(0) * 1.1


@learning
@pytest.mark.parametrize('reentrant', [False, True])
def test_activation_checkpointing_collects_once(name, reentrant):
    z = torch.randn(2, 9, 4)
    grads, states = [], []
    for recompute in (False, True):
        quantizer, x = make(name).train(), z.clone().requires_grad_(True)

        def call(x):
            out = quantizer(x)
            return out.features * 3 + out.losses['commitment'], out.codes
        features, codes = checkpoint(call, x, use_reentrant=reentrant) if recompute else call(x)
        features.pow(2).sum().backward()
        assert [len(b.pending) for b in books(quantizer)] == [1] * len(books(quantizer))
        quantizer.commit()
        grads.append(x.grad), states.append(state_of(quantizer))
    assert torch.equal(*grads) and same_state(quantizer, states[0])


@every
def test_autocast_finds_the_same_codes(name):
    """Values whose nearest code bfloat16 gets wrong: small differences far from zero."""
    z = torch.randn(4, 50, 4) * 0.05
    quantizer = make(name).eval()
    if books(quantizer):
        z = z + 30
        for book in books(quantizer):
            book.weight.mul_(0.05)
        books(quantizer)[0].weight.add_(30)
        table = books(quantizer)[0].weight
        rough = torch.cdist(z.bfloat16().float(), table.bfloat16().float()).argmin(-1)
        assert not torch.equal(rough, quantizer(z).codes[..., 0]), 'the data is too easy to tell float32 from bfloat16'
    want = quantizer(z)
    with torch.autocast('cpu', torch.bfloat16):
        out = quantizer(z)
        assert torch.equal(quantizer.encode(z), want.codes)
    assert torch.equal(out.codes, want.codes) and torch.equal(out.features, want.features)
    assert all(v.dtype == torch.float32 and torch.equal(v, want.losses[k]) for k, v in out.losses.items())


@every
def test_half_precision_input(name):
    """Features come back in the type that came in; codes, losses and statistics are those of the same values in float32."""
    quantizer, z = make(name).eval(), torch.randn(2, 9, 4).bfloat16()
    out, want = quantizer(z), quantizer(z.float())
    assert out.features.dtype == torch.bfloat16 and torch.equal(out.codes, want.codes) and torch.equal(quantizer.encode(z), want.codes)
    assert all(v.dtype == torch.float32 for v in out.losses.values())
    if name in LEARNING:
        with torch.autocast('cpu', torch.bfloat16):
            quantizer.train()(z)
            quantizer.commit()
        twin = make(name).train()
        twin(z.float())
        twin.commit()
        assert same_state(quantizer, state_of(twin))


@every
def test_state_dict_round_trip(name):
    quantizer = make(name).train()
    for _ in range(2):
        quantizer(torch.randn(2, 9, 4))
        quantizer.commit()
    torch.manual_seed(99)
    twin = build(**ARGS[name]).train()
    twin.load_state_dict(quantizer.state_dict())
    z = torch.randn(2, 9, 4)
    results = []
    for q in (quantizer, twin):
        torch.manual_seed(5)  # the published variants draw from the global generator
        results.append(q(z).codes)
        q.commit()
    assert torch.equal(*results) and same_state(twin, state_of(quantizer))
    assert all(not v.requires_grad and not v.is_complex() for v in quantizer.state_dict().values())


@every
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_values_without_a_nearest_code(name, value):
    quantizer, z = make(name).train(), torch.zeros(1, 3, 4)
    z[0, 1, 2] = value
    before = state_of(quantizer)
    for call in (quantizer, quantizer.encode):
        with pytest.raises(InputError, match=r'got features with NaN or infinite values'):
            call(z)
    quantizer.commit()
    assert same_state(quantizer, before)


@every
@pytest.mark.parametrize('shape', [(2, 9, 5), (9, 4), (2, 3, 3, 4)])
def test_wrong_shapes(name, shape):
    with pytest.raises(InputError, match=r'expected \[B, N, 4\]'):
        make(name)(torch.zeros(shape))


@every
def test_codes_are_checked(name):
    quantizer = make(name)
    sizes = quantizer.codebook_sizes
    good = torch.zeros(2, 9, len(sizes), dtype=torch.int64)
    for depth, size in enumerate(sizes):
        for wrong in (-1, size):
            codes = good.clone()
            codes[1, 4, depth] = wrong
            with pytest.raises(InputError, match=rf'codes at depth {depth} reach from {min(wrong, 0)} to {max(wrong, 0)}; .*0 to {size - 1}'):
                quantizer.decode(codes)
    for codes in (good.float(), good[..., :0], torch.zeros(2, 9, len(sizes) + 1).long()):
        with pytest.raises(InputError, match=rf'expected int64 \[B, N, {len(sizes)}\]'):
            quantizer.decode(codes)
    assert quantizer.decode(good[:0]).shape == (0, 9, 4)
