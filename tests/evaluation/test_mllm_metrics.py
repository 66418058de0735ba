"""Scores of a multimodal language model by hand: replies, drawings, likelihoods. Ranks, merging and missing parts are
tested by the contract (`tests/testing`)."""
import math

import numpy as np
import pytest
import torch

from dtbox.datasets import TwemojiTalk
from dtbox.datasets.emoji_questions import BACKGROUNDS
from dtbox.errors import InputError
from dtbox.evaluation import (
    AnswerAccuracy,
    CaptionScore,
    ClosedLoop,
    CodeLikelihood,
    DrawingFrechet,
    DrawingScore,
    Infos,
    SetEvaluator,
    read_samples,
    write_samples,
)
from dtbox.evaluation.functional import cider_d
from dtbox.mllm_output import MLLMOutput, Reply
from dtbox.report.pairs import _series
from dtbox.structures import Batch
from tests.mllm_outputs import JUDGE, drawings_of, images_of, replies_of, run


def test_captions_by_hand():
    pair = replies_of([('caption', 'a red big heart', 'Red  heart')], [('caption', 'Pear', 'pear')],
                      [('size', 'small', 'small')], [('caption', 'lemon', 'plum')])
    metric = run(CaptionScore(), pair)
    found = metric.compute()
    assert found['caption_f1'] == pytest.approx((2 / 3 + 1 + 0) / 3) and found['caption_exact'] == pytest.approx(1 / 3)
    assert found['caption_exact/stderr'] == pytest.approx((2 / 9 * 3 / 2 / 3) ** 0.5)
    truths = [['a red big heart'], ['pear'], ['lemon']]
    assert found['cider'] == pytest.approx(sum(cider_d(['red heart', 'pear', 'plum'], truths)) / 3)
    assert found['cider_ceiling'] == pytest.approx((10 + 2.5 + 2.5) / 3)
    assert metric.skipped == 'images without a reply of the kind `caption` (1 image)'
    assert metric.samples()['caption_f1'][[0, 1, 3]] == pytest.approx([2 / 3, 1, 0])


def test_several_right_captions():
    """The best one counts."""
    images = torch.zeros(2, 3, 2, 2)
    replies = [[Reply('caption', '', 'a red heart', 'red heart', others=('red heart',))],
               [Reply('caption', '', 'pear', 'green pear', others=('a green pear',))]]
    found = run(CaptionScore(), (Batch(images=images), MLLMOutput(images, replies=replies))).compute()
    assert found['caption_exact'] == 0.5 and found['caption_f1'] == pytest.approx((1 + 4 / 5) / 2)


def test_closed_loop_by_hand():
    pair = replies_of([('closed_loop', 'red heart', 'red heart'), ('closed_loop', 'red heart', 'blue heart')],
                      [('closed_loop', 'pear', 'plum'), ('caption', 'pear', 'pear')])
    found = run(ClosedLoop(), pair).compute()
    assert found['closed_loop_exact'] == pytest.approx((0.5 + 0) / 2)
    assert found['closed_loop_f1'] == pytest.approx(((1 + 0.5) / 2 + 0) / 2)


def test_answers_by_hand():
    pair = replies_of([('size', 'small', 'small'), ('flag', 'yes', 'Yes.')], [('size', 'small', 'large')],
                      [('size', 'large', 'huge'), ('flag', 'no', 'yes')], [('caption', 'pear', 'pear')])
    metric = run(AnswerAccuracy(), pair)
    found = {name: value for name, value in metric.compute().items() if not name.endswith('/stderr')}
    assert found == pytest.approx({'answer/size': 1 / 3, 'majority/size': 2 / 3, 'asked/size': 3, 'answer/flag': 0.5,
                                   'majority/flag': 0.5, 'asked/flag': 2, 'answers': (1 / 3 + 1 / 2) / 2,
                                   'majority': (2 / 3 + 1 / 2) / 2})
    assert metric.samples()['answer/flag'][[0, 2]].tolist() == [1, 0]


def test_no_captions_and_no_questions():
    pair = replies_of([], [('size', 'small', 'small')])
    metric = run(CaptionScore(), pair)
    assert metric.compute() == {} and 'without a reply of the kind `caption`' in metric.skipped
    metric = run(AnswerAccuracy(), replies_of([], []))
    assert metric.compute() == {} and metric.skipped == 'images without a question (2 images)'


def look(image):
    """Name of the background whose colour most corners have: a reply that is read from the pixels."""
    corners = [image[:, y, x].tolist() for y in (0, -1) for x in (0, -1)]
    known = {name: sum(list(colour) == corner for corner in corners) for name, colour in BACKGROUNDS.items()}
    return max(known, key=known.get)


@pytest.mark.parametrize('blank', [False, True])
def test_blank_images_are_worth_the_majority(blank):
    """Who looks at the pixels is right about the background; on blank images nothing is better than one answer."""
    data = TwemojiTalk('variants', limit=64, kinds=['background', 'size'], blank=blank)
    samples = []
    for talk in (data[i]['conversation'] for i in range(len(data))):
        guess = dict(background=look(talk.images[0]), size='large')
        samples.append([(turn.kind, turn.text, guess[turn.kind]) for turn in talk.turns if turn.kind in guess])
    found = run(AnswerAccuracy(), replies_of(*samples)).compute()
    assert found['answer/size'] <= found['majority/size'] < 0.6
    if blank:
        assert found['answer/background'] <= found['majority/background'] < 0.25
    else:
        assert found['answer/background'] > 0.95


def test_drawings_by_hand():
    """Prompts 0, 90, 180 degrees. Seed 1: all right. Seed 2: the drawing of 0 lies at 85, nearer to 90 than its own."""
    pair = drawings_of([0, 90, 180], **{'s=2': [[10, 80, 190], [85, 100, 180]]})
    found = run(DrawingScore(ks=(1, 2)), pair, context=JUDGE).compute()
    assert found['drawing_t2i_r1/s=2'] == pytest.approx((1 + 2 / 3) / 2) == found['drawing_i2t_r1/s=2']
    assert found['drawing_t2i_r2/s=2'] == 1
    cosines = [math.cos(math.radians(d)) for d in (10, 10, 10, 85, 10, 0)]
    assert found['drawing_cosine/s=2'] == pytest.approx(sum(cosines) / 6, abs=1e-6)
    errors = [(2 - 2 * c) / 12 + 1e-8 for c in cosines]
    assert found['drawing_psnr/s=2'] == pytest.approx(sum(-10 * math.log10(e) for e in errors) / 6, abs=1e-3)
    assert found['drawing_t2i_r1/real'] == found['drawing_i2t_r1/real'] == 1
    assert found['drawing_t2i_r1/shuffled'] == found['drawing_i2t_r1/shuffled'] == 0
    assert found['drawing_cosine/shuffled'] == pytest.approx(-1 / 3, abs=1e-6)


def test_the_two_directions_of_recall():
    """Prompts 0, 20, 90, drawings at 50, 60, 90: 20 finds 50, which is 0's; 50 is nearest to 20 and 60 to 90."""
    found = run(DrawingScore(), drawings_of([0, 20, 90], **{'s=1': [[50, 60, 90]]}), context=JUDGE).compute()
    assert found['drawing_t2i_r1/s=1'] == pytest.approx(2 / 3)
    assert found['drawing_i2t_r1/s=1'] == pytest.approx(1 / 3)


def test_drawings_that_ignore_the_prompt():
    """The same drawing for every prompt: ties count against, R@1 is 0; so are drawings of other prompts."""
    degrees = list(range(0, 360, 30))
    same, other = [[45] * 12], [degrees[5:] + degrees[:5]]
    found = run(DrawingScore(), drawings_of(degrees, same=same, other=other), context=JUDGE).compute()
    assert found['drawing_t2i_r1/same'] == found['drawing_t2i_r5/same'] == 0
    assert found['drawing_t2i_r1/other'] == found['drawing_i2t_r1/other'] == 0 and found['drawing_t2i_r1/real'] == 1


def test_equal_prompts_are_one_text():
    """Two images of one prompt: either drawing is right."""
    pair = drawings_of([0, 10, 90], prompts=['5', '5', '90'], **{'s=1': [[0, 40, 90]]})
    batch, outputs = pair
    found = run(DrawingScore(), (Batch(images=batch.images, keys=['a', 'b', 'c']), outputs), context=JUDGE).compute()
    assert found['drawing_t2i_r1/s=1'] == 1 and found['drawing_i2t_r1/s=1'] == 1


def test_reconstructions_are_an_anchor():
    batch, outputs = drawings_of([0, 90], **{'s=1': [[0, 90]]})
    outputs = outputs.replace(reconstructions=images_of(0, 80))
    found = run(DrawingScore(), (batch, outputs), context=JUDGE).compute()
    assert found['drawing_cosine/reconstruction'] == pytest.approx((1 + math.cos(math.radians(10))) / 2)
    assert found['drawing_t2i_r1/reconstruction'] == 1 and found['drawing_psnr/s=1'] == pytest.approx(80)


def test_frechet_of_drawings():
    """Drawings that equal the real images: 0. All shifted by d: |d|^2. Mean over two seeds."""
    degrees = list(range(0, 360, 40))
    batch, outputs = drawings_of(degrees, **{'s=1': [degrees, degrees]})
    moved = outputs.drawings['s=1'].clone() * 0.5
    moved[:, 1, 0] += 0.1
    outputs = outputs.replace(images=0.5 * outputs.images, drawings={'s=1': moved})
    found = run(DrawingFrechet(), (batch, outputs), context=JUDGE).compute()
    assert found == pytest.approx({'drawing_frechet/s=1': (0 + 0.3 ** 2) / 2}, abs=1e-6)


@pytest.mark.parametrize('kind', [DrawingScore, DrawingFrechet])
def test_ways_of_sampling_stay_the_same(kind):
    metric = run(kind(), drawings_of([0, 90], **{'s=1': [[0, 90]]}), context=JUDGE)
    with pytest.raises(InputError, match='the same ways of sampling in every batch'):
        metric.process(*drawings_of([0, 90], **{'s=2': [[0, 90]]}))
    with pytest.raises(InputError, match="label 'real'; expected"):
        run(kind(), drawings_of([0, 90], real=[[0, 90]]), context=JUDGE)


def test_likelihood_by_hand():
    images = torch.zeros(2, 3, 2, 2)
    nats = torch.tensor([[1.0, 3.0], [2.0, 6.0]])
    outputs = MLLMOutput(images, nats=dict(pixel=nats),
                         nats_without=dict(pixel=nats + torch.tensor([[0.5, 0.0], [1.5, 0.0]])))
    metric = run(CodeLikelihood(), (Batch(images=images), outputs))
    found = metric.compute()
    assert found['nats/pixel'] == 3 and (found['nats/pixel/depth0'], found['nats/pixel/depth1']) == (1.5, 4.5)
    assert found['nats_without/pixel'] == pytest.approx(3.5) and found['nats_without/pixel/depth0'] == 2.5
    assert found['prompt_gain/pixel'] == pytest.approx(0.5) and found['prompt_gain/pixel/depth1'] == 0
    assert found['prompt_gain/pixel/stderr'] == pytest.approx(0.25)  # gains 0.25 and 0.75
    same = run(CodeLikelihood(), (Batch(images=images), outputs.replace(nats_without=outputs.nats))).compute()
    assert same['prompt_gain/pixel'] == 0 == same['prompt_gain/pixel/depth0']
    alone = run(CodeLikelihood(), (Batch(images=images), outputs.replace(nats_without={}))).compute()
    assert set(alone) == {'nats/pixel', 'nats/pixel/stderr', 'nats/pixel/depth0', 'nats/pixel/depth1'}


def test_sets_of_an_evaluator():
    """One column a set; every value is described; `all` has what adds up."""
    kinds = [CaptionScore(), AnswerAccuracy(), DrawingScore(), CodeLikelihood()]
    evaluator = SetEvaluator(kinds)
    assert {'replies', 'drawings', 'nats', 'prompts'} <= evaluator.reads
    evaluator.setup(JUDGE)
    batch, outputs = drawings_of([0, 90, 180, 270], **{'s=1': [[0, 90, 180, 270]]})
    replies = [[Reply('caption', '', 'a', 'a'), Reply('size', '', 'small', 'large')]] * 4
    batch = Batch(images=batch.images, keys=batch.keys, sets=['concepts', 'variants'] * 2)
    evaluator.update(batch, outputs.replace(replies=replies, nats=dict(pixel=torch.ones(4, 2))))
    results = evaluator.results()
    assert results.sets['all']['caption_f1'] == 1 and results.sets['all']['answer/size'] == 0
    assert results.sets['variants']['drawing_t2i_r1/s=1'] == 1 and 'drawing_t2i_r1/s=1' not in results.sets['all']
    assert results.sets['concepts']['nats/pixel'] == 1


def drawn_rows(pair, ks=(1, 2)):
    """Return (scores, arrays of samples.npz) of an evaluation with DrawingScore alone."""
    evaluator = SetEvaluator([dict(type='DrawingScore', ks=ks)])
    evaluator.setup(JUDGE)
    evaluator.update(*pair)
    return evaluator.results().sets['heldout'], evaluator.samples()


def test_places_of_single_drawings_by_hand(tmp_path):
    """Prompts 0, 90, 180. The second drawing of 0 lies at 85: it prefers the prompt 90, and 90 prefers it to its own at
    100; the reconstruction is drawn once."""
    batch, outputs = drawings_of([180, 0, 90], **{'s=2': [[190, 10, 80], [180, 85, 100]]})
    outputs = outputs.replace(reconstructions=images_of(180, 0, 90))
    _, arrays = drawn_rows((batch, outputs))
    write_samples(arrays, tmp_path / 'samples.npz')
    found = {name.partition('/')[2]: value.tolist() for name, value in read_samples(tmp_path / 'samples.npz').items()
             if name.startswith('drawings/')}
    assert found['keys'] == found['prompt'] == ['0', '0', '180', '180', '90', '90']
    assert found['seed'] == [0, 1, 0, 1, 0, 1] and found['sets'] == ['heldout'] * 6
    assert found['t2i_s=2'] == [0, 0, 0, 0, 0, 1] and found['i2t_s=2'] == [0, 1, 0, 0, 0, 0]
    assert found['cosine_s=2'] == pytest.approx([math.cos(math.radians(d)) for d in (10, 85, 10, 0, 10, 10)], abs=1e-6)
    assert found['i2t_reconstruction'][::2] == [0, 0, 0] and all(map(math.isnan, found['i2t_reconstruction'][1::2]))


@pytest.mark.parametrize('prompts', [None, ['5', '5', '90', '200'], ['5', '90', '5', '5']])
def test_places_of_single_drawings_are_the_recall(prompts):
    """Below K they are R@K, also where images share a prompt."""
    batch, outputs = drawings_of([0, 10, 90, 200], prompts=prompts, **{'s=2': [[40, 80, 100, 10], [0, 10, 200, 95]]})
    scores, arrays = drawn_rows((Batch(images=batch.images, keys=['a', 'b', 'c', 'd']), outputs))
    for way in ('t2i', 'i2t'):
        places = arrays[f'drawings/{way}_s=2']
        for k in (1, 2):
            assert (places[np.isfinite(places)] < k).mean() == pytest.approx(scores[f'drawing_{way}_r{k}/s=2'])
    assert np.nanmean(arrays['drawings/cosine_s=2']) == pytest.approx(scores['drawing_cosine/s=2'])


def test_reports_find_the_places_of_drawings():
    """The info of R@K names the column, from which a report takes paired differences."""
    infos = Infos(DrawingScore().infos())
    assert infos.describe('heldout/drawing_t2i_r5/s=2').samples == ('drawings/t2i_s=2', 5)
    arrays = drawn_rows(drawings_of([0, 90, 180], **{'s=2': [[10, 80, 190], [85, 100, 180]]}))[1]
    keys, hits = _series(arrays, infos.describe('heldout/drawing_t2i_r1/s=2'))
    assert [key.split('\x1f')[1] for key in keys] == ['0', '180', '90'] and hits.tolist() == [1, 1, 0.5]


def test_a_set_of_drawings_and_questions():
    """Rows that are asked and not drawn have neither prompt nor drawing: scores are those of the others alone."""
    nats = dict(pixel=torch.tensor([[1.0, 2.0], [float('nan')] * 2, [3.0, 4.0]]))
    batch, whole = drawings_of([0, 45, 90], prompts=['0', '', '90'], **{'s=1': [[10, 0, 85]]})
    whole.drawings['s=1'][1] = float('nan')
    whole = whole.replace(nats=nats)
    rest = drawings_of([0, 90], **{'s=1': [[10, 85]]})
    rest = rest[0], rest[1].replace(nats=dict(pixel=nats['pixel'][[0, 2]]))
    for make in (DrawingScore, DrawingFrechet, CodeLikelihood):
        found = run(make(), (batch, whole), context=JUDGE)
        want = run(make(), rest, context=JUDGE)
        assert found.compute() == pytest.approx(want.compute(), nan_ok=True) and found.compute()
        assert found.reasons['samples that are not drawn'] == 1
    assert run(CodeLikelihood(), (batch, whole)).compute()['nats/pixel'] == 2.5
