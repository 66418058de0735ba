import math
from dataclasses import replace

import pytest
import torch

from dtbox.errors import InputError
from dtbox.evaluation import EvalContext, Retrieval, ZeroShot
from dtbox.structures import Batch, TeacherOutput, TokenizerOutput, take


def part(pair, index, size):
    return take(pair[0], torch.tensor(index), size), take(pair[1], torch.tensor(index), size)


def run(metric, *pairs):
    for batch, outputs in pairs:
        metric.process(batch, outputs)
    return metric


def unit(*degrees):
    return torch.tensor([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def outputs_of(tokens, text, teacher_pooled=None):
    n = len(tokens)
    return TokenizerOutput(images=torch.zeros(n, 3, 2, 2), pooled=tokens, text_pooled=text,
                           teacher=None if teacher_pooled is None else TeacherOutput(pooled=teacher_pooled))


def test_retrieval_by_hand():
    text, tokens = unit(0, 40, 80), unit(10, 50, 20)
    batch = Batch(images=torch.zeros(3, 3, 2, 2), texts=['a', 'b', 'c'], keys=['0', '1', '2'])
    found = run(Retrieval(ks=(1, 2)), (batch, outputs_of(3 * tokens, 2 * text, text))).compute()
    # text a 0: 10* 20 50; b 40: 50* 20 10; c 80: 50 20* 10; image 10: a; 50: b (10 off); 20: a, b, c tie-free, last
    assert found == pytest.approx({'t2i_r1/tokens': 2 / 3, 't2i_r2/tokens': 1, 'i2t_r1/tokens': 2 / 3,
                                   'i2t_r2/tokens': 2 / 3, 't2i_r1/teacher': 1, 't2i_r2/teacher': 1,
                                   'i2t_r1/teacher': 1, 'i2t_r2/teacher': 1, 'kept': 2 / 3},
                                  abs=1e-9)


def test_retrieval_equal_captions_and_several_captions():
    tokens, text = unit(0, 90, 90, 180), unit(2, 1, 91, 1)
    batch = Batch(images=torch.zeros(4, 3, 2, 2), texts=['a', 'b', 'c', 'b'], keys=['x', 'y', 'y', 'z'])
    found = run(Retrieval(ks=(1,)), (batch, outputs_of(tokens, text))).compute()
    # pictures x 0, y 90, z 180; texts a 2 -> x, b 1 -> y or z (x is nearest: wrong), c 91 -> y
    # x: nearest b, wrong; y: c is right; z: c is nearest, b not
    assert found == pytest.approx({'t2i_r1/tokens': 2 / 3, 'i2t_r1/tokens': 1 / 3})


def test_retrieval_leaves_out_empty_captions_and_says_so(make, build):
    batch, outputs = make(4)
    batch = replace(batch, texts=['one', '  ', 'three', 'four'])
    metric = run(build('Retrieval'), (batch, outputs))
    assert metric.compute() == pytest.approx(run(build('Retrieval'), part((batch, outputs), [0, 2, 3], 4)).compute())
    assert metric.skipped == 'images without a caption (1 image)'
    metric = run(build('Retrieval'), (replace(batch, texts=[''] * 4), outputs))
    assert metric.compute() == {} and 'without a caption' in metric.skipped


def test_retrieval_sides_and_embedding_by_the_context(make, build):
    batch, outputs = make(6)
    metric = run(build('Retrieval'), (batch, outputs.replace(text_pooled=None, teacher=None)))
    found = metric.compute()
    assert set(found) == {f'{way}_r{k}/tokens' for way in ('t2i', 'i2t')
                          for k in (1, 5, 10)} and 'teacher' in metric.skipped
    metric = run(build('Retrieval'), (batch, outputs.replace(pooled=torch.ones(6, 3))))
    assert set(metric.compute()) == {f'{way}_r{k}/teacher' for way in ('t2i', 'i2t') for k in (1, 5, 10)}
    assert 'tokens embeds to 3 numbers, texts to 5' in metric.skipped
    with pytest.raises(InputError, match='one text embedding for each of 6'):
        run(build('Retrieval'), (batch, outputs.replace(text_pooled=torch.ones(4, 5))))


def test_samples_without_keys_are_pictures_of_their_own(make, build):
    batch, outputs = make(6)
    pair = replace(batch, keys=None), outputs
    expected = run(build('Retrieval'), (batch, outputs)).compute()
    a, b = run(build('Retrieval'), part(pair, [0, 1], 6)), run(build('Retrieval'), part(pair, [2, 3, 4, 5], 6))
    assert a.merge(b).compute() == pytest.approx(expected)


def test_collapsed_embeddings_score_zero(make, build):
    batch, outputs = make(6)
    found = run(build('Retrieval'), (batch, outputs.replace(pooled=torch.ones(6, 5)))).compute()
    assert found['t2i_r1/tokens'] == 0 and found['kept'] < 0.5


def test_zero_shot_by_hand():
    context = EvalContext(classes=['east', 'north', 'west'], embed_text=lambda texts: unit(*(
        dict(east=0, north=90, west=180)[t.split()[-1]] + (10 if t.startswith('see') else -10) for t in texts)))
    batch = Batch(images=torch.zeros(5, 3, 2, 2), labels=torch.tensor([0, 1, 2, -1, 1]))
    metric = ZeroShot(templates=('{}', 'see {}'), ks=(1, 2), block=2)
    metric.setup(context)
    found = run(metric, (batch, outputs_of(unit(5, 80, 100, 0, 200), None, unit(0, 90, 180, 0, 90)))).compute()
    assert found == {'zeroshot_top1/tokens': 0.5, 'zeroshot_top2/tokens': 1.0, 'zeroshot_top1/teacher': 1.0,
                     'zeroshot_top2/teacher': 1.0}
    assert metric.skipped == 'images without a class (1 image)'
    with pytest.raises(InputError, match='beyond the 3 class names'):
        run(metric, (replace(batch, labels=batch.labels + 2), outputs_of(unit(0, 0, 0, 0, 0), None)))
    none = metric.fresh()
    assert run(none, (replace(batch, labels=batch.labels * 0 - 1),
                      outputs_of(unit(0, 0, 0, 0, 0), None))).compute() == {}


def test_zero_shot_embeds_the_classes_once_a_pass(make, context):
    calls = []
    metric = ZeroShot()
    counting = replace(context, embed_text=lambda texts: calls.append(1) or context.embed_text(texts))
    for passes in (1, 2):
        metric.setup(counting)
        for copy in (metric.fresh(), metric.fresh()):
            run(copy, make(4), make(4, 1))
        assert len(calls) == passes
    with pytest.raises(InputError, match='templates'):
        ZeroShot(templates=('a photo',))


def test_most_captions_of_an_image():
    """With `most=1` only the first caption of each image is a query: of a, b (right) and c, d (wrong) a and c count."""
    vectors = dict(zip('abcd', unit(0, 90, 90, 0)))
    outputs = TokenizerOutput(images=torch.zeros(2, 3, 2, 2), pooled=unit(0, 90))
    batch = Batch(images=outputs.images, texts=['a', 'c'], captions=[['a', 'd'], ['c', 'b']], keys=['x', 'y'])
    context = EvalContext(embed_text=lambda texts: torch.stack([vectors[t] for t in texts]))
    found = {}
    for most in (1, None):
        metric = Retrieval(ks=(1,), most=most)
        metric.setup(context)
        metric.process(batch, outputs)
        found[most] = len(metric.pairs)
    assert found == {1: 2, None: 4}


def test_nothing_is_kept_of_a_teacher_that_guesses():
    """Of 64 images the teacher finds one in each direction, as guessing would; the tokens find all of them."""
    torch.manual_seed(0)
    text = torch.nn.functional.normalize(torch.randn(64, 48), dim=1)
    batch = Batch(images=torch.zeros(64, 3, 2, 2), texts=[f't{i}' for i in range(64)], keys=[str(i) for i in range(64)])
    blind = text.roll(1, 0).clone()
    blind[0], blind[1] = text[0], text[63]
    metric = run(Retrieval(ks=(1,)), (batch, outputs_of(text, text, blind)))
    found = metric.compute()
    assert found['t2i_r1/tokens'] == 1 and 0 < found['t2i_r1/teacher'] < 0.05 and 'kept' not in found
    assert 'the teacher does not know these images' in metric.skipped
    half = text.clone()
    half[:32] = text[:32].roll(1, 0)  # the other half of them are far more than guessing
    assert run(Retrieval(ks=(1,)), (batch, outputs_of(text, text, half))).compute()['kept'] == pytest.approx(2, rel=0.1)
