"""`'${run:ENTRY}'`: entries of the config of another run, in the place where they are written."""
import pytest

from dtbox.config import load_config, resolve
from dtbox.errors import InputError

RUN = {'type': 'TokenizerTask', 'tokenizer': {'image_size': 48, 'encoders': {'trunk': {'type': 'A', 'depth': 2}}}}


@pytest.fixture(autouse=True)
def runs(monkeypatch):
    """Runs `a` and `b` in the place of folders."""
    def read(run):
        if run not in ('a', 'b'):
            raise InputError(f'the run {run} does not exist.')
        model = {**RUN, 'tokenizer': {**RUN['tokenizer'], 'depth': dict(a=1, b=2)[run]}}
        return dict(model=model, lr=0.5 if run == 'a' else 0.25, plugins=['json'] if run == 'b' else [])
    monkeypatch.setattr('dtbox.apis.run_values.read_run_values', read)


@pytest.fixture
def write(tmp_path):
    def write_config(text, name='child.py'):
        (tmp_path / name).write_text(text)
        return tmp_path / name
    return write_config


TEXT = """run = 'a'
size = '${run:model.tokenizer.image_size}'
lr = '${run:lr}'
model = dict(tokenizer='${run:model.tokenizer}', gan='${run:model.gan?}', sizes=['${size}'])
load_from = '${run}'
"""


def test_entries_stand_in_their_place(write):
    """The values are there when the config is loaded, so that config.py of a run is whole."""
    cfg = load_config(write(TEXT))
    assert cfg.size == 48 and cfg.lr == 0.5 and cfg.model.gan is None
    assert cfg.model.tokenizer.to_dict() == {**RUN['tokenizer'], 'depth': 1}
    assert resolve(cfg).model.sizes == [48] and resolve(cfg).load_from == 'a'


def test_an_option_names_the_run(write):
    """Wherever it stands among the options; the plugins of that run come along."""
    cfg = load_config(write(TEXT), {'model.tokenizer.image_size': 64, 'run': 'b'})
    assert cfg.lr == 0.25 and cfg.size == 48 and cfg.model.tokenizer.image_size == 64
    assert cfg.model.tokenizer.depth == 2 and cfg.plugins == ['json'] and RUN['tokenizer']['image_size'] == 48


def test_options_change_what_the_run_gives(write):
    """A dict merges into an entry as into any other; one that the run lacks is the dict itself."""
    cfg = load_config(write(TEXT), {'model.tokenizer': dict(image_size=32), 'model.gan': dict(discriminator=1)})
    assert cfg.model.tokenizer.image_size == 32 and cfg.model.tokenizer.encoders.trunk.depth == 2
    assert cfg.model.gan.to_dict() == dict(discriminator=1)
    assert load_config(write(TEXT), {'model.gan': '${run:model.tokenizer}'}).model.gan.image_size == 48


@pytest.mark.parametrize('change, says', [
    ("lr = '${run:model.losses}'", 'has no `model.losses`, .* There it has: type, tokenizer'),
    ("lr = '${run:modle}'", 'Did you mean `model`'), ("run = None", '`run` is None; expected the run whose entries'),
    ("run = 'c'", 'run: the run c does not exist'), ("lr = 'x${run:lr}'", 'refers to a variable in part'),
    ("lr = '${ran:lr}'", 'names no top-level variable. Did you mean `run`')])
def test_what_is_wrong_is_said(write, change, says):
    with pytest.raises(InputError, match=says):
        resolve(load_config(write(TEXT + change)))


def test_a_file_cannot_change_an_entry(write):
    """It does not know the run; it may replace the whole."""
    write(TEXT, 'base.py')
    with pytest.raises(InputError, match='model.tokenizer: a dict would change .* --cfg-options model.tokenizer.KEY'):
        load_config(write("_base_ = ['base.py']\nmodel = dict(tokenizer=dict(image_size=32))"))
    whole = load_config(write("_base_ = ['base.py']\nmodel = dict(tokenizer=dict(_delete_=True, image_size=32))"))
    assert whole.model.tokenizer.to_dict() == dict(image_size=32)
