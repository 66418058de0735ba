"""Mutated configs: each is ready to train, or is refused in one sentence before anything of a run is on disk.

`python tests/fuzz_configs.py` tries more of them, and trains (tests/README.md).
"""
import itertools
import logging

import pytest

from dtbox.training import startup
from tests.fuzz_configs import fuzz, list_recipes, load_recipe, try_checks, without_downloads

COUNTS = {'configs': 15, 'paper': 5}
"""Mutations of each recipe of a folder: 305 in all."""


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """Folder for generated pictures; data sets log nothing meanwhile."""
    logging.disable(logging.INFO)
    with without_downloads():
        yield tmp_path_factory.mktemp('pictures')
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize('path', list_recipes(), ids=lambda path: path.stem)
def test_mutations(path, pictures, monkeypatch):
    count = itertools.count()

    def run(cfg):
        """Every third mutation is rehearsed, which takes most of the time of those that are ready to train."""
        with monkeypatch.context() as patch:
            if next(count) % 3:
                patch.setattr(startup, 'rehearse_training', lambda *args: None)
                patch.setattr(startup, 'rehearse_evaluation', lambda *args: None)
            return try_checks(cfg)
    results = list(fuzz(load_recipe(path, pictures), COUNTS[path.parent.name], 0, run))
    assert [(change, result) for change, result in results if result.end not in ('trained', 'refused')] == []
    assert all(result.said for _, result in results if result.end == 'refused')


def test_there_are_enough():
    counts = [COUNTS[path.parent.name] for path in list_recipes()]
    assert sum(counts) >= 300 and all(counts)
