"""The collectives: hand-computed values on one and on two ranks, and nobody else who calls torch.distributed."""
import ast

import pytest

from dtbox.testing.rank_group import SHARED
from tests.distributed import collectives
from tests.test_imports import imports, modules  # noqa: F401

ALLOWED = ('distributed', 'training.launch', 'training.parallel', 'sizing.scale_ranks', 'testing.rank_group',
           'diagnostics.gpu.ranks')
"""Modules that may import torch.distributed or mmengine.dist: the library itself, and those that launch ranks, shard
models, count messages, or check that a machine's library works."""


def test_one_module_calls_collectives(modules):  # noqa: F811
    users = {module for module, tree in modules.items() for _, name in imports(ast.walk(tree), f'dtbox.{module}')
             if f'{name}.'.startswith(('torch.distributed.', 'mmengine.dist.'))}
    assert sorted(users - set(ALLOWED)) == []
    assert sorted(set(ALLOWED) - users) == []


def test_one_rank():
    values = collectives.call_all(0, 1)
    assert values == {
        'initialized': False, 'rank': 0, 'world': 1, 'objects': ['rank 0'], 'first': 'rank 0', 'sum': [1., 10.],
        'sparse sum': [2., 0., 0.], 'tensors': [[0, 7]], 'rows': [[1., 2.], [3., 4.]], 'in place': [1., 10., 4., 8.],
        'flags': [False, True, True], 'samples': (3, 1.0, False), 'no samples': (0, 0.0, False),
        'many samples': (2 ** 24 + 1, 1.0, False)}
    assert collectives.run_first(0, 1) == ('made', 'the folder is a file.', 2)


@pytest.mark.parametrize('rank', [0, 1])
def test_two_ranks(rank):
    """Rank 0 has 3 samples and rank 1 has 1: their means weigh 3 * 2 / 4 and 1 * 2 / 4."""
    values = SHARED.run(collectives.call_all)[rank]
    assert values == {
        'initialized': True, 'rank': rank, 'world': 2, 'objects': ['rank 0', 'rank 1'], 'first': 'rank 0',
        'sum': [3., 20.], 'sparse sum': [2., 2., 0.], 'tensors': [[0, 7], [1, 7]], 'rows': [[1., 2.], [3., 4.]],
        'in place': [3., 21., 4.5, 8.], 'flags': [False, True, True], 'samples': (4, (1.5, 0.5)[rank], True),
        'no samples': (0, 0.0, False), 'many samples': (2 ** 25 + 2, 1.0, False)}


def test_first_rank_acts_for_all():
    """Rank 1 calls nothing, and gets the value and the error of rank 0."""
    assert SHARED.run(collectives.run_first) == [('made', 'the folder is a file.', 2), ('made',
                                                                                        'the folder is a file.', 0)]


def test_embeddings_of_two_ranks():
    """The gradient of an image sums the losses of both ranks (factors 1 and 2) over its row (factors 1, 10, 100)."""
    rows, words = [[1., 0.], [0., 1.], [2., 2.]], ['a', 'b', 'c']
    first, second = SHARED.run(collectives.join)
    assert first == (rows, [[-a, -b] for a, b in rows], words, 0, [[3., 3.], [30., 30.]])
    assert second == (rows, [[-a, -b] for a, b in rows], words, 2, [[300., 300.]])
