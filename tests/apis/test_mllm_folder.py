"""Folders and packaged names of multimodal language models: they open as what was written, or say what is wrong."""
import json
import shutil
from types import SimpleNamespace

import pytest
import torch

import dtbox
from dtbox.apis.evaluation import evaluate_run
from dtbox.apis.mllm import MultimodalModel
from dtbox.apis.zoo_entry import pack_zoo_entry
from dtbox.errors import InputError
from dtbox.weights import state_dicts
from tests.tiny_mllm import write_mllm_config

CARD = dict(command='C', config='X', note='', data='D', limits='L')


@pytest.fixture(scope='module')
def folder(mllm, tmp_path_factory):
    place = tmp_path_factory.mktemp('saved') / 'model'
    mllm.save_pretrained(place)
    return place


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / 'copy')


def edit(path, **changes):
    """Change entries of a JSON file; config.json loses its sums."""
    values = json.loads(path.read_text())
    values.pop('sha256', None)
    path.write_text(json.dumps({**values, **changes}))


def test_a_folder_opens_as_what_was_written(mllm, folder):
    opened = dtbox.load(folder)
    assert isinstance(opened, MultimodalModel) and opened.generation == mllm.generation
    own, found = mllm.model.state_dict(), opened.model.state_dict()
    assert own.keys() == found.keys() and all(torch.equal(own[name], found[name]) for name in own)
    assert torch.equal(opened.draw(['a face', 'yes']), mllm.draw(['a face', 'yes']))
    assert (folder / 'visual_tokenizer' / 'config.json').is_file()
    assert isinstance(dtbox.load(folder / 'visual_tokenizer'), dtbox.Tokenizer)
    transformers = pytest.importorskip('transformers')
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder / 'language_model')
    ids = torch.arange(6)[None]
    states = opened.model.lm(opened.model.lm.embed(ids), ids)
    assert torch.allclose(plain(ids).logits, opened.model.lm.text_logits(states), atol=1e-5)


def test_the_text_tokenizer_opens_in_transformers(mllm, folder):
    """The folder of the language model is by itself complete; there is one copy of the text tokenizer."""
    transformers = pytest.importorskip('transformers')
    tokens = mllm.model.sequence.tokens
    plain = transformers.AutoTokenizer.from_pretrained(folder / 'language_model')
    text = ' red apple<image_gen_start> \u00e9 1'
    assert plain(text)['input_ids'] == tokens.encode_marked(text)
    assert (plain.bos_token_id, plain.eos_token_id, plain.pad_token_id) == (tokens.bos, tokens.eos, tokens.pad)
    assert [path.parent.name for path in folder.rglob('tokenizer_config.json')] == ['language_model']


def test_a_folder_of_an_older_dtbox(mllm, copied):
    """Its text tokenizer lies beside config.json."""
    for name in ('tokenizer.json', 'tokenizer_config.json'):
        (copied / 'language_model' / name).rename(copied / name)
    assert dtbox.load(copied).model.sequence.tokens.digest == mllm.model.sequence.tokens.digest


def test_half_precision_keeps_the_codes_exact(folder):
    opened = dtbox.load(folder, dtype='bfloat16')
    assert opened.tokenizer.dtype == torch.float32
    assert next(opened.model.lm.parameters()).dtype == torch.bfloat16
    assert opened.draw('a face').isfinite().all() and isinstance(opened.caption(torch.zeros(1, 3, 32, 32))[0], str)


def test_a_written_folder_is_kept(mllm, folder):
    with pytest.raises(InputError, match='is not an empty folder'):
        mllm.save_pretrained(folder)


def test_a_changed_file_is_noticed(copied):
    (copied / 'generation_config.json').write_text('{}')
    with pytest.raises(InputError, match='generation_config.json is not the file that was exported'):
        dtbox.load(copied)


@pytest.mark.parametrize('break_it, says', [
    (lambda f: edit(f / 'config.json', tokenizer=dict(source='visual_tokenizer', digest='0' * 16)),
     'the weights of .*visual_tokenizer have the hash .*; expected 0000000000000000'),
    (lambda f: edit(f / 'config.json', tokenizer=dict(source='/etc', digest='0')), '`tokenizer` of .* has the source'),
    (lambda f: edit(f / 'config.json', format=99), 'has format 99'),
    (lambda f: edit(f / 'config.json', lm=3), '`lm` of .*config.json is 3; expected a dict'),
    (lambda f: edit(f / 'config.json', sequence=dict(template=dict(type='ChatTemplate'))), 'has no chat template'),
    (lambda f: (f / 'language_model' / 'model.safetensors').unlink(), 'language_model holds no weights'),
    (lambda f: (f / 'language_model' / 'tokenizer.json').unlink(), 'cannot open the tokenizer'),
    (lambda f: (f / 'tokenizer.json').write_text('{}'), 'are different text tokenizers'),
    (lambda f: edit(f / 'generation_config.json', scale='x') or edit(f / 'config.json'),
     'generation_config.json.scale: got \'x\'')])
def test_broken_folders(copied, break_it, says):
    break_it(copied)
    with pytest.raises(InputError, match=says):
        dtbox.load(copied)


def test_each_kind_of_folder_says_what_it_is(folder):
    with pytest.raises(InputError, match='this is a multimodal language model, which dtbox.load opens'):
        dtbox.Tokenizer.from_pretrained(folder)
    with pytest.raises(InputError, match='a multimodal language model: this is a tokenizer'):
        MultimodalModel.from_pretrained(folder / 'visual_tokenizer')


def test_a_run_of_another_tokenizer_is_refused(mllm_run, tiny_run, tmp_path):
    """The tokenizer that the config names has other weights than in training."""
    other = dtbox.load(tiny_run)
    with torch.no_grad():
        next(other.model.decoder.parameters()).add_(1.0)
    other.save_pretrained(tmp_path / 'tokenizer')
    config = write_mllm_config(tmp_path, tmp_path / 'tokenizer')
    with pytest.raises(InputError, match=r'model.tokenizer: .* was trained with the tokenizer \w{16}, but'):
        dtbox.load(config, mllm_run / 'checkpoint.pth')
    with pytest.raises(InputError, match=r'model.tokenizer: .* was trained with the tokenizer \w{16}, but'):
        evaluate_run(str(config), str(mllm_run / 'checkpoint.pth'))


def test_packaged_names(mllm_run, tiny_run, tmp_path, monkeypatch):
    """A packed tokenizer and a packed language model that names it, in half precision, open by their names."""
    zoo = tmp_path / 'zoo'
    monkeypatch.setattr(state_dicts, 'resources', SimpleNamespace(files=lambda _: tmp_path))
    pack_zoo_entry(str(tiny_run), 'eyes', str(zoo), CARD)
    tokenizer = dtbox.load('dtbox://eyes')
    assert isinstance(tokenizer, dtbox.Tokenizer) and tokenizer.dtype == torch.float32
    assert 'all' in json.loads((zoo / 'eyes' / 'scores.json').read_text())
    assert 'dtbox.load(\'dtbox://eyes\')' in (zoo / 'eyes' / 'README.md').read_text()
    with pytest.raises(InputError, match='tokenizer.digest: the weights of dtbox://eyes have the hash'):
        pack_zoo_entry(str(mllm_run), 'talk', str(zoo), CARD, tokenizer='dtbox://eyes')
    assert sorted(path.name for path in zoo.iterdir()) == ['eyes']
    from tests.tiny_run import train
    train(write_mllm_config(tmp_path, 'dtbox://eyes'), tmp_path / 'run')
    pack_zoo_entry(str(tmp_path / 'run'), 'talk', str(zoo), CARD)
    assert not (zoo / 'talk' / 'visual_tokenizer').exists()
    packed = dtbox.load('dtbox://talk')
    trained = dtbox.load(tmp_path / 'run').model.state_dict()
    for name, value in packed.model.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, trained[name].half().float()), name
    assert packed.draw('a face').shape == (1, 1, 3, 32, 32)
    with pytest.raises(InputError, match='the zoo has no weights named `talks`. Did you mean `talk`'):
        dtbox.load('dtbox://talks')
