"""Packing, shared prefixes, padding and dropped conditions, seen by a small language model in float64."""
import pytest
import torch
from torch.utils.data import DataLoader

from dtbox.conversations import Conversation, ImagePart, Turn
from dtbox.datasets import ConversationFiles
from dtbox.sequence_batch import allowed_mask
from tests.conversation_data import ask, draw, write_rows
from tests.sequence_data import TinyLM, measure, put_together

TOLERANCE = dict(rtol=1e-10, atol=1e-10)
"""Of float64 sums of a few hundred terms of size 1 to 10 (1e-16 each), with room for other orders of summation."""
PAIRS = [('what is it', 'a cat'), ('red', 'no'), ('is it a dog', 'no'), ('what', 'a red dog')]


@pytest.fixture(scope='module')
def model(builder):
    return TinyLM(builder.tokens.vocab_size)


def assert_same(one, other):
    assert torch.allclose(one[0], other[0], **TOLERANCE)
    assert one[1].keys() == other[1].keys()
    assert all(torch.allclose(gradient, other[1][name], **TOLERANCE) for name, gradient in one[1].items())


@pytest.mark.parametrize('samples', [
    (Conversation('t', 'text', (Turn('assistant', ('a red cat',)),)), ask('q', 0, ('what is', 'a dog'))),
    (draw('a cat', 0), draw('a red dog', 1, 'other')),
    (draw('a cat', 0), ask('q', 1, *PAIRS), ask('r', 2, ('red', 'yes'))),
])
def test_packed_samples_equal_single_ones(make_builder, model, samples):
    batch, codes = put_together(*samples)
    packed, _ = make_builder(pack=60).build(batch, codes)
    assert len(packed) == 1 and packed.need_mask
    apart = [make_builder().build(put_together(sample)[0], codes)[0] for sample in samples]
    assert_same(measure(model, [packed]), measure(model, apart))


def test_shared_prefix_equals_single_turns(builder, model):
    """One image with four turns has the losses and gradients of four samples that each have the image."""
    shared = ask('q', 1, *PAIRS)
    batch, codes = put_together(shared)
    out, _ = builder.build(batch, codes)
    assert len(out) == 1 and out.need_mask
    apart = [builder.build(put_together(question)[0], codes)[0] for question in shared.questions()]
    assert len(apart) == 4 and not any(one.need_mask for one in apart)
    assert_same(measure(model, [out]), measure(model, apart))


def test_system_turn_in_a_shared_prefix(builder, model):
    turns = ask('q', 1, *PAIRS).turns
    shared = Conversation('q', 'question', (Turn('system', ('draw a',)), Turn('user', ('it', *turns[0].parts)),
                                            *turns[1:]), shared_prefix=True)
    batch, codes = put_together(shared)
    apart = [builder.build(put_together(question)[0], codes)[0] for question in shared.questions()]
    assert_same(measure(model, [builder.build(batch, codes)[0]]), measure(model, apart))


@pytest.mark.parametrize('pads', [1, 5, 50])
@pytest.mark.parametrize('side', ['left', 'right'])
def test_padding_changes_no_state(make_builder, model, side, pads):
    """Beside a longer sample, padded on either side, a sample has the states that it has alone."""
    builder = make_builder(context_length=100)
    samples = [draw('a cat', 0), ask('q', 1, *PAIRS), ask('r', 2, ('red', 'yes')), draw('a ' * (pads + 16), 2)]
    _, codes = put_together(*samples)
    rows = list(enumerate(map(builder.render, samples)))
    out = builder.assemble([[row] for row in rows], codes, side)
    states = model(out)
    for b, (i, rendered) in enumerate(rows):
        alone = builder.assemble([[(i, rendered)]], codes)
        shown = out.sample[b] >= 0
        assert torch.allclose(states[b, shown], model(alone)[0], **TOLERANCE)
        assert torch.equal(out.position[b, shown], alone.position[0])
    assert torch.isfinite(states).all()


def test_causal_attention_is_right_without_a_mask(builder, model):
    """Where `need_mask` is False, plain causal attention gives the losses of the mask."""
    batch, codes = put_together(draw('a cat', 0), ask('r', 2, ('red', 'yes')), draw('a a a a cat', 1))
    out, _ = builder.build(batch, codes)
    assert not out.need_mask
    causal = torch.ones(allowed_mask(out).shape, dtype=torch.bool).tril()
    assert torch.allclose(torch.stack(model.losses(out)), torch.stack(model.losses(out, causal)), **TOLERANCE)


def test_dropped_conditions_hide_the_prompt(make_builder, model):
    builder = make_builder(drop=1.0)
    edit = Conversation('e', 'draw', (Turn('user', (ImagePart(0), 'red')), Turn('assistant', (ImagePart(1, True),))))
    losses = []
    for talk in (draw('a cat', 1), draw('a red dog is it', 1), edit):
        batch, codes = put_together(talk)
        out, _ = builder.build(batch, codes)
        assert out.ids[0, :3].tolist() == builder.unconditional_prompt()
        losses.append(torch.stack(model.losses(out)))
        kept, _ = builder.build(batch, codes, train=False)
        assert kept.ids.shape != out.ids.shape
    assert torch.equal(losses[0], losses[1]) and torch.equal(losses[0], losses[2])


def test_only_drawings_lose_their_prompt(make_builder):
    batch, codes = put_together(ask('q', 1, *PAIRS), Conversation('t', 'text', (Turn('assistant', ('cat',)),)))
    dropped, kept = (make_builder(drop=p).build(batch, codes)[0] for p in (1.0, 0.0))
    assert torch.equal(dropped.ids, kept.ids)


def test_share_of_dropped_conditions(make_builder):
    """It is `drop`, drawn anew in each epoch, and the same for the same (seed, epoch, index)."""
    builder = make_builder(drop=0.25)
    draws = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0)):
        batch, _ = put_together(*[draw(key=str(i)) for i in range(400)], seed=seed, epoch=epoch)
        draws.append([builder.is_dropped(batch, i) for i in range(400)])
    assert draws[0] == draws[3] and draws[0] != draws[1] != draws[2] != draws[0]
    # 1,200 draws of p = .25: the standard error is .0125
    assert abs(sum(map(sum, draws[:3])) / 1200 - 0.25) < 0.05


@pytest.mark.slow
def test_dropped_conditions_and_workers(make_builder, tmp_path):
    """The number of workers that read the samples changes nothing."""
    rows = [dict(id=str(i), image='a.png', conversations=[{'from': 'human', 'value': 'cat'},
                                                          {'from': 'gpt', 'value': '<image>'}]) for i in range(40)]
    data = ConversationFiles(write_rows(tmp_path, rows), 'data.jsonl', pipeline=[dict(type='PackImage')], seed=3)
    builder = make_builder(drop=0.5)

    def draw_all(workers):
        loader = DataLoader(data, batch_size=8, sampler=range(40, 80), num_workers=workers, collate_fn=data.collate)
        return [builder.is_dropped(batch, i) for batch in loader for i in range(len(batch))]

    first = draw_all(0)
    assert 0 < sum(first) < 40
    assert draw_all(1) == draw_all(4) == first
