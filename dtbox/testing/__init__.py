"""Contract suites for authors of parts, to be called from any pytest.

    from dtbox.testing import loss_checks
    test_contract = loss_checks(dict(type='MyLoss'), plugins=['plugins/mine'])

There is one contract for each kind of part: encoder, quantizer, decoder, loss, metric, dataset, head, language model
(`lm`), visual embedding, visual head.
`KIND_contract.py` holds its checks, a function each; `suite.py` runs them, `subject.py` is what they share,
`rank_group.py` the ranks of checks that need two; `scaffold.py` writes a plugin to start from.
"""
from __future__ import annotations

from typing import Callable, Sequence

from dtbox.testing.contracts import CONTRACTS
from dtbox.testing.rank_group import RankError, Ranks
from dtbox.testing.suite import CheckResult, check_part, list_examples, make_part_checks, run_checks

__all__ = ['CONTRACTS', 'CheckResult', 'RankError', 'Ranks', 'check_part', 'check_quantizer', 'dataset_checks',
           'decoder_checks', 'encoder_checks', 'head_checks', 'list_examples', 'lm_checks', 'loss_checks',
           'metric_checks', 'quantizer_checks', 'run_checks', 'visual_embedding_checks', 'visual_head_checks']

Names = Sequence[str]


def encoder_checks(cfg: dict, plugins: str | Names = (), only: Names | None = None, skip: Names = ()) -> Callable:
    """Return a pytest test of an encoder with one case a check. Arguments as of `run_checks`."""
    return make_part_checks('encoder', cfg, plugins, only, skip)


def quantizer_checks(cfg: dict, plugins: str | Names = (), only: Names | None = None, skip: Names = (),
                     ranks: Ranks | None = None) -> Callable:
    """Return a pytest test of a quantizer with one case a check. Arguments as of `run_checks`."""
    return make_part_checks('quantizer', cfg, plugins, only, skip, ranks)


def decoder_checks(cfg: dict, plugins: str | Names = (), only: Names | None = None, skip: Names = ()) -> Callable:
    """Return a pytest test of a decoder with one case a check. Arguments as of `run_checks`."""
    return make_part_checks('decoder', cfg, plugins, only, skip)


def loss_checks(cfg: dict, plugins: str | Names = (), only: Names | None = None, skip: Names = ()) -> Callable:
    """Return a pytest test of a loss with one case a check. Arguments as of `run_checks`."""
    return make_part_checks('loss', cfg, plugins, only, skip)


def metric_checks(cfg: dict, plugins: str | Names = (), only: Names | None = None, skip: Names = (),
                  ranks: Ranks | None = None) -> Callable:
    """Return a pytest test of a metric with one case a check. Arguments as of `run_checks`."""
    return make_part_checks('metric', cfg, plugins, only, skip, ranks)


def dataset_checks(cfg: dict, plugins: str | Names = (), only: Names | None = None, skip: Names = ()) -> Callable:
    """Return a pytest test of a dataset with one case a check. Arguments as of `run_checks`."""
    return make_part_checks('dataset', cfg, plugins, only, skip)


def head_checks(cfg: dict, plugins: str | Names = (), only: Names | None = None, skip: Names = ()) -> Callable:
    """Return a pytest test of a head with one case a check. Arguments as of `run_checks`."""
    return make_part_checks('head', cfg, plugins, only, skip)


def visual_embedding_checks(cfg: dict, plugins: str | Names = (), only: Names | None = None,
                            skip: Names = ()) -> Callable:
    """Return a pytest test of a visual embedding with one case a check. Arguments as of `run_checks`."""
    return make_part_checks('visual_embedding', cfg, plugins, only, skip)


def visual_head_checks(cfg: dict, plugins: str | Names = (), only: Names | None = None, skip: Names = ()) -> Callable:
    """Return a pytest test of a visual head with one case a check. Arguments as of `run_checks`."""
    return make_part_checks('visual_head', cfg, plugins, only, skip)


def lm_checks(cfg: dict, plugins: str | Names = (), only: Names | None = None, skip: Names = ()) -> Callable:
    """Return a pytest test of a language model with one case a check. Arguments as of `run_checks`."""
    return make_part_checks('lm', cfg, plugins, only, skip)


def check_quantizer(cfg: dict, plugins: str | Names = (), only: Names | None = None, skip: Names = (),
                    ranks: Ranks | None = None) -> None:
    """Raise an AssertionError that lists every check of a quantizer which fails. Arguments as of `run_checks`."""
    check_part(cfg, plugins, only, skip, ranks, kind='quantizer')
