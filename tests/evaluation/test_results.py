"""Results: the one form of scores, and its JSON."""
import json
import math

import pytest
from PIL import Image
from torch.utils.data import DataLoader

from dtbox.datasets import collate
from dtbox.datasets.image_folder import ImageFolder
from dtbox.errors import InputError
from dtbox.evaluation import EvalContext, MetricInfo, Results, SetEvaluator, format_table
from dtbox.evaluation.loop import evaluate
from dtbox.structures import TokenizerOutput

PSNR = MetricInfo('psnr', 'PSNR', 'dB', '.2f', 'higher', 'reconstruction')


def small(**more):
    return Results(dict(val={'psnr': 20.0, 'bad': None}, all={'psnr': 21.0, 'odd': math.inf}), dict(val=3, all=3),
                   **more)


def test_json_and_back(tmp_path):
    results = small(skipped=dict(FID='why'), missing=['a sentence'], protocols=dict(recipe=dict(hash='s', data='d')),
                    iteration=0, infos=(PSNR,))
    results.write(tmp_path / 'metrics.json')
    written = json.loads((tmp_path / 'metrics.json').read_text())
    assert list(written) == ['val', 'all', 'skipped', 'counts', 'missing', 'protocols', 'iteration', 'infos']
    assert written['infos'] == [dict(name='psnr', label='PSNR', unit='dB', format='.2f', direction='higher',
                                     group='reconstruction')]
    again = Results.read(tmp_path / 'metrics.json')
    assert again.infos == results.infos and again.sets['all'] == dict(psnr=21.0, odd=None) and again.held_out == ['val']
    assert (again.skipped, again.counts, again.missing, again.iteration) == (results.skipped, results.counts,
                                                                             results.missing, 0)
    assert Results.read(tmp_path / 'none.json') is None


def test_results_of_an_older_dtbox_are_read(tmp_path):
    old = dict(test=dict(psnr=20.5), all=dict(psnr=20.5, mine=1.0), skipped={}, counts=dict(test=9), iteration=7,
               evaluation=dict(time='then'))
    results = Results.from_dict(old)
    assert results.flat() == {'test/psnr': 20.5, 'all/psnr': 20.5,
                              'all/mine': 1.0} and results.evaluation == dict(time='then')
    assert results.described.describe('test/psnr').label == 'PSNR [dB]'
    assert results.described.describe('all/mine').lower is None


def test_rows_hold_finite_numbers_and_the_stamp():
    results = small(protocols=dict(recipe=dict(hash='s', data='d'), P=dict(hash='t', data='e')))
    assert results.row() == {'protocol': 's-d', 'val/psnr': 20.0,
                             'all/psnr': 21.0} and small().row() == {'val/psnr': 20.0, 'all/psnr': 21.0}
    assert results.stamp('psnr') == 's-d' and results.stamp('usage@P/pixel') == 't-e' and results.stamp('psnr@Q') == ''


class Pass:
    """A model that gives images back."""
    training = False

    def eval(self):
        return self

    train = prepare = lambda self, value=None: value

    def eval_context(self, dataset):
        return EvalContext()

    def predict(self, batch):
        images = batch.images.float() / 127.5 - 1
        return TokenizerOutput(images=images, reconstructions=images)


def test_results_say_what_the_data_leave_out(tmp_path):
    """In the JSON, in the table, and where protocols are joined; another kind of file is no sample that is missing."""
    for i in range(5):
        Image.new('RGB', (40, 40)).save(tmp_path / f'{i}.png')
    (tmp_path / 'a.heic').write_text('x')
    data = ImageFolder(tmp_path, 'heldout', [dict(type='ResizeCrop', size=32), dict(type='PackImage')])
    found = evaluate(Pass(), DataLoader(data, 2, collate_fn=collate), SetEvaluator([dict(type='PSNR')]))
    assert len(found.left_out) == 1 and '1 file that ends in .heic is left out' in found.left_out[0]
    assert not found.missing and found.to_dict()['left_out'] == found.left_out
    assert Results.from_dict(found.to_dict()).left_out == found.left_out
    table = format_table(Results.join(dict(one=found, two=found)))
    assert 'INCOMPLETE' not in table and 'found with the data, and not used\n  1 file that ends in .heic' in table


def test_protocols_are_joined_and_taken_apart():
    other = MetricInfo('psnr', 'another PSNR')
    one = Results(dict(val=dict(psnr=1.0), all=dict(psnr=1.0)), dict(val=4, all=4), dict(FID='why'), ['b'],
                  dict(one=dict(hash='s', data='d')), infos=(PSNR,))
    two = Results(dict(all={'psnr/tiles/64': 2.0, 'psnr': 3.0}), dict(all=2), {}, ['a'],
                  dict(two=dict(hash='t', data='d')), infos=(other,))
    joined = Results.join(dict(one=one, two=two))
    assert joined.sets == dict(val={'psnr@one': 1.0}, all={'psnr@one': 1.0, 'psnr@two/tiles/64': 2.0, 'psnr@two': 3.0})
    assert joined.counts == dict(val=4, all=4) and joined.skipped == {'FID@one': 'why'} and joined.missing == ['a', 'b']
    assert joined.protocols['two'] == dict(hash='t', data='d', counts=dict(all=2))
    assert joined.described.describe('all/psnr@one').label == 'PSNR [dB]'
    assert joined.described.describe('all/psnr@two').label == 'another PSNR'
    part = joined.of_protocol('two')
    assert part.sets == dict(val={}, all={'psnr/tiles/64': 2.0,
                                          'psnr': 3.0}) and part.counts == dict(all=2) and part.skipped == {}
    assert part.described.describe('all/psnr').label == 'another PSNR'


@pytest.mark.parametrize('values, says', [
     (dict(val=[1]), 'the set `val` holds'),
     (dict(val=dict(psnr='high')), "the set `val` holds 'high'; expected names " "of metrics and numbers"),
     (dict(counts=3), '`counts` is 3'), (dict(infos=[dict(label='x')]), '`infos` cannot be read')])
def test_what_is_not_results(values, says):
    with pytest.raises(InputError, match=f'FILE: .*{says}|FILE: {says}'):
        Results.from_dict(values, 'FILE')


def test_no_label_is_cut():
    """A label that is wider than its column goes on in the next line; the number stands beside its end."""
    words = [f'word{i}' for i in range(20)]
    info = MetricInfo('long', ' '.join(words), '', '.2f', 'higher')
    sets = {name: dict(long=0.25) for name in ('one', 'two', 'three')}
    lines = format_table(Results(sets, dict.fromkeys(sets, 4), infos=[info])).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith('word0 '))
    rows = lines[first:first + 4]
    shown = ' '.join(rows).split()
    assert [word for word in shown if word.startswith('word')] == words
    assert next(row for row in rows if 'word19' in row).split()[-3:] == ['0.25'] * 3 and max(map(len, rows)) <= 98
