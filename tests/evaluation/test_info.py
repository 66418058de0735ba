"""Metrics describe their values; nothing is guessed from the words of a name."""
import logging

import pytest

from dtbox.errors import InputError
from dtbox.evaluation import Infos, Metric, MetricInfo, SetEvaluator
from dtbox.evaluation.info import GROUPS, choose_headlines, list_registered_infos
from dtbox.registry import METRICS


def describe(name, *infos):
    return Infos(infos).describe(name)


@pytest.mark.parametrize('name', [
    'all/flicker', 'val/churn/pixel', 'all/seconds/tiles/256', 'all/peak_mb/resize/512', 'all/l1', 'a/frechet_teacher',
    'a/token_mse', 'val/rfid@rfid_clean', 'a/lpips', 'a/small/lpips', 'all/region_l1/rare', 'all/l1/tiles/96'])
def test_less_is_better(name):
    assert describe(name).lower is True


@pytest.mark.parametrize('name', [
    'all/psnr', 'a/t2i_r1/tokens', 'all/usage/pixel', 'all/usage/l1', 'all/usage/x/depth0', 'all/ssim/resize/64',
    'a/kept', 'a/knn_top1/teacher', 'a/region_psnr/small'])
def test_more_is_better(name):
    assert describe(name).lower is False


@pytest.mark.parametrize('name', [
    'all/perplexity/x', 'all/dead/x/depth1', 'all/change/source', 'all/frame_pairs', 'a/my_error',
    'a/some_distance/of_mine'])
def test_what_has_no_direction_is_not_ranked(name):
    """Neither what depends on the size of a codebook nor what nobody has described, whatever its words."""
    assert describe(name).lower is None


def test_a_declared_direction_counts_not_the_words():
    mine = MetricInfo('my_distance_ratio', 'ratio', direction='higher')
    assert describe('all/my_distance_ratio', mine).lower is False and describe('all/my_distance_ratio').lower is None


@pytest.mark.parametrize('name, label', [
     ('all/psnr', 'PSNR [dB]'), ('val/psnr@reconstruction', 'PSNR [dB]'),
     ('a/t2i_r10/tokens', 'text to image R@10, tokens'), ('a/zeroshot_top1@zs/teacher', 'zero-shot top-1, teacher'),
     ('a/zeroshot_top5/teacher', 'zero-shot top-5, teacher'), ('all/usage/pixel/depth1', 'codes in use, pixel depth 1'),
     ('all/psnr/tiles/256', 'PSNR [dB], tiles 256'), ('a/small/psnr', 'PSNR (small) [dB]'),
     ('a/region_top1/rare/tokens', 'category top-1, rare, tokens'), ('a/mine/{x}', 'mine/{x}'),
     ('a/t2i_ratio', 't2i_ratio')])
def test_labels(name, label):
    assert describe(name).label == label


def test_names_of_a_family():
    info = MetricInfo('top{k}/{part}', 'top-{k}')
    assert info.match('top5/left') == dict(k='5', part='left') and info.fields == ['k', 'part']
    assert info.match('topmost/left') is None and info.match('top5/left/right') is None and info.match('top5/') is None


def test_own_infos_count_before_those_of_the_registry():
    own = MetricInfo('psnr', 'my PSNR', direction='lower')
    assert describe('all/psnr', own).label == 'my PSNR' and describe('all/psnr@P', own).lower
    other = MetricInfo('psnr@P', 'that of P')
    assert describe('all/psnr@P', own, other).label == 'that of P' and describe('all/psnr', own,
                                                                                other).label == 'my PSNR'


def test_the_order_of_tables():
    names = ['a/usage/x/depth1', 'a/dead/x', 'a/usage/x', 'a/t2i_r10/tokens', 'a/mine', 'a/t2i_r5/tokens', 'a/ssim',
             'a/seconds/tiles/64', 'a/psnr']
    assert sorted(names, key=lambda n: describe(n).sort_key) == [
        'a/psnr', 'a/ssim', 'a/t2i_r5/tokens', 'a/t2i_r10/tokens', 'a/mine', 'a/seconds/tiles/64', 'a/usage/x',
        'a/dead/x', 'a/usage/x/depth1']


def test_headlines_are_those_of_all_or_of_the_first_sets():
    present = ['a/psnr', 'all/psnr', 'all/token_cosine', 'c/t2i_r1/tokens', 'a/t2i_r1/tokens', 'a/t2i_r1/teacher',
               'b/t2i_r5/tokens', 'b/t2i_r1/tokens', 'b/psnr@P']
    assert choose_headlines(present, Infos()) == ['all/psnr', 'all/token_cosine', 'a/t2i_r1/tokens', 'c/t2i_r1/tokens']


def test_where_scores_of_single_images_are():
    assert describe('a/t2i_r5/tokens').samples == ('t2i/tokens', 5) and describe('a/zeroshot_top1/teacher').samples == (
        'zeroshot/teacher',
        None,
    )
    assert describe('a/psnr').samples == ('psnr',
                                          None) and describe('a/mine/t2i_r5/tokens').samples == ('mine/t2i/tokens', 5)


def test_an_info_travels_as_json():
    for info in list_registered_infos():
        assert MetricInfo.from_dict(info.to_dict()) == info and info.group in GROUPS
    assert MetricInfo('x', 'X').to_dict() == dict(name='x',
                                                  label='X') and MetricInfo.from_dict(dict(name='x', label='X',
                                                                                           later=1)).label == 'X'


@pytest.mark.parametrize('args, says', [
    (dict(direction='up'), "`direction` of the metric info `x` is 'up'; expected one of higher, lower, none"),
    (dict(group='semantic'), 'Did you mean `semantics`'), (dict(format='.2q'), "`format` is '.2q'"),
    (dict(label='{k}'), 'may use the fields of the name')])
def test_what_an_info_cannot_be(args, says):
    with pytest.raises(InputError, match=says):
        MetricInfo(**{'name': 'x', 'label': 'X', **args})


def test_every_registered_metric_has_infos(build):
    for name in METRICS.module_dict:
        if issubclass(METRICS.module_dict[name], Metric):
            assert METRICS.module_dict[name].info, name
    prefixed = build('PSNR', prefix='small').infos()
    assert [(i.name, i.label, i.headline) for i in prefixed] == [('small/psnr', 'PSNR (small)', 0)]


def test_every_value_is_described(make, context):
    """What the built-in metrics yield fits an info of theirs."""
    names = ['PSNR', 'SSIM', 'L1', 'FrechetDistance', 'TokenCosine', 'CodeUsage', 'Retrieval', 'ZeroShot',
             'FrameChange']
    evaluator = SetEvaluator([dict(type=n, prefix='x' if n == 'L1' else '') for n in names])
    evaluator.setup(context)
    batch, outputs = make(6)
    evaluator.update(type(batch)(**{**vars(batch), 'keys': [f'clip/{i}' for i in range(6)]}), outputs)
    results = evaluator.results()
    values = results.sets['heldout']
    assert len(values) > 30 and all(results.described.knows(name) for name in values)
    assert results.described.describe('heldout/x/l1').lower


def test_a_metric_without_info_is_refused():
    class Bare(Metric):
        """Says nothing."""
    with pytest.raises(InputError, match=r'metrics.bare: the metric Bare does not say what its values are: it has no '
                                         r'`info`. Write in the class'):
        SetEvaluator(dict(psnr=dict(type='PSNR'), bare=Bare()))
    with pytest.raises(InputError, match='`info` of the metric Wrong is .* expected a list of MetricInfo'):
        class Wrong(Metric):
            info = MetricInfo('x', 'X')


def test_a_value_that_no_info_describes_is_told(make, context, caplog, monkeypatch):
    class Odd(Metric):
        """Describes another value than it yields."""
        info = [MetricInfo('x', 'X', direction='lower')]

        def update(self, batch, outputs):
            pass

        def values(self):
            return dict(y=1.0)
    from mmengine.logging import MMLogger
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append((record.levelname, record.getMessage()))
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handlers', [handler])
    evaluator = SetEvaluator([Odd()])
    evaluator.setup(context)
    evaluator.update(*make(2))
    assert evaluator.results().sets['all'] == dict(y=1.0) and lines[0][0] == 'WARNING'
    assert 'no `info` of a metric describes y' in lines[0][1]


def test_metrics_by_name():
    named = SetEvaluator(dict(psnr=dict(type='PSNR'), ssim=None, l1=dict(type='L1')))
    listed = SetEvaluator([dict(type='PSNR'), dict(type='L1')])
    assert [m.label for m in named.prototypes] == ['PSNR', 'L1'] and named.hash == listed.hash
    for wrong, says in ((dict(type='PSNR'), 'got one metric'), ('PSNR', 'expected a dict of metrics by name')):
        with pytest.raises(InputError, match=says):
            SetEvaluator(wrong)
