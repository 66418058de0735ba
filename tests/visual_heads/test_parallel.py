"""Parallel heads: a depth transformer with zero blocks, h at every depth."""
import torch

from dtbox.registry import VISUAL_HEADS
from dtbox.testing.visual_subject import SIZES, WIDTH, change, make_codes, make_tables

TABLES = make_tables()


def build(**cfg):
    return VISUAL_HEADS.build(cfg, tables=TABLES, width=WIDTH).eval()


def test_depth_head_of_zero_blocks():
    """With the same weights the first depths agree by the bit. The others agree where the map of the codes gives h,
    too: its weight is zero, its bias the output of the MLP."""
    deep, flat = build(type='DepthHead', inner=8, blocks=0, heads=1), build(type='ParallelHead', inner=8)
    hidden, codes = torch.randn(1, WIDTH).expand(3, -1), make_codes(TABLES, 3)
    with torch.no_grad():
        for chain, part in zip(deep.chains, flat.parts):
            part.load_state_dict({name.replace('classifiers.0', 'classifiers'): value for name, value in
                                  chain.state_dict().items() if not name.startswith('code_in')})
            chain.code_in[0].weight.zero_()
            chain.code_in[0].bias.copy_(part.hidden_in(hidden[0]))
    one, two = deep.logits(hidden, codes), flat.logits(hidden, codes)
    losses = [head.losses(hidden, codes).sums for head in (deep, flat)]
    for name, sizes in SIZES.items():
        assert torch.equal(one[name][0], two[name][0])
        for depth in range(len(sizes)):
            assert torch.allclose(one[name][depth], two[name][depth], atol=1e-6)
        assert torch.allclose(losses[0][name], losses[1][name], atol=1e-5)


def test_codes_do_not_see_one_another():
    head, hidden = build(type='ParallelHead', inner=8), torch.randn(3, WIDTH)
    codes = make_codes(TABLES, 3)
    before = head.logits(hidden, codes)
    after = head.logits(hidden, change(codes, 'pixel', (slice(None), 0), 5))
    assert all(torch.equal(a, b) for name in SIZES for a, b in zip(before[name], after[name]))
