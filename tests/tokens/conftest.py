"""What the tests of tokens share."""
import pytest

from dtbox.tokens.engines import local
from tests.tokens.kit import ForkedWorker, make_encoder, write_images


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """The user's cache of shard indices stays as it is."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.getbasetemp() / 'cache'))


@pytest.fixture
def forks(monkeypatch):
    """Local workers are forks, which begin in a tenth of the time of a program."""
    monkeypatch.setattr(local, 'launch', ForkedWorker)


@pytest.fixture(scope='session')
def encoder(tiny_run):
    """An encoder of the tiny run, batches of four images."""
    pytest.importorskip('pyarrow')
    return make_encoder(tiny_run)


@pytest.fixture
def photos(tmp_path):
    """A folder of ten images."""
    return write_images(tmp_path / 'photos', 10)
