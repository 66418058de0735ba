"""The adapter of VLMEvalKit against a stub of its base class: the package is not installed here."""
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dtbox.apis.opening import MLLM
from dtbox.errors import InputError

HERE = Path(__file__).parent
RUN = 'dtbox://mllm-twemoji'


class BaseModel:
    """`vlmeval.vlm.base.BaseModel`, as far as the adapter meets it."""
    INTERLEAVE = False
    allowed_types = ['text', 'image']

    def use_custom_prompt(self, dataset):
        return False

    def generate(self, message, dataset=None):
        return self.generate_inner(message, dataset)


def load():
    spec = importlib.util.spec_from_file_location('dtbox_vlmevalkit', HERE / 'dtbox_vlmevalkit.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def adapter():
    with pytest.MonkeyPatch.context() as patch:
        for name, values in {'vlmeval': {}, 'vlmeval.vlm': {}, 'vlmeval.vlm.base': dict(BaseModel=BaseModel),
                             'vlmeval.config': dict(supported_VLM={})}.items():
            module = types.ModuleType(name)
            module.__dict__.update(values)
            patch.setitem(sys.modules, name, module)
        yield load()


@pytest.fixture(scope='module')
def vlm(adapter):
    return adapter.DtboxVLM(RUN, device='cpu', max_tokens=8)


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp('vlm'), np.random.default_rng(0)
    for i in range(2):
        Image.fromarray(rng.integers(0, 255, (3, 3, 3), dtype=np.uint8)).resize((64, 64)).save(folder / f'{i}.png')
    return [str(folder / f'{i}.png') for i in range(2)]


def test_reply(vlm, paths):
    message = [dict(type='image', value=paths[0]), dict(type='text', value='what is it?')]
    assert vlm.generate(message, 'MMBench_DEV_EN') == vlm.model.ask(paths[0], 'what is it?', max_tokens=8)[0] != ''
    assert vlm.INTERLEAVE and not vlm.use_custom_prompt('MME')


def test_parts_stay_in_order(vlm, paths):
    """Two images with a text between them, as `chat` reads them."""
    message = [dict(type='image', value=paths[0]), dict(type='text', value='and'), dict(type='image', value=paths[1]),
               dict(type='text', value='what is it?')]
    content = [dict(type='image', image=paths[0]), 'and', dict(type='image', image=paths[1]), 'what is it?']
    said = vlm.model.chat([dict(role='user', content=content)], may_draw=False, max_tokens=8)
    assert vlm.generate(message) == said['content']


def test_what_is_refused(adapter, vlm, paths):
    with pytest.raises(InputError, match='reads neither videos nor sounds'):
        vlm.generate([dict(type='video', value='clip.mp4')])
    with pytest.raises(InputError, match='none.png does not exist'):
        vlm.generate([dict(type='image', value='none.png'), dict(type='text', value='what?')])
    with pytest.raises(InputError, match='a tokenizer; expected a multimodal language model'):
        adapter.DtboxVLM('dtbox://dualtoken-twemoji')


def test_launcher(adapter, tmp_path, monkeypatch):
    """run.py of the clone gets the options that are not the adapter's, and finds the model by its name."""
    with pytest.raises(InputError, match='has no run.py; expected a clone of VLMEvalKit'):
        adapter.main([RUN, '--toolkit', str(tmp_path)])
    (tmp_path / 'run.py').write_text(
        'import sys\nfrom vlmeval.config import supported_VLM\n\n\ndef main():\n'
        '    supported_VLM["seen"] = sys.argv[1:], supported_VLM["dtbox"]().model.use\n')
    monkeypatch.setattr(sys, 'argv', ['launcher'])
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.delitem(sys.modules, 'run', raising=False)
    adapter.main([RUN, '--toolkit', str(tmp_path), '--device', 'cpu', '--data', 'MME'])
    assert sys.modules['vlmeval.config'].supported_VLM['seen'] == (['--model', 'dtbox', '--data', 'MME'], MLLM)
    sys.modules.pop('run', None)


def test_without_the_package(monkeypatch):
    for name in ('vlmeval', 'vlmeval.vlm', 'vlmeval.vlm.base'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match='Clone it, and install the clone'):
        load()
