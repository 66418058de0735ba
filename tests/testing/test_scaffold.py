"""`dtbox plugins new KIND NAME`: for every kind a folder whose test passes, and whose config trains at its tiny
size."""
import re
import shutil

import pytest
import torch

from dtbox.cli import train
from dtbox.cli.plugins import KINDS
from dtbox.config import load_config, resolve
from dtbox.config.find import find_config
from dtbox.errors import InputError
from dtbox.evaluation import SetEvaluator
from dtbox.testing import CONTRACTS
from dtbox.testing.scaffold import RECIPES, write_scaffold
from dtbox.training.build import build_parts
from tests.child_processes import run_fork
from tests.class_vectors import class_vectors as class_vectors  # noqa: F401
from tests.plugins_kit import clean as clean  # noqa: F401


def name_of(kind):
    return 'New' + ''.join(word.capitalize() for word in kind.split('_'))


@pytest.fixture(scope='module')
def plugins(tmp_path_factory):
    """A folder with a new plugin of every kind; not to be changed."""
    folder = tmp_path_factory.mktemp('new') / 'plugins'
    for kind in RECIPES:
        write_scaffold(kind, name_of(kind), str(folder), find_config(RECIPES[kind]))
    return folder


def test_every_kind_with_a_contract_has_a_template():
    assert RECIPES.keys() == CONTRACTS.keys() == set(KINDS)


def test_files(plugins):
    """Each is a folder of four files that are clean code."""
    for kind in RECIPES:
        name = name_of(kind)
        assert {p.name for p in (plugins / name).iterdir()} == {'__init__.py', 'config.py', 'README.md',
                                                                f'test_{name}.py'}
        for file in (plugins / name).iterdir():
            text = file.read_text()
            assert '$' not in text.replace("'${image_size}'", ''), file
            assert file.suffix == '.md' or max(map(len, text.splitlines())) <= 120, file
        assert 'YOUR IDEA' in (plugins / name / '__init__.py').read_text()


def test_their_tests_pass_as_they_are(plugins):
    """All of them in one pytest of its own, from a folder that is not a clone."""
    shutil.copy('.pytest.ini', plugins.parent)  # as in a checkout, where pytest knows the folder as a package
    done = run_fork(['-m', 'pytest', '-n', '0', 'plugins', '-k', 'not two_ranks'], cwd=plugins.parent)
    assert done.returncode == 0, done.stdout
    passed, skipped = (int(re.search(rf'(\d+) {word}', done.stdout).group(1)) for word in ('passed', 'skipped'))
    contracts = [CONTRACTS[kind] for kind in RECIPES]
    two_ranks = sum('two_ranks' in contract.checks for contract in contracts)
    own = sum(file.read_text().count('\ndef test_') for file in plugins.glob('*/test_*.py'))
    assert own > len(RECIPES)
    assert passed + skipped == sum(len(c.checks) for c in contracts) - two_ranks + own
    assert skipped <= 4, done.stdout


@pytest.mark.parametrize('kind', RECIPES)
def test_their_configs_train(kind, plugins, clean, class_vectors):
    """At its tiny size each config makes two steps and measures a batch; the plugin's part takes part in it."""
    cfg = resolve(load_config(plugins / name_of(kind) / 'config.py', tiny=True))
    parts = build_parts(cfg, seed=0)
    model = parts['model']
    model.init_weights()
    model.train()
    batches = iter(parts['train'])
    for _ in range(2):
        logs = model.train_step(next(batches), parts['optim'])
        assert all(torch.isfinite(torch.as_tensor(value)).all() for value in logs.values())
    evaluator = SetEvaluator(parts['metrics'])
    model.eval()
    evaluator.setup(model.eval_context(parts['val'].dataset))
    with torch.no_grad():
        batch = model.prepare(next(iter(parts['val'])))
        evaluator.update(batch, model.predict(batch))
    losses = model.criterion.losses.values() if hasattr(model, 'criterion') else ()
    used = [*model.modules(), *losses, *evaluator.prototypes, parts['train'].dataset]
    assert name_of(kind) in {type(part).__name__ for part in used}
    assert evaluator.results().counts['all'] == len(batch) > 0


def test_the_command_trains_one(plugins, tmp_path, clean):
    """`dtbox train CONFIG --tiny`, as the scaffold's README says, ends with scores of the plugin's metric."""
    train.VERB.main([str(plugins / name_of('metric') / 'config.py'), '--tiny', '--work-dir', str(tmp_path / 'run'),
                     '--cfg-options', 'heldout_limit=8', 'hooks.images=None'])
    assert 'wrong_pixels' in (tmp_path / 'run' / 'metrics.json').read_text()


def test_an_unknown_kind(tmp_path):
    with pytest.raises(InputError, match='there is no template for the kind `quantiser`. Did you mean `quantizer`'):
        write_scaffold('quantiser', 'Mine', str(tmp_path), find_config('dualtoken_rq'))


@pytest.mark.parametrize('kind, name', [('loss', 'Tensor'), ('encoder', 'Encoder'), ('dataset', 'Image'),
                                        ('lm', 'Block')])
def test_names_that_the_module_uses(tmp_path, kind, name):
    with pytest.raises(InputError, match=f'`{name}` is a name that the module itself uses'):
        write_scaffold(kind, name, str(tmp_path), find_config('dualtoken_rq'))
