"""Forms and keys of earlier versions are errors that name the new ones."""
import pytest

from dtbox import renames
from dtbox.config import load_config
from dtbox.errors import InputError

OLD = [
    ("hooks = [dict(type='Log')]", r"^hooks: old\.py gives `hooks` as a list\. Since dtbox 0\.2\.0 it is a dict by "
                                   r"name, .*hooks=dict\(log=dict\("),
    ("val_evaluator = [dict(type='PSNR')]", r"^val_evaluator: .*val_evaluator=dict\(psnr=dict\(type='PSNR'\), "
                                            r"\.\.\.\)"),
    ("protocol = dict(metrics=[dict(type='PSNR')])", r'^protocol\.metrics: .*metrics=dict\(psnr='),
    ("tiny = {'batch_size': 4, 'model.losses.a': 1}",
     r'^tiny: old\.py sets the dotted key `model\.losses\.a` in `tiny`\. '
     r'.*tiny=dict\(model=dict\(losses=dict\(a=\.\.\.\)\)\)\.$')]


@pytest.fixture
def write(tmp_path):
    """Return write(text) -> path of a config."""
    def write(text):
        (tmp_path / 'old.py').write_text(text + '\n')
        return tmp_path / 'old.py'
    return write


@pytest.mark.parametrize('text, says', OLD)
def test_old_forms_in_a_file(write, text, says):
    with pytest.raises(InputError, match=says):
        load_config(write(text))


@pytest.mark.parametrize('key, value', [('hooks', [dict(type='Log')]), ('hooks', []),
                                        ('val_evaluator', (dict(type='PSNR'),))])
def test_old_forms_in_an_option(write, key, value):
    with pytest.raises(InputError, match=f'^{key}: the option gives `{key}` as a list'):
        load_config(write("hooks = dict(log=dict(type='Log'))\nval_evaluator = dict()"), {key: value})


def test_old_keys(write, monkeypatch):
    """In a file, in `tiny`, in an option; keys below an old one, too."""
    monkeypatch.setitem(renames.KEYS, 'model.critic', 'model.gan.discriminator')
    says = r'an earlier version\. `model\.critic` is now called `model\.gan\.discriminator` \(since dtbox 0\.2\.0\)'
    with pytest.raises(InputError, match=rf'^model\.critic: old\.py sets a key of {says}'):
        load_config(write('model = dict(critic=dict(type=3))'))
    with pytest.raises(InputError, match=rf'^tiny\.model\.critic: old\.py sets a key of {says}'):
        load_config(write('tiny = dict(model=dict(critic=dict(type=3)))'))
    with pytest.raises(InputError, match=rf'^model\.critic: the option sets a key of {says}'):
        load_config(write('model = dict(a=1)'), {'model.critic': None})


def test_old_arguments(write, monkeypatch):
    monkeypatch.setitem(renames.ARGUMENTS, 'RQ', dict(entries='size'))
    with pytest.raises(InputError, match=r'^quantizer\.entries: .* `entries` is now called `size` \(since dtbox '
                                         r'0\.2\.0\)'):
        load_config(write("quantizer = dict(type='RQ', size=3)"), {'quantizer.entries': 4})
