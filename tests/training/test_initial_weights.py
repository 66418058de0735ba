"""`load_from`: a training starts from a run, a folder of `save_pretrained` or a packaged model, or says why not."""
import json
import shutil
from pathlib import Path

import pytest
import torch

import dtbox
from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.registry import MODELS
from dtbox.training import checkpoint
from dtbox.training.initial_weights import start_from
from dtbox.weights.state_dicts import find_zoo_path
from tests.tiny_mllm import write_mllm_config
from tests.tiny_run import train

pytest.importorskip('transformers')


def make_task(config, **options):
    """Build the task of a config; options as of `load_config`, with __ for a dot."""
    options = {name.replace('__', '.'): value for name, value in options.items()}
    task = MODELS.build(resolve(load_config(config, options)).model.to_dict())
    task.init_weights()
    return task


@pytest.fixture(scope='module')
def folder(mllm, tmp_path_factory):
    """The tiny language model as a folder."""
    place = tmp_path_factory.mktemp('saved') / 'model'
    mllm.save_pretrained(place)
    return place


@pytest.fixture(scope='module')
def config(mllm_run):
    return mllm_run.parent / 'mllm.py'


@pytest.fixture(scope='module')
def task(config):
    return make_task(config)


def test_a_folder_of_a_language_model(mllm, folder, task):
    """Every weight, those of the language model included."""
    own = mllm.model.state_dict()
    with torch.no_grad():
        [parameter.zero_() for parameter in task.model.parameters()]
    assert start_from(task, str(folder)) == f'Starting from {folder}.'
    found = task.model.state_dict()
    assert found.keys() == own.keys() and all(torch.equal(found[name], own[name]) for name in own)


def test_adapters_over_the_weights_of_a_folder(folder, config, task):
    """A stage with LoRA starts from one without: it computes the same, and its adapters alone learn."""
    start_from(task, str(folder))
    adapted = make_task(config, model__lm__lora=dict(r=2))
    start_from(adapted, str(folder))
    x, places = torch.randn(1, 4, task.model.lm.width), torch.arange(4)[None]
    assert torch.allclose(adapted.model.lm(x, places), task.model.lm(x, places), atol=1e-6)
    names = {name.replace('.base_layer', '') for name in adapted.state_dict() if '.lora_' not in name}
    assert names == set(task.state_dict()) and any('.lora_' in name for name in adapted.state_dict())


def test_weights_with_adapters(config, tmp_path):
    """A stage with LoRA goes on with its adapters; one without says what to do."""
    adapted = make_task(config, model__lm__lora=dict(r=2))
    with torch.no_grad():
        [value.normal_() for name, value in adapted.named_parameters() if '.lora_' in name]
    checkpoint.save(dict(meta=adapted.checkpoint_meta, state_dict=adapted.state_dict()), tmp_path / 'checkpoint.pth')
    other = make_task(config, model__lm__lora=dict(r=2))
    start_from(other, str(tmp_path / 'checkpoint.pth'))
    assert all(torch.equal(value, adapted.state_dict()[name]) for name, value in other.state_dict().items())
    with pytest.raises(InputError, match=r'^load_from: .* has adapters \(LoRA\), and the language model of the config '
                                         'has none. Keep `model.lm.lora`, or start from a folder of save_pretrained'):
        start_from(make_task(config), str(tmp_path / 'checkpoint.pth'))


def test_a_packaged_name(config):
    """The packaged model of mllm_twemoji, which any config of its own may start from."""
    task = make_task('mllm_twemoji', model__judge=None)
    start_from(task, 'dtbox://mllm-twemoji')
    packed = dtbox.load('dtbox://mllm-twemoji').model.state_dict()
    assert all(torch.equal(value, packed[name]) for name, value in task.model.state_dict().items())


def test_a_training_starts_there(mllm, folder, config, tmp_path):
    train(config, tmp_path / 'run', load_from=str(folder), train_cfg=dict(max_iters=1), val_dataloader=None,
          val_evaluator=None, optim_wrapper__model__optimizer__lr=1e-12)
    trained = dtbox.load(tmp_path / 'run').model.state_dict()
    for name, value in mllm.model.state_dict().items():
        assert torch.allclose(trained[name], value, atol=1e-6), name
    assert f'Starting from {folder}.' in next((tmp_path / 'run').rglob('*.log')).read_text()


def test_other_text_tokens(folder, mllm_run, config):
    """Of a folder and of a run; the error says how to take the right ones."""
    other = make_task(config, model__sequence__tokenizer__texts=['blue pear', 'why?'])
    for path in (folder, mllm_run):
        with pytest.raises(InputError, match=r'^load_from: .* was trained with the text tokens \w{16}, and .*'
                                             rf"type='PretrainedTokenizer', path='{path}'"):
            start_from(other, str(path))
    right = make_task(config, model__sequence__tokenizer=dict(_delete_=True, type='PretrainedTokenizer',
                                                              path=str(folder)))
    start_from(right, str(folder))
    start_from(right, str(mllm_run))


def test_another_tokenizer(folder, mllm_run, tiny_run, tmp_path):
    other = dtbox.load(tiny_run)
    with torch.no_grad():
        next(other.model.decoder.parameters()).add_(1.0)
    other.save_pretrained(tmp_path / 'tokenizer')
    task = make_task(write_mllm_config(tmp_path, tmp_path / 'tokenizer'))
    for path in (folder, mllm_run):
        with pytest.raises(InputError, match=r'^load_from: .* was trained with the tokenizer \w{16}, and the config'):
            start_from(task, str(path))


def test_a_folder_of_a_tokenizer(tiny_run, tiny_config, tmp_path):
    opened = dtbox.load(tiny_run)
    opened.save_pretrained(tmp_path / 'saved')
    task = make_task(tiny_config)
    assert 'it has no discriminator, a new one is trained' in start_from(task, str(tmp_path / 'saved'))
    own = opened.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in task.tokenizer.state_dict().items())


@pytest.mark.parametrize('path, says', [
    ('TOKENIZER', "load_from: .* is of the model_type 'dtbox'; expected 'dtbox-mllm', a multimodal language model"),
    ('dtbox://siglip-tiny-twemoji', 'load_from: .* is a pair of towers of images and texts'),
    ('dtbox://mllm-twemojis', 'load_from: the zoo has no weights named .* Did you mean `mllm-twemoji`'),
    ('mllm_twemoji', 'load_from: mllm_twemoji does not exist. Did you mean dtbox://mllm-twemoji'),
    ('BROKEN', 'load_from: .*model.safetensors is not the file that was exported')])
def test_what_is_refused(task, folder, mllm_run, tmp_path, path, says):
    broken = shutil.copytree(folder, tmp_path / 'broken')
    with open(broken / 'model.safetensors', 'ab') as file:
        file.write(b'x')
    places = dict(TOKENIZER=str(mllm_run.parent / 'tokenizer'), BROKEN=str(broken))
    with pytest.raises(InputError, match=says):
        start_from(task, places.get(path, path))


def test_a_tokenizer_of_other_words(tmp_path):
    """Its text tower has rows of its own words, as many as the other."""
    cfg = resolve(load_config('dualtoken_rq')).model.to_dict()
    words = json.loads(Path(find_zoo_path('dtbox://dualtoken-twemoji/tokenizer.json')).read_text())
    table = words['model']['vocab']
    words['model']['vocab'] = dict(zip(table, reversed(table.values())))
    words['added_tokens'] = []
    (tmp_path / 'tokenizer.json').write_text(json.dumps(words))
    cfg['teacher'] = cfg['losses'] = cfg['gan'] = None
    right = MODELS.build(cfg)
    start_from(right, 'dtbox://dualtoken-twemoji')
    cfg['tokenizer']['text']['tokenizer']['file'] = str(tmp_path / 'tokenizer.json')
    with pytest.raises(InputError, match='load_from: dtbox://dualtoken-twemoji was trained with the text tokens'):
        start_from(MODELS.build(cfg), 'dtbox://dualtoken-twemoji')
