"""Models by their names on the Hugging Face hub, from a cache laid out as huggingface_hub lays it out. Nothing is
fetched: a function of the test stands for the hub."""
import fnmatch
import json
import os
import shutil
import sys

import huggingface_hub
import pytest
import torch

import dtbox
from dtbox.encoders.open_clip_tower import OpenCLIPTower
from dtbox.encoders.siglip import SigLIP
from dtbox.encoders.timm_vit import TimmViT
from dtbox.errors import InputError
from dtbox.weights.exported_folders import list_files
from dtbox.weights.hub import read_hub_name
from dtbox.weights.hub_models import find_hub_model, find_pretrained
from dtbox.weights.model_folders import load_published
from dtbox.weights.siglip_names import find_sizes
from dtbox.weights.state_dicts import find_zoo
from tests.hostile import MARK, RUNS
from tests.weights.hub_cache import COMMIT, put_snapshot
from tests.weights.hub_cache import cache as cache

MODEL = find_zoo() / 'dualtoken-twemoji'
NAME = 'someone/tokenizer'


@pytest.fixture
def asked(monkeypatch):
    """(name, revision, patterns, whether the cache alone) of every call of huggingface_hub."""
    calls, real = [], huggingface_hub.snapshot_download

    def snapshot_download(name, *, revision=None, allow_patterns=None, **how):
        calls.append((name, revision, allow_patterns, how.get('local_files_only', False)))
        return real(name, revision=revision, allow_patterns=allow_patterns, **how)
    monkeypatch.setattr('huggingface_hub.snapshot_download', snapshot_download)
    return calls


@pytest.fixture
def online(cache, monkeypatch):
    """A hub that serves `online.source` into the cache, and the patterns of each call that it has answered."""
    real = huggingface_hub.snapshot_download

    class Served:
        source, calls = MODEL, []

    def snapshot_download(name, *, allow_patterns=None, local_files_only=False, **how):
        if local_files_only:
            return real(name, allow_patterns=allow_patterns, local_files_only=True, **how)
        Served.calls.append(allow_patterns)
        return str(put_snapshot(cache, name, Served.source, [
            file for file in list_files(Served.source) + ['config.json'] * (Served.source / 'config.json').is_file()
            if any(fnmatch.fnmatch(file, pattern) for pattern in allow_patterns)]))
    Served.calls = []
    monkeypatch.setattr('huggingface_hub.snapshot_download', snapshot_download)
    return Served


@pytest.mark.parametrize('name, revision, want', [
    ('hf://a/b', None, ('a/b', None)), ('hf://a/b@v1.0', None, ('a/b', 'v1.0')),
    ('a-b.c/d_e', 'main', ('a-b.c/d_e', 'main')), ('hf://a/b@refs/pr/1', 'refs/pr/1', ('a/b', 'refs/pr/1'))])
def test_names(name, revision, want):
    assert read_hub_name(name, revision) == want


@pytest.mark.parametrize('name, revision, says', [
    ('hf://a', None, "'hf://a' is not the name of a model on the .* expected hf://OWNER/NAME or"),
    ('hf://a/b/c', None, 'is not the name'), ('hf://../b', None, 'is not the name'),
    ('hf://a/b@', None, 'is not the name'), ('hf://a/b@../../x', None, 'is not the name'),
    ('hf://a/b@v1', 'v2', "revision: got 'v2', and .* names the revision 'v1'"),
    ('a/b', 7, 'revision: got 7; expected a branch'), ('a/b', '../x', 'revision: got')])
def test_names_of_another_form(name, revision, says):
    with pytest.raises(InputError, match=says):
        read_hub_name(name, revision)


def test_a_cached_snapshot_needs_no_request(cache, asked):
    """By the default branch, a tag, and the commit; what opens is what opens from the folder itself."""
    put_snapshot(cache, NAME, MODEL, refs=('main', 'v1'))
    opened = dtbox.load(f'hf://{NAME}')
    want = dtbox.load(MODEL).model.state_dict()
    assert all(torch.equal(value, want[name]) for name, value in opened.model.state_dict().items())
    snapshot = cache / 'models--someone--tokenizer' / 'snapshots' / COMMIT
    for revision in ('v1', COMMIT):
        assert find_pretrained(NAME, revision) == find_hub_model(f'hf://{NAME}@{revision}') == str(snapshot)
    assert len(asked) == 5 and all(local for *_, local in asked)


def test_from_pretrained_takes_a_revision(cache):
    put_snapshot(cache, NAME, MODEL, refs=('v1',))
    assert dtbox.Tokenizer.from_pretrained(NAME, revision='v1').streams == ['pixel', 'semantic']
    with pytest.raises(InputError, match='folder: there is no folder someone/tokenizer here, and as a name on the hub: '
                                         'someone/tokenizer is not in the local cache'):
        dtbox.Tokenizer.from_pretrained(NAME)
    with pytest.raises(InputError, match="revision: got 'v1', but .*dualtoken-twemoji does not lie on the Hugging"):
        dtbox.Tokenizer.from_pretrained(MODEL, revision='v1')


def test_a_language_model_in_the_cache(cache):
    """Its files are links into `blobs`; they are compared with the hashes that its config carries, too."""
    folder = find_zoo() / 'mllm-twemoji'
    snapshot = put_snapshot(cache, 'someone/mllm', folder)
    assert list_files(snapshot) == list_files(folder)
    assert isinstance(dtbox.load('hf://someone/mllm'), dtbox.MultimodalModel)
    target = snapshot / 'language_model' / 'tokenizer.json'
    with open(os.path.realpath(target), 'a') as file:
        file.write('\n')
    with pytest.raises(InputError, match='tokenizer.json is not the file that was exported'):
        dtbox.load('hf://someone/mllm')
    (snapshot / 'elsewhere.json').symlink_to(MODEL / 'config.json')
    assert 'elsewhere.json' not in list_files(snapshot)


def test_nothing_is_asked_offline(cache):
    with pytest.raises(InputError, match=rf'run: {NAME} is not in the local cache .*{cache}.*HF_HUB_OFFLINE forbids to '
                                         rf'ask .*`hf download {NAME}`'):
        dtbox.load(f'hf://{NAME}')


def test_a_hub_without_a_network(cache, monkeypatch):
    def fail(*_, local_files_only=False, **__):
        raise FileNotFoundError('x') if local_files_only else ConnectionError('no route to host')
    monkeypatch.setattr('huggingface_hub.snapshot_download', fail)
    with pytest.raises(InputError, match=f'{NAME}, revision v1, cannot be fetched from the Hugging Face hub, and the '
                                         'local cache does not have it .*no route to host.* Fetch it where'):
        dtbox.load(f'hf://{NAME}@v1')


def test_the_package_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(InputError, match=f'the model {NAME} of .* hub needs the package `huggingface_hub`'):
        dtbox.load(f'hf://{NAME}')


def test_what_is_fetched(online, tmp_path):
    """The config first; then the files that it names, and no others. A second time the cache is enough."""
    online.source = shutil.copytree(MODEL, tmp_path / 'source')
    (online.source / 'large.bin').write_bytes(bytes(9))
    place = find_hub_model(NAME)
    assert sorted(os.listdir(place)) == ['README.md', 'config.json', 'model.safetensors', 'tokenizer.json']
    assert online.calls[0] == ('config.json', 'config.py') and len(online.calls) == 2
    assert find_hub_model(NAME) == place and len(online.calls) == 2
    os.unlink(os.path.join(place, 'model.safetensors'))
    find_hub_model(NAME)
    assert len(online.calls) == 4 and os.path.isfile(os.path.join(place, 'model.safetensors'))


def test_what_is_no_model_of_dtbox(online, tmp_path):
    """Its config alone is fetched."""
    online.source = tmp_path / 'source'
    online.source.mkdir()
    (online.source / 'config.json').write_text(json.dumps(dict(model_type='siglip')))
    (online.source / 'weights.bin').write_bytes(bytes(9))
    with pytest.raises(InputError, match="is not a model of dtbox: it has a config.json of the model_type 'siglip'; .*"
                                         'dtbox convert --list'):
        dtbox.load(f'hf://{NAME}')
    assert len(online.calls) == 1


def test_a_snapshot_that_stays_incomplete(online, tmp_path):
    online.source = tmp_path / 'source'
    online.source.mkdir()
    shutil.copy(MODEL / 'config.json', online.source)
    with pytest.raises(InputError, match='lacks model.safetensors, tokenizer.json. It is half downloaded'):
        dtbox.load(f'hf://{NAME}')


@pytest.mark.parametrize('change', ['import', 'plugin_inside', 'plugin_beside', 'pipe', None])
def test_a_run_of_a_stranger(change, cache, tiny_run, tmp_path):
    """A run folder on the hub opens as data: nothing of its author runs without `trust_remote_code`."""
    run = shutil.copytree(tiny_run, tmp_path / 'archive' / 'run')
    if change is None:
        put_snapshot(cache, NAME, run)
        assert isinstance(dtbox.load(f'hf://{NAME}'), dtbox.Tokenizer)
        return
    RUNS[change](str(run))
    put_snapshot(cache, NAME, run)
    with pytest.raises(InputError, match='trust-remote-code|expected|does not exist|not found|cannot'):
        dtbox.load(f'hf://{NAME}')
    assert not (run.parent / MARK).exists() and not os.path.exists('executed')


def test_a_plugin_in_another_snapshot(cache, tiny_run, tmp_path):
    """An absolute path into the cache, which a stranger may guess, is a stranger's plugin, too."""
    code = tmp_path / 'code'
    (code / 'mine').mkdir(parents=True)
    (code / 'mine' / '__init__.py').write_text(f'open({str(tmp_path / MARK)!r}, "w").close()')
    plugin = put_snapshot(cache, 'someone/else', code) / 'mine'
    run = shutil.copytree(tiny_run, tmp_path / 'run')
    with open(run / 'config.py', 'a') as file:
        file.write(f'\nplugins = [{str(plugin)!r}]\n')
    put_snapshot(cache, NAME, run)
    with pytest.raises(InputError, match='names the plugin .*which would run code of whoever wrote it'):
        dtbox.load(f'hf://{NAME}')
    assert not (tmp_path / MARK).exists()


def test_names_of_parts_on_the_hub():
    """timm's and open_clip's `hf-hub:` names are refused; of SigLIP the architecture is told by the name alone."""
    with pytest.raises(InputError, match="name: `hf-hub:timm/x` is a folder on the hub.*vit_base_patch16_siglip_256.*"
                                         "weights='hf://timm/x'"):
        TimmViT('hf-hub:timm/x', 32)
    with pytest.raises(InputError, match="`hf-hub:a/b` is a folder on the hub.*ViT-B-16-SigLIP-256"):
        OpenCLIPTower('hf-hub:a/b')
    assert find_sizes('hf-hub:timm/ViT-B-16-SigLIP-256') == find_sizes('google/siglip-base-patch16-256')


def test_weights_of_parts_on_the_hub(cache, tmp_path):
    from safetensors.torch import save_file
    own = TimmViT(**TimmViT.example)
    (tmp_path / 'timm').mkdir()
    save_file({k: v.contiguous() for k, v in own.trunk.state_dict().items()}, tmp_path / 'timm' / 'model.safetensors')
    put_snapshot(cache, 'timm/tiny', tmp_path / 'timm')
    other = TimmViT(**TimmViT.example, weights='hf://timm/tiny')
    other.init_weights()
    assert all(torch.equal(value, own.trunk.state_dict()[name]) for name, value in other.trunk.state_dict().items())
    assert load_published('hf-hub:timm/tiny')[0].keys() == own.trunk.state_dict().keys()
    with pytest.raises(InputError, match='google/siglip-base-patch16-224 is not in the local cache'):
        SigLIP(**SigLIP.example, weights='hub').init_weights()
