"""What lies on disk, read as it is; what cannot be read is a sentence."""
import json
import os
import shutil
from types import SimpleNamespace

import pytest

from dtbox.ablation.columns import FACTS
from dtbox.errors import InputError
from dtbox.report.experiment import Experiment, Trial
from dtbox.report.metric_names import choose_headline, format_label, format_value
from dtbox.report.run_files import read_last_lines
from dtbox.report.trials import read
from dtbox.rows import read_rows


def copied(grid, tmp_path):
    shutil.copytree(grid, tmp_path / 'grid')
    return tmp_path / 'grid'


def edit(folder, old, new):
    path = folder / 'results.csv'
    path.write_text(path.read_text().replace(old, new, 1))


def test_grid(grid):
    found = read([grid])
    assert found.axes == dict(lr=['0.001', '0.01'], codebooks=['one', 'two & <more>']) and len(found.trials) == 8
    assert (
        found.reference == ('0.001', 'one')
        and found.heading == 'lr, codebooks'
        and found.name(('0.01', 'one')) == '0.01, one'
    )
    assert list(found.of(('0.001', 'two & <more>'))) == [0] and list(found.of(('0.01', 'one'))) == [0, 1]
    trial = found.trials[0]
    assert trial.facts['parameters'] == 3_000_000
    assert trial.metrics['all/frechet_teacher'] == 0.1
    assert trial.hashes['code_hash'] == 'c0de' * 4
    assert os.path.isfile(os.path.join(trial.folder, 'samples.npz')) and set(found.sets) == {'concepts', 'variants'}
    assert read([grid], ['all/ssim'], '0.01, one').reference == ('0.01', 'one')
    with pytest.raises(InputError, match='no finished trial has the metric `all/psnrr`. Did you mean `all/psnr`'):
        read([grid], ['all/psnrr'])


def test_grid_without_grid_json(grid, tmp_path):
    folder = copied(grid, tmp_path)
    (folder / 'grid.json').unlink()
    found = read([folder])
    assert list(found.axes) == ['lr',
                                'codebooks'] and found.reference is None and found.title == 'grid' and found.asked == []


def test_the_table_that_a_grid_writes(tmp_path):
    from dtbox.ablation.folder import GridFolder
    from dtbox.ablation.grid import Trial
    folder = GridFolder(tmp_path)
    made = [Trial(f'{lr}__seed0', dict(lr=lr), 0, {'model.lr': lr, 'model.quantizer': dict(type='RQ')},
                  'configs/twemoji.py', None) for lr in 'ab']
    os.makedirs(folder.trial(made[0]))
    hashes = {f'{part}_hash': part for part in ('config', 'code', 'plugin', 'data')}
    record = dict(status='done', hashes=hashes, identity='i', iterations=3, seconds=1.5, peak_mb=1.0, encode_rate=9.0,
                  decode_rate=8.0, parameters=7, tokens=2, bits=8.0, bits_per_pixel=0.5)
    (tmp_path / 'trials/a__seed0/trial.json').write_text(json.dumps(record))
    (tmp_path / 'trials/a__seed0/metrics.json').write_text(json.dumps(dict(all=dict(psnr=20.0), skipped={},
                                                                           iteration=3)))
    folder.write_table(SimpleNamespace(trials=made, axes=dict(lr='ab'), threads=2))
    found = read([tmp_path])
    assert found.axes == dict(lr=['a', 'b']) and [t.status for t in found.trials] == ['done', 'missing']
    assert found.metrics == ['all/psnr'] and found.trials[0].facts == {k: record[k] for k in FACTS if k
                                                                       != 'threads'} | dict(threads=2)
    assert found.trials[0].hashes == hashes and found.trials[1].settings == {
        'recipe': 'twemoji.py', 'model.lr': 'b', 'model.quantizer': dict(type='RQ')}


def run(folder, name, seed=None, metrics=True):
    (folder / name).mkdir(parents=True)
    if seed is not None:
        (folder / name / 'config.py').write_text(f'"""Written."""\nmodel = dict(seed=5)\nseed = {seed}\nraise '
                                                 'SystemExit\n')
    if metrics:
        (folder / name / 'metrics.json').write_text(json.dumps(dict(
            a={'psnr': 20.0, 'bad': None}, all=dict(psnr=20.0), skipped=dict(x='y'), counts=dict(all=3), iteration=7)))
        (folder / name / 'history.jsonl').write_text('{"iteration": 7, "seconds": 3.5}\n{"iteration": 8, "sec')
    return folder / name


def test_runs(tmp_path):
    folders = [run(tmp_path, 'vq-seed0', 0), run(tmp_path, 'vq_seed1', 1), run(tmp_path, 'rq', 4),
               run(tmp_path, 'lfq__seed3'), run(tmp_path, 'x', 0, False)]
    found = read(folders)
    assert [(t.variant, t.seed, t.status) for t in found.trials] == [
        (('vq',), 0, 'done'), (('vq',), 1, 'done'), (('rq',), 4, 'done'), (('lfq',), 3, 'done'), (('x',), 0, 'missing')]
    assert found.trials[0].metrics == {'a/psnr': 20.0,
                                       'all/psnr': 20.0} and found.trials[0].facts == dict(iterations=7, seconds=3.5)
    assert found.reference == ('vq',) and read(folders, reference='rq').reference == ('rq',)
    with pytest.raises(InputError, match='no variant `rqq`.*Did you mean `rq`'):
        read(folders, reference='rqq')


def test_two_runs_of_one_variant_and_seed(tmp_path, grid):
    folders = [run(tmp_path / 'a', 'vq', 0), run(tmp_path / 'b', 'vq', 0)]
    with pytest.raises(InputError, match='both the variant `vq` with seed 0'):
        read(folders)
    folder = copied(grid, tmp_path)
    edit(folder, ',one,1,', ',one,0,')
    with pytest.raises(InputError, match='both the variant `0.001, one` with seed 0'):
        read([folder])


def test_nothing_to_read(tmp_path, grid):
    with pytest.raises(InputError, match='there is no folder'):
        read([tmp_path / 'nothing'])
    with pytest.raises(InputError, match='results.csv is a file'):
        read([grid / 'results.csv'])
    with pytest.raises(InputError, match='neither the folder of a grid .* nor of a run'):
        read([tmp_path])
    with pytest.raises(InputError, match='not both'):
        read([grid, run(tmp_path, 'vq', 0)])


@pytest.mark.parametrize('old, new, says', [
     (',seed,', ',sead,', 'has no column seed'),
     (',codebooks,', ',other,', 'no column codebooks, which grid.json ' 'names'),
     ('diverged', 'diverged,more', 'not the columns of the header'),
     (',300,', ',many,', "`iterations` is 'many'; " "expected a number"),
     ('"reference": {"lr": "0.001"', '"reference": {"lr": "7"', 'which is none of its variants'),
     ('"axes": {', '"axes": 3, "x": {', '`axes` is 3, which no grid writes'),
     ('"{""recipe""', '"[""recipe""', '`overrides` is .* expected JSON')])
def test_bad_tables(grid, tmp_path, old, new, says):
    folder = copied(grid, tmp_path)
    edit(folder, old, new)
    about = folder / 'grid.json'
    about.write_text(about.read_text().replace(old, new))
    with pytest.raises(InputError, match=says):
        read([folder])


def test_a_trial_that_does_not_say_how_it_ended(grid, tmp_path):
    folder = copied(grid, tmp_path)
    edit(folder, 'diverged,"at iteration 7, the term l2 is NaN."', 'killed,')
    assert [t.reason for t in read([folder]).trials if t.status == 'killed'] == [
        'it has not said how it ended: it was killed, or is still running']


def test_names_of_variants():
    def named(*variants):
        return Experiment('', '', {'a': [], 'b': []}, [Trial('', '', 'done', '', v, 0) for v in variants], {}, [], None)
    few = named(('x', 'p'), ('y', 'p'))
    assert [few.name(v) for v in few.variants] == ['x', 'y'] == [few.short(v)
                                                                 for v in few.variants] and not few.numbered
    both = named(('x', 'p'), ('y', 'q'))
    assert both.name(('y', 'q')) == 'y, q' == both.full(('y', 'q')) and both.name(('y', 'q'), without=0) == 'q'
    for many in (named(*((str(i), 'p') for i in range(15))), named(('0', 'p'), ('a name that is longer than a plot '
                                                                                'has room for', 'p'))):
        assert many.numbered
        assert many.short(many.variants[1]) == '2'
        assert many.full(many.variants[1]) == f'2. {many.variants[1][0]}'


def test_files_that_are_no_tables(grid, tmp_path):
    folder = copied(grid, tmp_path)
    (folder / 'grid.json').write_text('{')
    with pytest.raises(InputError, match='grid.json cannot be read'):
        read([folder])
    text = (folder / 'results.csv').read_text()
    (folder / 'grid.json').unlink()
    (folder / 'results.csv').write_text(text[:-8])  # a last number that lacks its end would be another number
    with pytest.raises(InputError, match='is cut short'):
        read([folder])
    (folder / 'results.csv').write_text('\n')
    with pytest.raises(InputError, match='has no column'):
        read([folder])
    (folder / 'results.csv').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(InputError, match='cannot be read'):
        read([folder])


def test_last_lines(grid, tmp_path):
    failed = next(t for t in read([grid]).trials if not t.done)
    lines = read_last_lines(failed.folder)
    assert len(lines) == 15 and lines[-1] == 'stopped: the term l2 is NaN. <b>' and lines[0] == 'line 26'
    (tmp_path / 'log.txt').write_text('1 %\r50 %\r100 %\n\x1b[1mbold\x1b[0m\x00 end\n\n')
    assert read_last_lines(tmp_path) == ['100 %', 'bold end'] and read_last_lines(tmp_path / 'nothing') == []
    (tmp_path / 'log.txt').unlink()
    (tmp_path / '2025').mkdir()
    (tmp_path / '2025' / '2025.log').write_text('a line\n')
    assert read_last_lines(tmp_path) == ['a line'] and read_rows(tmp_path / 'none.jsonl') == []


EMPTY = Experiment('', '', {}, [], {}, [], None)


def test_labels_name_the_set_where_there_are_several():
    describe = EMPTY.describe
    assert format_label(describe('all/psnr'), ['a', 'b']) == format_label(describe('a/psnr'), ['a']) == 'PSNR [dB]'
    assert format_label(describe('a/psnr'), ['a', 'b']) == 'PSNR [dB] (a)'
    assert format_label(describe('a/i2t_r5/tokens'), ['a', 'b']) == 'image to text R@5, tokens (a) [%]'
    assert format_label(describe('all/kept'), percent='points') == 'mean R@1 kept by tokens [points]'
    assert format_label(describe('seconds')) == 'time [s]'
    assert describe('seconds').lower
    assert describe('bits').lower is None


@pytest.mark.parametrize('metric, value, half, text', [
     ('a/t2i_r1/tokens', 0.125, 0.0213, '12.5 ± 2.1'), ('all/psnr', -1.0, None, '−1.00'), ('all/psnr', None, None, '–'),
     ('seconds', 1234.5, None, '1,234'), ('a/mine', 0.384, 0.0034212, '0.3840 ± 0.0034'),
     ('a/mine', 0.23, 3.853e-17, '0.2300 ± 0.0000'), ('a/mine', 123456.0, 12.3, '123456 ± 12'),
     ('a/mine', 1.5e-7, 2e-8, '1.500e−07 ± 2.000e−08'), ('a/mine', 0.0, 0.0, '0.000 ± 0.000')])
def test_numbers_for_people(metric, value, half, text):
    assert format_value(EMPTY.describe(metric), value, half) == text


def test_a_difference_shows_the_digits_of_its_interval():
    mine, psnr = EMPTY.describe('a/mine'), EMPTY.describe('all/psnr')
    assert format_value(mine, 0.012341, 0.00192, '+', difference=True) == '+0.0123 ± 0.0019'
    assert format_value(mine, 0.012341, None, '+', difference=True) == '+0.01234'
    assert format_value(psnr, 0.5, 1.0, '+', True) == '+0.50 ± 1.00'


def headline_of(asked, present):
    """Headline of an experiment whose one trial has measured `present`."""
    trial = Trial('t', 't', 'done', '', ('t',), 0, metrics=dict.fromkeys(present, 1.0))
    return choose_headline(Experiment('', '', {}, [trial], {}, asked, None))


def test_headline_metrics():
    present = ['a/psnr', 'a/psnr/stderr', 'a/t2i_r1/tokens', 'all/psnr', 'all/ssim', 'all/token_cosine', 'all/usage/x',
               'all/usage/x/depth0', 'b/l1']
    assert headline_of([], present) == (['all/psnr', 'all/token_cosine', 'all/ssim', 'a/t2i_r1/tokens', 'all/usage/x',
                                         'a/psnr'], [])
    many = [f'{part}/{m}' for part in ('all', 'a', 'b')
            for m in ('t2i_r1/tokens', 'i2t_r1/tokens', 'pooled_cosine', 'token_cosine', 'psnr')]
    assert headline_of([], many)[0][:3] == ['all/psnr', 'all/token_cosine', 'all/pooled_cosine']
    assert headline_of(['all/ssim', 'all/none'], present) == (['all/ssim'], ['all/none'])
    assert headline_of([], ['all/mine']) == (['all/mine'], [])
