"""No program of dtbox imports transformers before it uses it, and MMEngine's registry still builds its Adafactor."""
import builtins
import importlib.util
import sys

import pytest
import torch
from mmengine.optim.optimizer import builder
from mmengine.registry import OPTIMIZERS

from dtbox.postponed_imports import PostponingLoader, build_adafactor, find_postponing
from tests.child_processes import run_child

BUILDER = 'mmengine.optim.optimizer.builder'
FAKE = 'import torch\nprint("transformers")\n\nclass Adafactor(torch.optim.SGD):\n    pass\n'
PROGRAM = """
import sys
import dtbox
from dtbox.cli.train import VERB
from dtbox.training.runner import Runner
assert VERB and Runner
print('ready', *[name for name in ('transformers', 'peft', 'torch._dynamo', 'scipy') if name in sys.modules])
import torch
from mmengine.registry import OPTIMIZERS
optimizer = OPTIMIZERS.build(dict(type='Adafactor', params=[torch.nn.Parameter(torch.zeros(2))], lr=0.5))
import transformers
print(type(optimizer) is transformers.Adafactor, optimizer.defaults['lr'])
"""
MODULE = """
try:
    from transformers import Adafactor
except ImportError as e:
    seen = str(e)
else:
    seen = Adafactor.__name__

def again():
    import transformers
    return transformers

import other
"""


def test_a_program_that_trains(tmp_path):
    """What trains starts without transformers; whoever asks the registry for Adafactor gets that of transformers."""
    (tmp_path / 'transformers.py').write_text(FAKE)
    (tmp_path / 'program.py').write_text(PROGRAM)
    done = run_child([sys.executable, tmp_path / 'program.py'])
    assert done.returncode == 0, done.stderr
    first, *_, second, third = done.stdout.splitlines()  # a remark of MMEngine's may stand between
    assert first == 'ready'
    assert [second, third] == ['transformers', 'True 0.5']


@pytest.fixture
def load(tmp_path, monkeypatch):
    """A function that loads MODULE, beside which there are a module `transformers` and one that imports it, too."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'transformers.py').write_text('class Adafactor:\n    pass\n')
    (tmp_path / 'other.py').write_text('import transformers\n')
    (tmp_path / 'registering.py').write_text(MODULE)
    for name in [name for name in sys.modules if name.partition('.')[0] in ('transformers', 'other')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(OPTIMIZERS.module_dict, 'Adafactor', raising=False)

    def run():
        module = importlib.util.module_from_spec(find_postponing('registering', [str(tmp_path)]))
        module.__spec__.loader.exec_module(module)
        return module
    yield run
    for name in ('transformers', 'other'):
        sys.modules.pop(name, None)  # before monkeypatch gives back what was there
    OPTIMIZERS.module_dict.pop('Adafactor', None)


def test_one_module_alone_goes_without(load):
    """What the module imports may import transformers, and so may the module itself, later."""
    module = load()
    assert module.seen == 'dtbox postpones this import'
    assert module.other.transformers is module.again() is sys.modules['transformers']


def test_transformers_that_came_before(load):
    """It stays, and the module does not look into it."""
    import transformers
    assert load().seen == 'dtbox postpones this import'
    assert sys.modules['transformers'] is transformers
    assert OPTIMIZERS.module_dict['Adafactor'] is build_adafactor


def test_nothing_stays_behind(load):
    module = load()
    assert not isinstance(module.__loader__, PostponingLoader)
    assert module.__spec__.loader is module.__loader__
    assert module.__builtins__ is vars(builtins)
    assert builtins.__import__.__module__ == 'builtins'


def test_other_threads_import_it_meanwhile(load, tmp_path):
    """The module waits for another thread, which imports transformers."""
    (tmp_path / 'other.py').write_text('import threading\nnames = []\n\ndef look():\n    import transformers\n'
                                       '    names.append(transformers.__name__)\n\n'
                                       'one = threading.Thread(target=look)\none.start()\none.join()\n')
    assert load().other.names == ['transformers']


def test_without_transformers_there_is_no_adafactor(load, monkeypatch, tmp_path):
    (tmp_path / 'other.py').write_text('')
    monkeypatch.setitem(sys.modules, 'transformers', None)
    assert load().seen == 'dtbox postpones this import'
    assert 'Adafactor' not in OPTIMIZERS.module_dict


def test_a_user_registers_adafactor_first(load):
    """What is registered under that name stays."""
    OPTIMIZERS.register_module(name='Adafactor', module=torch.optim.SGD)
    load()
    assert OPTIMIZERS.module_dict['Adafactor'] is torch.optim.SGD


def test_mmengine_still_has_that_module():
    """The module that dtbox names asks for transformers, and went without."""
    assert sys.modules[BUILDER] is builder
    assert builder.register_transformers_optimizers.__module__ == BUILDER
    assert builder.TRANSFORMERS_OPTIMIZERS == []
