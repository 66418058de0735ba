"""Values that a recipe cannot have are refused before a run, each in one sentence with its dotted key."""
from pathlib import Path

import pytest

from dtbox.config import load_config, resolve, resolve_checked
from dtbox.config.options import parse_options
from dtbox.config.schema import check_recipe
from dtbox.errors import InputError
from dtbox.training.runner import Runner


@pytest.mark.parametrize('option, says', [
    ('hooks.log.interval=0', '`interval` is 0; expected a whole number of at least 1'),
    ('hooks.checkpoint.interval=0', '`interval` is 0; expected a whole number of at least 1'),
    ('seed=1099511627776', '`seed` is 1099511627776; expected a whole number from 0 to 4294967295'),
    ("seed=float('nan')", 'expected a whole number'), ('seed=nan', "`seed` is 'nan'"),
    ('optim_wrapper.generator.accumulative_counts=0', 'expected a whole number of at least 1'),
    ("train_dataloader.num_workers='2'", "`num_workers` is '2'; expected a whole number"),
    ('train_dataloader.num_workers=FALSE', '`num_workers` is False'), ('train_dataloader.num_workers=-1', 'is -1'),
    ('val_dataloader.num_workers=1099511627776', 'from 0 to 1024'), ('threads=two', "`threads` is 'two'"),
    ('optim_wrapper.generator.optimizer.lr=abc', "`lr` is 'abc'; expected a number of at least 0"),
    ("optim_wrapper.discriminator.optimizer=dict(type='Adam', lr=1e-3, betas=(0.5, 'x'))", "`betas.1` is 'x'"),
    ('optim_wrapper.generator.clip_grad.max_norm=-1', 'a number above 0'),
    ("param_scheduler.generator.total='600'", "`total` is '600'"),
    ('param_scheduler.generator.by_epoch=True', 'counted in iterations'),
    ('train_cfg.val_interval=x', "`val_interval` is 'x'"), ('train_cfg.max_iters=1.5', '`max_iters` is 1.5'),
    ('vis_backends=0', '`vis_backends` is 0; expected a list of dicts or None'), ('rank_timeout={1: 2}', '{1: 2}'),
    ('work_dir=a,b', "expected a string that is not empty or None"),
    ('ema=dict(decay=1.0)', 'from 0 to 1'), ('amp=fp16', "'bfloat16'"),
    ('compile=abc', 'expected True or False, a dict or None'), ('gan.adversarial.against=-1', '`against` is -1'),
    ('model.tokenizer.decoder.width=x', "`width` is 'x'"), ('model.tokenizer.decoder.blocks=0', 'from 1 to 1024'),
    ('quantizer.depth=abc', "`depth` is 'abc'; expected a whole number"), ('quantizer.depth=0', '`depth` is 0'),
    ('model.losses.pixels.weight=x', "'x' is not a weight"), ('val_evaluator.retrieval.ks=0,1', '`ks.0` is 0')])
def test_one_wrong_value(option, says, tiny_config, tmp_path):
    """The folder of the run is not touched."""
    key = option.split('=')[0]
    path = key if not key.startswith(('quantizer', 'gan')) else ''
    with pytest.raises(InputError, match=says) as told:
        Runner.from_config(load_config(tiny_config, parse_options([option])), work_dir=str(tmp_path / 'run'))
    assert told.value.where.startswith(path) and told.value.where and not list(tmp_path.iterdir())


@pytest.mark.parametrize('heads, says', [('1e-30', 'heads.: 1e-30|`heads` is 1e-30'), ('3', 'divide')])
def test_heads(heads, says, tiny_config, tmp_path):
    decoder = f"dict(type='ViTDecoder', reads=['pixel'], width=7, depth=1, heads={heads})"
    options = parse_options([f'model.tokenizer.decoder={decoder}'])
    with pytest.raises(InputError, match=f'^model.tokenizer.decoder.*({says})'):
        Runner.from_config(load_config(tiny_config, options), work_dir=str(tmp_path / 'run'))


@pytest.mark.parametrize('name, meant', [('hoks', 'hooks'), ('train_cgf', 'train_cfg')])
def test_a_misspelt_name_at_the_top(name, meant, tmp_path):
    """A variable that nothing refers to and that is nearly a setting; other variables are left alone."""
    (tmp_path / 'c.py').write_text(f'{name} = dict(a=1)\nnotes = 3\n')
    with pytest.raises(InputError, match=f'^{name}: nothing reads `{name}`. Did you mean `{meant}`'):
        resolve_checked(load_config(tmp_path / 'c.py'))
    (tmp_path / 'd.py').write_text(f"{name} = dict(a=1)\nmodel = dict(x='${{{name}}}')\n")
    assert resolve_checked(load_config(tmp_path / 'd.py')).model == dict(x=dict(a=1))


def test_shipped_configs_fit():
    for path in [*Path('configs').glob('*.py'), *Path('configs/paper').glob('*.py')]:
        for tiny in (False, True):
            check_recipe(resolve(load_config(path, tiny=tiny)))


@pytest.mark.parametrize('text', ['{0000..0003}.tar', '{a,b}-{00..15}.tar'])
def test_braces_of_shards_are_a_string(text):
    assert parse_options([f'shards={text}']) == dict(shards=text)
