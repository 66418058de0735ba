"""Depth heads: what sees what, sampling = teacher forcing, a known distribution."""
import copy
import itertools
import math

import pytest
import torch

from dtbox.code_tables import CodeTables
from dtbox.errors import InputError
from dtbox.registry import VISUAL_HEADS
from dtbox.sampling import Guidance, SamplingRule
from dtbox.testing.subject import make_generator
from dtbox.testing.visual_subject import SIZES, WIDTH, change, make_codes, make_tables
from dtbox.visual_heads.depth import plan_chains
from dtbox.visual_heads.drawing import group_chains

TABLES = make_tables()
TWINS = CodeTables.from_tables({name: [torch.randn(9, 4, generator=make_generator(seed)) for seed in range(3)]
                                for name in SIZES}, 4)
ORDERS = ('independent', 'semantic_first', 'pixel_first', 'joint')
CELLS = [(name, depth) for name, sizes in SIZES.items() for depth in range(len(sizes))]


def build(order='independent', tables=TABLES, factor=4.0, **args):
    """A small head whose logits differ clearly, in evaluation."""
    args = {**dict(inner=16, blocks=2, heads=2), **args}
    head = VISUAL_HEADS.build(dict(type='DepthHead', order=order, **args), tables=tables, width=WIDTH).eval()
    with torch.no_grad():
        for p in head.parameters():
            p.mul_(factor if p.ndim > 1 else 1)
    return head


def list_seen(order, cell):
    """Cells that the logits of a cell may depend on, by the factorisation of the order."""
    name, depth = cell
    other = 'pixel' if name == 'semantic' else 'semantic'
    seen = {(name, d) for d in range(depth)}
    later = dict(independent='', semantic_first='pixel', pixel_first='semantic', joint='pixel')[order]
    return seen | {(other, d) for d in range(len(SIZES[other])) if name == later}


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('depth_input', ['sum', 'concat'])
def test_what_sees_what(order, depth_input):
    """Another code changes exactly the logits that may depend on it, and the others by no bit."""
    head = build(order, depth_input=depth_input)
    hidden, codes = torch.randn(5, WIDTH), make_codes(TABLES, 5)
    before = head.logits(hidden, codes)
    for name, depth in CELLS:
        size = SIZES[name][depth]
        after = head.logits(hidden, change(codes, name, (slice(None), depth), size))
        for cell in CELLS:
            moved = not torch.equal(before[cell[0]][cell[1]], after[cell[0]][cell[1]])
            assert moved == ((name, depth) in list_seen(order, cell)), (name, depth, cell)


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('depth_input', ['sum', 'concat'])
def test_sampling_sees_what_training_saw(order, depth_input, monkeypatch):
    """The logits at each draw are the teacher-forced logits of the codes that came out; 1e-5 of logits of about 1."""
    head = build(order, depth_input=depth_input, dropout=0.5).train()
    seen = {}
    monkeypatch.setattr('dtbox.sampling.sampler.Sampler.draw', lambda self, name, depth, logits: seen.setdefault(
        (name, depth), logits)[:self.rows].softmax(-1).multinomial(1)[:, 0])
    hidden = torch.randn(6, WIDTH)
    generators = [torch.Generator() for _ in range(3)]
    codes = head.sample(hidden, SamplingRule(), Guidance(3.0), generators)
    both = {name: torch.cat([value, value]) for name, value in codes.items()}
    logits = head.eval().logits(hidden, both)
    for name, depth in CELLS:
        assert torch.allclose(seen[name, depth], logits[name][depth], atol=1e-5)
        assert logits[name][depth].std() > 0.2


def test_a_known_distribution():
    """Codes of 2 x 2 x 3 kinds: 4,000 draws against the product of the conditional probabilities; chi-square with 11
    degrees of freedom below its 0.9999 quantile, 37.4."""
    rows = [torch.randn(size, 4) for size in (2, 2, 3)]
    tables = CodeTables.from_tables(dict(z=rows), 1)
    head = build(tables=tables, factor=8.0)
    hidden = torch.randn(1, WIDTH)
    kinds = torch.tensor(list(itertools.product(range(2), range(2), range(3))))
    with torch.no_grad():
        logits = head.logits(hidden.expand(12, -1), dict(z=kinds))['z']
    p = torch.stack([one.softmax(1).gather(1, kinds[:, d:d + 1])[:, 0] for d, one in enumerate(logits)]).prod(0)
    assert abs(float(p.sum()) - 1) < 1e-5 and float(p.max() / p.min()) > 3
    generators = [torch.Generator().manual_seed(seed) for seed in range(4000)]
    codes = head.sample(hidden.expand(4000, -1), SamplingRule(), None, generators)['z']
    seen = torch.bincount(codes @ torch.tensor([6, 3, 1]), minlength=12)
    assert float(((seen - 4000 * p) ** 2 / (4000 * p)).sum()) < 37.4


@pytest.mark.parametrize('order', ORDERS)
def test_untrained_loss(order):
    """ln K within 2 % at every depth, with the default sizes of a head and 1,024 codes."""
    tables = CodeTables.from_tables({name: [torch.randn(1024, 8) for _ in range(2)] for name in SIZES}, 4)
    head = VISUAL_HEADS.build(dict(type='DepthHead', order=order, inner=64, heads=4), tables=tables, width=WIDTH)
    with torch.no_grad():
        losses = head.losses(torch.randn(500, WIDTH), make_codes(tables, 500))
    for sums in losses.sums.values():
        assert (sums / 500 / math.log(1024) - 1).abs().max() < 0.02


@pytest.mark.parametrize('way', [dict(chunk=5), dict(recompute=True)])
def test_chunks_and_recomputation(way):
    """5 places at a time, or activations computed again: the same losses and gradients."""
    hidden, codes = torch.randn(23, WIDTH), make_codes(TABLES, 23)
    results = []
    for args in ({}, way):
        torch.manual_seed(1)
        head, x = build('joint', **args), hidden.clone().requires_grad_(True)
        sums = head.losses(x, codes).sums
        results.append([*sums.values(), *torch.autograd.grad(sum(s.sum() for s in sums.values()),
                                                             [x, *head.parameters()])])
    for a, b in zip(*results):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def test_dropout_in_training_alone():
    head = build(dropout=0.5)
    hidden, codes = torch.randn(4, WIDTH), make_codes(TABLES, 4)
    assert torch.equal(head.logits(hidden, codes)['pixel'][0], head.logits(hidden, codes)['pixel'][0])
    head.train()
    assert not torch.equal(head.logits(hidden, codes)['pixel'][0], head.logits(hidden, codes)['pixel'][0])


def test_each_stream_has_its_own_weights():
    """Losses of one stream reach no weight of the other chain."""
    head = build()
    head.losses(torch.randn(4, WIDTH), make_codes(TABLES, 4)).sums['semantic'].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in head.chains[0].parameters())
    assert all(p.grad.any() for p in head.chains[1].parameters())


@pytest.mark.parametrize('order, first, plan', [
    ('independent', None, [(['a'], []), (['b'], []), (['c'], [])]), ('joint', None, [(['c', 'a', 'b'], [])]),
    ('joint', 'b', [(['b', 'a', 'c'], [])]), ('b_first', None, [(['b'], []), (['a'], ['b']), (['c'], ['b'])])])
def test_plans(order, first, plan):
    assert plan_chains(['a', 'b', 'c'], order, first) == plan


@pytest.mark.parametrize('args, says', [
    (dict(order='semantic'), "`order` is 'semantic'. Did you mean `semantic_first`"),
    (dict(order='joint', first='pixle'), '^first: there is no stream `pixle`. Did you mean `pixel`'),
    (dict(first='pixel'), "`first` is 'pixel', which `order='independent'` does not read"),
    (dict(order='pixel_first', streams=['pixel']), "`order` is 'pixel_first'.*Expected one of: independent, joint"),
    (dict(heads=3), '3 heads do not divide the width 16'),
    (dict(streams=['text']), '^streams: there is no stream `text`'),
    (dict(inner=0), '`inner` is 0'), (dict(depth_input='mean'), "`depth_input` is 'mean'")])
def test_arguments_that_are_refused(args, says):
    with pytest.raises(InputError, match=says):
        build(**args)


def pair(**args):
    """A head whose two streams have one shape."""
    return build(tables=TWINS, **args)


@pytest.mark.parametrize('args, groups', [
    ({}, [['pixel', 'semantic']]), (dict(order='semantic_first'), [['semantic'], ['pixel']]),
    (dict(order='joint'), [['semantic']])])
def test_chains_that_step_together(args, groups):
    head = pair(**args)
    assert [[chain.streams[0] for chain in group] for group in group_chains(list(head.chains))] == groups
    assert [len(group) for group in group_chains(list(build().chains))] == [1, 1]  # of two shapes


def test_together_as_one_after_the_other(monkeypatch):
    """Stacked weights draw the same codes from the same random numbers."""
    head, hidden = pair(), torch.randn(8, WIDTH)
    drawn = []
    for large in (2 ** 24, 0):
        monkeypatch.setattr('dtbox.visual_heads.drawing.LARGE', large)
        head._drawers = None
        generators = [torch.Generator().manual_seed(seed) for seed in range(4)]
        drawn.append(head.sample(hidden, SamplingRule(), Guidance(2.0), generators))
    assert [len(drawer.chains) for drawer in head._drawers] == [1, 1]
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in SIZES)


@pytest.mark.parametrize('change', [
    lambda head, other: head.load_state_dict(other.state_dict()),
    lambda head, other: [p.copy_(q) for p, q in zip(head.parameters(), other.parameters())],
    lambda head, other: [setattr(p, 'data', q.data) for p, q in zip(head.parameters(), other.parameters())]])
def test_stacked_weights_follow_the_parameters(change):
    """After other weights, in whatever way they came, the next place is drawn with these."""
    head, other = pair(), pair()
    hidden = torch.randn(30, WIDTH)
    generators = [torch.Generator() for _ in range(30)]
    greedy = SamplingRule(temperature=0)
    before, want = (one.sample(hidden, greedy, None, generators) for one in (head, other))
    with torch.no_grad():
        change(head, other)
    after = head.sample(hidden, greedy, None, generators)
    assert all(torch.equal(after[name], want[name]) and not torch.equal(after[name], before[name]) for name in SIZES)


@pytest.mark.parametrize('kind', ['fused', 'foreach', 'plain'])
def test_an_image_is_drawn_with_the_weights_after_a_step(kind):
    """PyTorch counts no write of a fused optimizer."""
    head, codes = pair(), make_codes(TWINS, 30)
    hidden = torch.randn(30, WIDTH)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.5, **({} if kind == 'plain' else {kind: True}))
    generators = [torch.Generator() for _ in range(30)]
    greedy = SamplingRule(temperature=0)
    before = head.sample(hidden, greedy, None, generators)
    sum(value.sum() for value in head.losses(hidden, codes).sums.values()).backward()
    optimizer.step()
    after, want = (one.sample(hidden, greedy, None, generators) for one in (head, copy.deepcopy(head)))
    assert all(torch.equal(after[name], want[name]) and not torch.equal(after[name], before[name]) for name in SIZES)


def test_copies_hold_no_stacked_weights():
    head = pair()
    head.sample(torch.randn(1, WIDTH), SamplingRule(), None, [torch.Generator()])
    assert head._drawers is not None and copy.deepcopy(head)._drawers is None
