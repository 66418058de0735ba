"""A grid's config: trials, filters, and everything that can be wrong with it."""
import pytest

from dtbox.ablation import read_grid
from dtbox.config import resolve
from dtbox.errors import InputError


def test_trials_are_the_product_of_axes_and_seeds(write_grid):
    grid = read_grid(write_grid())
    assert [t.name for t in grid.trials[:4]] == ['1__wide__seed0', '1__wide__seed1', '1__narrow__seed0',
                                                 '1__narrow__seed1']
    assert len(grid.trials) == 8 and grid.axes == dict(depth=['1', '2'], decoder=['wide', 'narrow'])
    assert grid.description == 'A small grid: two axes.' and grid.reference == dict(depth='2', decoder='wide')
    first, last = resolve(grid.trials[0].config), resolve(grid.trials[-1].config)
    assert (first.model.tokenizer.vocabularies.pixel.quantizer.depth, first.model.tokenizer.decoder.width,
            first.seed) == (1, 64, 0)
    assert (last.model.tokenizer.vocabularies.pixel.quantizer.depth, last.model.tokenizer.decoder.width,
            last.seed) == (2, 32, 1)
    assert first.threads == 1


def test_options_seeds_and_threads_of_the_command_line(write_grid):
    grid = read_grid(write_grid(), {'train_cfg.max_iters': 9}, seeds=[5], threads=2)
    assert [t.seed for t in grid.trials] == [5] * 4
    assert resolve(grid.trials[0].config).train_cfg.max_iters == 9 and grid.trials[0].config.threads == 2


def test_a_variant_may_be_another_recipe(write_grid, quick_config, tmp_path):
    other = tmp_path / 'other.py'
    other.write_text(quick_config.read_text().replace("width=32, blocks=1", "width=16, blocks=1"))
    grid = read_grid(write_grid(('narrow={}', f"narrow={{'base': {str(other)!r}}}")))
    assert resolve(grid.trials[2].config).model.tokenizer.decoder.width == 16 and grid.trials[2].base == str(other)


@pytest.mark.parametrize('rule, left', [
    ("exclude = [dict(depth=1)]", 4), ("exclude = [dict(depth=1, decoder='wide')]",
                                       6), ("include = dict(decoder=['narrow'])", 4),
    ("include = [dict(depth=2, decoder='wide'), dict(depth=1)]", 6),
    ("exclude = dict(depth=1, seed=1)", 6), ("exclude = [dict(seed=[1, 2])]", 4),
    ("include = dict(seed=0, depth=2)", 2)])
def test_filters(write_grid, rule, left):
    assert len(read_grid(write_grid(('seeds =', rule + '\nseeds ='))).trials) == left


@pytest.mark.parametrize('old, new, message', [
    ("'quantizer.depth'", "'quantizer.dept'", 'quantizer.dept.*no such key.*Did you mean `depth`'),
    ('values=[1, 2]', "values=['one', 2]", "'one', a word, in the place of 2, a number"),
    ('values=[1, 2]', 'values=[]', 'at least one value'),
    ('values=[1, 2]', 'values=[1, 1]', 'twice'),
    ('values=[1, 2]', 'values=[[1], 2]', 'no short name'),
    ('narrow={}', "narrow={'model.tokenizer.decoder.width': 64}",
     'depth=1, decoder=wide, seed 0. and .depth=1, decoder=narrow, seed 0. are the same run'),
    ('axes =', 'axis =', '`axis`, which no grid has. Did you mean `axes`'),
    ("axes = dict(depth=", "axes = dict(status=", 'cannot be called `status`'),
    ('seeds = [0, 1]', 'seeds = [0, 0]', 'different whole numbers'),
    ('seeds =', 'exclude = [dict(depth=3)]\nseeds =', 'has no `3`'),
    ('seeds =', 'exclude = [dict(deph=1)]\nseeds =', 'no axis `deph`. Did you mean `depth`'),
    ('seeds =', 'include = [dict(depth=1)]\nexclude = [dict(depth=1)]\nseeds =', 'makes no trials'),
    ('seeds =', 'budget = dict(hour=1)\nseeds =', 'no `hour`. Did you mean `hours`'),
    ('seeds =', 'budget = dict(hours=0)\nseeds =', 'positive'),
    ('seeds =', 'threads = 0\nseeds =', '`threads` is 0'),
    ("reference = dict(depth=2, decoder='wide')", "reference = dict(depth=2)", 'one label for each axis'),
    ("wide={'model.tokenizer.decoder.width': 64}", "wide=64", 'expected at least one label'),
    ('values=[1, 2]', "values={1: 1, '1': 2}", "axes.depth: two labels read the same: 1, '1'"),
    ("variants=dict(wide={'model.tokenizer.decoder.width': 64}, narrow={})", "variants={1: {}, '1': "
                                                                             "{'model.tokenizer.decoder.width': 64}}",
     'two labels read the same'),
    ('values=[1, 2]', "values={'x' * 300: 1, '2': 2}", r'the trial x{40}\.\.\. would have a name of 3.. characters'),
    ("key='quantizer.depth'", 'key=5', 'the key 5 is not a word'),
    ("key='quantizer.depth'", "key='seed'", '`seed` of a trial is set by `seeds` of the grid, or --seeds'),
    ('narrow={}', 'narrow={5: 1}', 'axes.decoder.narrow: the key 5 is not a word'),
    ('narrow={}', "narrow={'base': 5}", 'has the recipe 5'),
    ('seeds =', "overrides = {'threads': 2}\nseeds =", '`threads` of a trial is set by `threads` of the grid'),
    ('seeds =', "exclude = 5\nseeds =", 'exclude: got 5; expected a list'),
    ('seeds =', "exclude = dict(seed='1')\nseeds =", "exclude: got the seed '1'; expected a whole number"),
    ('seeds =', "budget = '1h'\nseeds =", r"`budget` is '1h'; expected dict\(hours=, trials=, trial_minutes=\)"),
    ("metrics = ['heldout/psnr']", "metrics = 'heldout/psnr'", "`metrics` is 'heldout/psnr'; expected a list"),
])
def test_bad_grids(write_grid, old, new, message):
    with pytest.raises(InputError, match=f'(?s){message}'):
        read_grid(write_grid((old, new)))


@pytest.mark.parametrize('key, where', [
     ('seed', '`seeds`'), ('threads', '`threads`'), ('work_dir', '--work-dir'), ('plugins', '`plugins`')])
def test_what_a_trial_gets_from_elsewhere_cannot_be_an_option(write_grid, key, where):
    with pytest.raises(InputError, match=f'--cfg-options: `{key}` of a trial is set by {where}'):
        read_grid(write_grid(), {key: 7})


def test_a_grid_in_json(write_grid, quick_config):
    text = f'{{"base": "{quick_config}", "axes": {{"depth": {{"key": "quantizer.depth", "values": [1, 2]}}}}}}'
    assert [t.name for t in read_grid(write_grid(text=text, name='g.json')).trials] == ['1__seed0', '2__seed0']
    text = f'base: {quick_config}\naxes: {{depth: {{key: quantizer.depth, values: [1, 2]}}}}\n'
    assert len(read_grid(write_grid(text=text, name='g.yaml')).trials) == 2


def test_colliding_folders(write_grid):
    with pytest.raises(InputError, match='same folder'):
        read_grid(write_grid(("values=[1, 2]", "values={'a b': 1, 'a-b': 2}")))


def test_no_axes_no_base_no_file(write_grid, tmp_path):
    with pytest.raises(InputError, match='has no `axes`'):
        read_grid(write_grid(text="base = 'x.py'"))
    with pytest.raises(InputError, match='has no recipe'):
        read_grid(write_grid(text="axes = dict(a=dict(key='b', values=[1]))"))
    with pytest.raises(InputError, match='does not exist'):
        read_grid(str(tmp_path / 'none.py'))
    with pytest.raises(InputError, match='looks like a recipe'):
        read_grid('configs/dualtoken_rq.py')
    with pytest.raises(InputError, match='cannot be read: SyntaxError'):
        read_grid(write_grid(text='axes = ('))


@pytest.mark.parametrize('path', [
    'decoupling', 'soft_split', 'quantizers', 'layers', 'baselines', 'mllm_tokenizers', 'mllm_reading', 'mllm_drawing',
    'mllm_heads'])
def test_grids_of_the_repository(path):
    grid = read_grid(f'configs/ablations/{path}.py')
    assert len(grid.trials) >= 5 and grid.description and grid.metrics


def test_a_grids_own_variables_begin_with_an_underscore(write_grid):
    assert read_grid(write_grid(('seeds = [0, 1]', '_s = [3]\nseeds = _s'))).seeds == [3]
    with pytest.raises(InputError, match='underscore'):
        read_grid(write_grid(('seeds = [0, 1]', 's = [3]\nseeds = s')))
