"""Mutated configs: each is ready to train, or is refused in one sentence before anything of a run is on disk.

`python tests/fuzz_configs.py` tries more of them, and trains (tests/README.md).
"""
import functools
import itertools
import logging

import pytest

from dtbox.apis import trained_tokenizer
from dtbox.training import startup
from tests.fuzz_configs import fuzz, list_recipes, load_recipe, try_checks, without_downloads

COUNTS = {'configs': 15, 'paper': 5}
"""Mutations of each recipe of a folder: 305 in all."""
LARGE = 5_000_000
"""Parameters; a mutation that deletes a width may get that of a published model, whose rehearsal takes ten seconds."""


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """Folder for generated pictures; data sets log nothing meanwhile."""
    logging.disable(logging.INFO)
    with without_downloads():
        yield tmp_path_factory.mktemp('pictures')
    logging.disable(logging.NOTSET)


@pytest.fixture(scope='module', autouse=True)
def _opened_once():
    """The frozen tokenizers of language models, which nothing changes, are opened once for all mutations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained_tokenizer, 'load_as', functools.lru_cache(trained_tokenizer.load_as))
        yield


def skip_large(rehearse):
    """Return the rehearsal without its work for large models."""
    def run(task, *args):
        if sum(p.numel() for p in task.parameters()) < LARGE:
            rehearse(task, *args)
    return run


@pytest.mark.parametrize('path', list_recipes(), ids=lambda path: path.stem)
def test_mutations(path, pictures, monkeypatch):
    count = itertools.count()

    def run(cfg):
        """Every third mutation is rehearsed, which takes most of the time of those that are ready to train."""
        with monkeypatch.context() as patch:
            left_out = next(count) % 3
            for name in ('rehearse_training', 'rehearse_evaluation'):
                patch.setattr(startup, name, (lambda *args: None) if left_out else skip_large(getattr(startup, name)))
            return try_checks(cfg)
    results = list(fuzz(load_recipe(path, pictures), COUNTS[path.parent.name], 0, run))
    assert [(change, result) for change, result in results if result.end not in ('trained', 'refused')] == []
    assert all(result.said for _, result in results if result.end == 'refused')
    assert len({result for _, result in results}) > 1, 'every mutation ends alike: the recipe itself cannot train'


def test_there_are_enough():
    counts = [COUNTS[path.parent.name] for path in list_recipes()]
    assert sum(counts) >= 300 and all(counts)
