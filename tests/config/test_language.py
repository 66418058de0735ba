"""The examples of configs/README.md: each Python block is a config that loads, resolves and builds; the table lists
every recipe."""
import re
from pathlib import Path

import pytest

from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'
TEXT = (CONFIGS / 'README.md').read_text(encoding='utf-8')
PYTHON = re.findall(r'```python\n(.*?)```', TEXT, flags=re.DOTALL)
BLOCKS = [block for block in PYTHON if '_base_' in block]


def test_there_are_examples():
    assert len(BLOCKS) >= 6 and all("_base_ = ['dualtoken_rq']" in block for block in BLOCKS)


@pytest.mark.parametrize('block', BLOCKS, ids=range(len(BLOCKS)))
def test_example(block, tmp_path):
    """It loads, and so does its tiny size; the model can be built."""
    path = tmp_path / 'child.py'
    path.write_text(block)
    cfg = resolve(load_config(path, tiny=True))
    model = MODELS.build(cfg.model, where='model')
    assert ('discriminator' in model.parts) == (cfg.gan is not None)


def test_what_the_examples_say(tmp_path):
    path = tmp_path / 'child.py'
    path.write_text(next(block for block in BLOCKS if 'depth=8' in block))
    vocabularies = resolve(load_config(path)).model.tokenizer.vocabularies
    assert [(v.quantizer['size'], v.quantizer.depth) for v in vocabularies.values()] == [(512, 8), (512, 4)]
    path.write_text("_base_ = ['dualtoken_rq']\nquantizer = dict(sise=3)\n")
    with pytest.raises(InputError, match='quantizer.sise: child.py sets a key that its base does not have. Did you '
                                         'mean `size`?'):
        load_config(path)


def test_example_from_python(capsys):
    code, = [block for block in PYTHON if block not in BLOCKS]
    exec(code, {})
    assert "'size': 2048" in capsys.readouterr().out


def test_every_recipe_is_listed():
    listed = set(re.findall(r'^\| \[(\w+)\]\(\1\.py\)', TEXT, flags=re.MULTILINE))
    assert listed == {path.stem for path in CONFIGS.glob('*.py')}
