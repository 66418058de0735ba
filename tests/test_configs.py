"""Every config of the repository: built, stepped and evaluated at the `tiny` size that it defines itself."""
from pathlib import Path

import pytest
import torch

from dtbox.config import load_config, resolve
from dtbox.evaluation import SetEvaluator
from dtbox.training.build import build_parts
from tests.class_vectors import class_vectors as class_vectors  # noqa: F401
from tests.count_recipe_lines import MOST, count_lines, list_model_types
from tests.photo_samples import need_weights
from tests.recipe_data import give_data

CONFIGS = sorted(Path('configs').glob('*.py'))


@pytest.fixture
def tiny(tmp_path):
    """A function that returns a config at its own tiny size, resolved, with generated data where it needs some."""
    def make(path):
        cfg = load_config(path, tiny=True)
        if cfg.train_dataloader.dataset.type == 'Photographs':
            need_weights()
        return resolve(give_data(cfg, tmp_path))
    return make


def test_there_are_configs():
    assert {'dualtoken_rq', 'dualtoken_vq', 'dualtoken_fsq', 'siglip_tiny_twemoji',
            'siglip_tiny_cifar10'} <= {p.stem for p in CONFIGS}


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_recipe(path, tiny, class_vectors):
    cfg = tiny(path)
    parts = build_parts(cfg, seed=0)
    model, optim = parts['model'], parts['optim']
    model.init_weights()
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    batches = iter(parts['train'])
    for _ in range(2):
        logs = model.train_step(next(batches), optim)
        assert logs and all(torch.isfinite(torch.as_tensor(v)).all() for v in logs.values())
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    if cfg.model.type == 'TokenizerTask':
        check_learned(model, changed)
    else:
        assert any(k.startswith('model.lm') for k in changed)
    evaluator = SetEvaluator(parts['metrics'])
    model.eval()
    evaluator.setup(model.eval_context(parts['val'].dataset))
    with torch.no_grad():
        batch = model.prepare(next(iter(parts['val'])))
        evaluator.update(batch, model.predict(batch))
    assert evaluator.results().counts['all'] == len(batch)


def check_learned(model, changed):
    """Every part of a tokenizer's task has other weights, by the keys that have changed."""
    learns = any(p.requires_grad for p in model.tokenizer.encoders.parameters())
    assert any(k.startswith('tokenizer.encoders') for k in changed) == learns
    for name, stream in model.tokenizer.streams.items():
        shared = name in model.tokenizer.quantizers
        learns = stream.quantizer.training and stream.quantizer.state_dict()  # frozen parts stay in evaluation mode
        if learns and stream.sizes and list(stream.quantizer.buffers()):
            place = f'tokenizer.quantizers.{name}.' if shared else f'tokenizer.vocabularies.{name}.quantizer.'
            assert any(k.startswith(place) for k in changed), f'{name} did not learn'
    if model.discriminator is not None:
        assert any(k.startswith('discriminator') for k in changed)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_docstring_names_the_command(path):
    text = path.read_text()
    assert text.startswith('"""') and f'python tools/train.py configs/{path.name}' in text


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_a_recipe_is_short_and_names_no_model_class(path):
    """A family of tokenizers is at most 40 lines of config on the one class of tokenizer and of its task."""
    assert count_lines(path.read_text()) <= MOST
    assert list_model_types(path) in (('TokenizerTask', None), ('MLLMTask', 'TrainedTokenizer'))


def test_count_of_lines():
    """Neither the docstring, comments nor empty lines count; each line of a statement does, a text inside it too."""
    text = '"""One\ntwo."""\n\n# note\na = 1  # note\nb = dict(\n    # note\n    c=\'\'\'d\ne\'\'\')\n'
    assert count_lines(text) == 4
