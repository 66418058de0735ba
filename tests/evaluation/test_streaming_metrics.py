import math
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from dtbox import distributed
from dtbox.errors import InputError
from dtbox.evaluation import L1, PSNR, SSIM, CodeUsage, EvalContext, Metric, TokenCosine
from dtbox.evaluation.functional import frechet_distance, psnr, to_unit
from dtbox.registry import METRICS
from dtbox.structures import Batch, TeacherOutput, TokenizerOutput, take

SAME = dict(rel=1e-6, abs=1e-9)
"""Tolerance of values from batches of other sizes: sums are float64, what they sum is float32."""
ALL = ('PSNR', 'SSIM', 'L1', 'FrechetDistance', 'Retrieval', 'ZeroShot', 'TokenCosine', 'CodeUsage')


def part(pair, index, size):
    return take(pair[0], torch.tensor(index), size), take(pair[1], torch.tensor(index), size)


def run(metric, *pairs):
    for batch, outputs in pairs:
        metric.process(batch, outputs)
    return metric


@pytest.mark.parametrize('name', ALL)
def test_merge_and_batches_equal_the_whole(name, make, build):
    pair = make(11)
    whole = run(build(name), pair).compute()
    assert whole and all(isinstance(v, float) and k == k.lower() for k, v in whole.items())
    batched = run(build(name), part(pair, range(0, 4), 11), part(pair, range(4, 11), 11)).compute()
    a, b = run(build(name), part(pair, range(0, 4), 11)), run(build(name), part(pair, range(4, 11), 11))
    assert batched == pytest.approx(whole, **SAME) and a.merge(b).compute() == pytest.approx(whole, **SAME)


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('cut', [0, 3, 11])
def test_two_ranks_equal_one(name, cut, make, thread_ranks, build):
    pair = make(11)
    whole = run(build(name), pair).compute()

    def work(rank):
        metric = build(name)
        mine = [i for i in range(11) if (i < cut) == (rank == 0)]
        if mine:
            run(metric, part(pair, mine, 11))
        metric.sync()
        return metric.compute()

    for values in thread_ranks.run(work):
        assert values == pytest.approx(whole, **SAME)


@pytest.mark.parametrize('name', ALL)
def test_one_gloo_rank_runs_the_real_collectives(name, make, build):
    pair = make(6)
    whole = run(build(name), pair).compute()
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    try:
        metric = run(build(name), pair)
        metric.sync()
        assert metric.compute() == pytest.approx(whole, abs=1e-9)
        empty = build(name)
        empty.sync()
        assert empty.compute() == {}
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize('name', ALL)
def test_nothing_there_is_a_reason_not_an_error(name, make, build):
    batch, outputs = make(3, texts=False)
    bare = TokenizerOutput(images=outputs.images)
    metric = METRICS.build(dict(type=name))
    metric.process(Batch(images=batch.images), bare)
    assert metric.available(bare, batch) is not True
    assert metric.compute() == {} and metric.skipped
    assert build(name).compute() == {}


def test_mmengine_evaluator(make, build):
    from mmengine.evaluator import Evaluator
    batch, outputs = make(5)
    evaluator = Evaluator([build('PSNR', prefix='val'), build('L1'), build('Retrieval')])
    for _ in range(2):  # evaluate() starts anew
        evaluator.process(data_samples=[outputs], data_batch=batch)
        values = evaluator.evaluate(5)
        assert {'val/psnr', 'l1', 't2i_r1/tokens'} <= set(values)
        assert values['val/psnr'] == pytest.approx(psnr(to_unit(outputs.reconstructions),
                                                        to_unit(outputs.images)).mean().item())


def test_process_after_sync_is_an_error(make, build):
    metric = run(build('PSNR'), make(2))
    metric.sync()
    value = metric.compute()
    metric.sync()
    assert metric.compute() == value
    with pytest.raises(RuntimeError, match='reset'):
        run(metric, make(2))


def test_ranks_that_disagree_and_other_classes(make, thread_ranks):
    def work(rank):
        metric = PSNR()
        metric.add('sum', torch.zeros(1 + rank))
        metric.sync()

    with pytest.raises(InputError, match='Ranks must evaluate the same model'):
        thread_ranks.run(work)
    with pytest.raises(InputError, match='one class'):
        PSNR().merge(SSIM())
    with pytest.raises(NotImplementedError, match='update'):
        run(Metric(), make(1))


def test_pixel_values_by_hand(make):
    batch, outputs = make(2)
    images = torch.zeros(2, 3, 12, 12)
    outputs = outputs.replace(images=images, reconstructions=images + torch.tensor([0.2, 4.0]).view(2, 1, 1, 1))
    assert run(PSNR(), (batch, outputs)).compute() == pytest.approx(  # errors 0.1 and (clamped) 0.5 in [0, 1]
        {'psnr': (20 - 10 * math.log10(0.25)) / 2, 'psnr/stderr': (20 + 10 * math.log10(0.25)) / 2}, abs=1e-4)
    assert run(L1(), (batch, outputs)).compute() == pytest.approx({'l1': 2.1, 'l1/stderr': 1.9}, abs=1e-6)
    assert set(run(SSIM(), part((batch, outputs), [0], 2)).compute()) == {'ssim'}
    small = outputs.replace(images=images[..., :8], reconstructions=images[..., :8])
    assert 'at least 11 x 11' in run(SSIM(), (batch, small)).skipped
    with pytest.raises(InputError, match='one shape'):
        run(L1(), (batch, outputs.replace(reconstructions=images[..., :8])))


def test_low_precision_outputs(make, build):
    batch, outputs = make(4)
    low = outputs.replace(reconstructions=outputs.reconstructions.bfloat16(), pooled=outputs.pooled.bfloat16(),
                          features=dict(semantic=outputs.features['semantic'].bfloat16()))
    for name in ('PSNR', 'FrechetDistance', 'Retrieval', 'TokenCosine', 'ZeroShot'):
        exact, found = run(build(name), (batch, outputs)).compute(), run(build(name), (batch, low)).compute()
        assert found.keys() == exact.keys()


def test_frechet_metric(make, build, context):
    batch, outputs = make(9)
    found = run(build('FrechetDistance'), (batch, outputs)).compute()
    real, fake = outputs.teacher.pooled, context.teacher(outputs.reconstructions.clamp(-1, 1))
    assert found == {'frechet_teacher': pytest.approx(frechet_distance(real.mean(0), real.T.cov(), fake.mean(0),
                                                                       fake.T.cov()), rel=1e-5)}
    own = outputs.replace(teacher=None, reconstructions=outputs.images)
    assert run(build('FrechetDistance'), (batch, own)).compute()['frechet_teacher'] == pytest.approx(0, abs=1e-9)
    one = run(build('FrechetDistance'), part((batch, outputs), [0], 9))
    assert one.compute() == {} and 'at least two' in one.skipped


def test_token_cosine_by_hand(make):
    batch, outputs = make(2)
    ours = torch.tensor([[[1.0, 0.0], [1.0, 1.0]], [[2.0, 0.0], [0.0, 3.0]]])
    theirs = torch.tensor([[[1.0, 0.0], [1.0, -1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    outputs = outputs.replace(features=dict(semantic=ours), pooled=torch.tensor([[1.0, 0.0], [0.5, 0.75 ** 0.5]]),
                              teacher=TeacherOutput(tokens=theirs, pooled=torch.tensor([[2.0, 0.0]] * 2)))
    found = run(TokenCosine(), (batch, outputs)).compute()
    assert found == pytest.approx({'token_cosine': 3 / 4, 'token_mse': (4 + 1 + 4) / 8, 'pooled_cosine': 0.75},
                                  abs=1e-6)
    shorter = TeacherOutput(tokens=theirs[:, :1], pooled=torch.tensor([[1.0, 0.0]] * 2))
    metric = run(TokenCosine(), (batch, outputs.replace(teacher=shorter)))
    assert set(metric.compute()) == {'pooled_cosine'}
    assert 'token shapes differ: [2, 2], teacher [1, 2]' in metric.skipped
    metric = run(TokenCosine('words'), (batch, outputs.replace(pooled=None)))
    assert metric.compute() == {} and '`words`' in metric.skipped


def test_code_usage_by_hand():
    codes = dict(pixel=torch.tensor([[[0, 1], [0, 1]], [[2, 1], [0, 3]]]),
                 other=torch.zeros(2, 2, 1, dtype=torch.int64))
    metric = CodeUsage()
    metric.setup(EvalContext(vocabularies=dict(pixel=(2, [4, 6]))))
    outputs = TokenizerOutput(images=torch.zeros(2, 3, 2, 2), codes=codes)
    found = run(metric, (None, outputs)).compute()
    assert found['usage/pixel/depth0'] == 0.5 and found['dead/pixel/depth0'] == 2
    assert found['usage/pixel/depth1'] == pytest.approx(2 / 6) and found['dead/pixel/depth1'] == 4
    assert found['usage/pixel'] == pytest.approx(4 / 6) and found['dead/pixel'] == 2
    p = torch.tensor([3 / 8, 3 / 8, 1 / 8, 1 / 8])
    assert found['perplexity/pixel'] == pytest.approx(math.exp(-(p * p.log()).sum().item()), rel=1e-6)
    assert [h.tolist() for h in metric.histograms()['pixel']] == [[3, 0, 1, 0], [0, 3, 0, 1, 0, 0]]
    assert 'sizes of `other`' in metric.skipped
    with pytest.raises(InputError, match='0..3, got 0..4'):
        run(metric, (None, outputs.replace(codes=dict(pixel=torch.tensor([[[4, 0]], [[0, 0]]])))))
    with pytest.raises(InputError, match='2 codes per token'):
        run(metric, (None, outputs.replace(codes=dict(pixel=torch.zeros(2, 1, 3, dtype=torch.int64)))))


def test_gather_rows_of_different_lengths(thread_ranks):
    rows = [torch.arange(6.0).view(3, 2), torch.zeros(0, 0), 10 + torch.arange(2.0).view(1, 2)]
    for found in thread_ranks.run(lambda rank: distributed.gather_rows(rows[rank]), 3):
        assert torch.equal(found, torch.cat([rows[0], rows[2]]))
    assert all(len(found) == 0 for found in thread_ranks.run(lambda rank: distributed.gather_rows(rows[1]), 2))


def test_the_error_of_a_number_that_is_none(make, context, build):
    """NaN is not known to within 0."""
    batch, outputs = make(4)
    made = outputs.reconstructions.clone()
    made[1] = float('nan')
    for kind, name in (('PSNR', 'psnr'), ('L1', 'l1')):
        metric = build(kind)
        metric.process(batch, replace(outputs, reconstructions=made))
        found = metric.compute()
        assert math.isnan(found[name]) and math.isnan(found[f'{name}/stderr'])


def test_few_images_are_noted(make, context, build):
    """Fewer images than features: the distance is there, and what it is worth, too."""
    metric = build('FrechetDistance')
    metric.process(*make(4))
    assert metric.compute()['frechet_teacher'] >= 0
    assert 'fewer images than the 5 features of the network: the distance is biased' in metric.skipped
