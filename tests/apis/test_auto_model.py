"""Exported folders: their card, and that `transformers` opens them with the same weights."""
import json
import shutil
import sys

import pytest
import torch

import dtbox
from dtbox.apis.auto_model import fetch_folder, open_folder
from dtbox.apis.model_card import export_folder, write_card
from dtbox.errors import InputError
from dtbox.weights.state_dicts import find_zoo
from tests.child_processes import run_child

transformers = pytest.importorskip('transformers')
ALONE = '''
import sys
sys.modules['dtbox'] = None
import torch
from transformers import AutoModelForCausalLM
logits = AutoModelForCausalLM.from_pretrained(sys.argv[1])(torch.arange(6)[None]).logits
torch.save(logits, sys.argv[2])
'''


@pytest.fixture(scope='module')
def folder(mllm, mllm_run, tmp_path_factory):
    place = tmp_path_factory.mktemp('exported') / 'model'
    export_folder(mllm, place, str(mllm_run))
    return place


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """Where transformers copies modules of folders to, in place of the home folder."""
    monkeypatch.setattr('transformers.dynamic_module_utils.HF_MODULES_CACHE', str(tmp_path / 'modules'))
    monkeypatch.setattr(sys, 'path', list(sys.path))


def test_a_language_model_opens(mllm, folder):
    opened = transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)
    assert isinstance(opened, transformers.PreTrainedModel) and opened.config.model_type == 'dtbox-mllm'
    assert not opened.training and opened.dtype == torch.float32
    own = mllm.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in opened.model.state_dict().items())
    assert torch.equal(opened.draw('a face', seed=3), mllm.draw('a face', seed=3))
    assert opened.image_size == (32, 32) and isinstance(opened.dtbox, dtbox.MultimodalModel)
    with pytest.raises(AttributeError, match='nothing'):
        opened.nothing
    assert next(opened.to(torch.bfloat16).dtbox.model.lm.parameters()).dtype == torch.bfloat16


def test_a_tokenizer_opens(tiny_run, tmp_path):
    tokenizer = dtbox.load(tiny_run)
    export_folder(tokenizer, tmp_path / 'tok', str(tiny_run))
    opened = transformers.AutoModel.from_pretrained(tmp_path / 'tok', trust_remote_code=True, device_map='cpu')
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    codes = opened.encode(images)
    assert all(torch.equal(codes[name], value) for name, value in tokenizer.encode(images).items())
    assert torch.equal(opened.decode(codes), tokenizer.decode(codes))
    opened.save_pretrained(tmp_path / 'again')
    again = transformers.AutoModel.from_pretrained(tmp_path / 'again', trust_remote_code=True, dtype='bfloat16')
    assert again.dtbox.dtype == torch.bfloat16 and (tmp_path / 'again' / 'README.md').is_file()


def test_nothing_runs_without_trust(folder, monkeypatch):
    def fail(kind):
        raise AssertionError('the module ran')
    monkeypatch.setattr('dtbox.apis.auto_model.make_auto_classes', fail)
    with pytest.raises(ValueError, match='trust_remote_code'):
        transformers.AutoModel.from_pretrained(folder, trust_remote_code=False)
    assert isinstance(dtbox.load(folder), dtbox.MultimodalModel)


def test_the_card(folder):
    """What it is, how it opens, and its scores; whoever exports it may write more into it."""
    card = (folder / 'README.md').read_text()
    assert card.startswith('---\nlibrary_name: dtbox\n') and '\n# model\n' in card
    assert '- Images: 32 x 32 pixels\n' in card and 'pixel, 16 tokens of 2 codes out of 64' in card
    for words in ("dtbox.load('model')", "AutoModel.from_pretrained('model', trust_remote_code=True)",
                  'dtbox serve model', "AutoModelForCausalLM.from_pretrained('model/language_model')"):
        assert words in card
    assert '{' not in card.replace("{'role': 'user', 'content': 'hello'}", '') and '## Scores' not in card
    (folder / 'README.md').write_text(card + '\nMore.\n')
    assert isinstance(dtbox.load(folder), dtbox.MultimodalModel)


def test_scores_of_the_run(mllm, tmp_path):
    shutil.copyfile(find_zoo() / 'mllm-twemoji' / 'scores.json', tmp_path / 'metrics.json')
    card = write_card(mllm, 'model', str(tmp_path))
    assert card.partition('## Scores')[2].count('caption, word F1') >= 1


def test_the_module_is_among_the_sums(folder):
    module, text = folder / 'dtbox_auto.py', (folder / 'dtbox_auto.py').read_text()
    assert len(text.splitlines()) == 4 and "make_auto_classes('dtbox-mllm')" in text
    assert 'dtbox_auto.py' in json.loads((folder / 'config.json').read_text())['sha256']
    module.write_text(text + 'import os\n')
    try:
        with pytest.raises(InputError, match='dtbox_auto.py is not the file that was exported'):
            dtbox.load(folder)
    finally:
        module.write_text(text)


def test_a_written_folder_is_kept(mllm, folder):
    with pytest.raises(InputError, match='is not an empty folder'):
        export_folder(mllm, folder)


def test_the_language_model_opens_without_dtbox(folder, mllm, tmp_path):
    done = run_child([sys.executable, '-c', ALONE, str(folder / 'language_model'), str(tmp_path / 'logits.pt')])
    assert done.returncode == 0, done.stderr
    ids = torch.arange(6)[None]
    states = mllm.model.lm(mllm.model.lm.embed(ids), ids)
    assert torch.allclose(torch.load(tmp_path / 'logits.pt'), mllm.model.lm.text_logits(states), atol=1e-5)


def test_devices(folder):
    assert open_folder(str(folder), {'': 'cpu'}).device.type == 'cpu'
    with pytest.raises(InputError, match='device_map: got .* a model of dtbox lies on one device'):
        open_folder(str(folder), dict(lm=0, visual_head=1))


def test_arguments_that_mean_nothing(folder):
    with pytest.raises(InputError, match='load_in_8bit: a model of dtbox does not know this argument'):
        transformers.AutoModel.from_pretrained(folder, trust_remote_code=True, load_in_8bit=True)


def test_a_name_on_the_hub(folder, monkeypatch):
    asked = []
    monkeypatch.setattr('huggingface_hub.snapshot_download', lambda name, **how: asked.append((name, how)) or folder)
    assert fetch_folder(folder, {}) == str(folder) and not asked
    assert fetch_folder('you/model', dict(revision='v1', token=None, trust_remote_code=True)) == folder
    assert asked == [('you/model', dict(revision='v1', local_files_only=True, allow_patterns=None))]
