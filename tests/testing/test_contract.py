"""Every quantizer of this repository keeps the contract, with each codebook, start and estimator."""
import functools

import pytest
import torch

from dtbox.errors import InputError
from dtbox.quantizers.vq import VQ
from dtbox.registry import CODEBOOKS, ESTIMATORS, QUANTIZERS, STARTS
from dtbox.testing import check_quantizer, list_examples, quantizer_checks, run_checks

EMA = dict(type='EMACodebook', decay=0.9)
GRADIENT = dict(type='GradientCodebook', restart=1.0)
ROTATION = dict(type='RotationTrick')
SMALL = dict(size=16, dim=4)
CONFIGS = {
    'VQ by gradient': dict(type='VQ', **SMALL, codebook=dict(type='GradientCodebook')),
    'VQ by gradient and clustering': dict(type='VQ', **SMALL, codebook=dict(type='ClusteringCodebook')),
    'VQ by gradient with restarts, from k-means': dict(type='VQ', **SMALL,
                                                       codebook=dict(GRADIENT, start=dict(type='KMeansStart'))),
    'VQ by EMA without restarts': dict(type='VQ', **SMALL, codebook=dict(EMA, restart=0.0)),
    'VQ by EMA from samples, rotated': dict(type='VQ', **SMALL, codebook=dict(EMA, start=dict(type='SampleStart')),
                                            estimator=ROTATION),
    'VQ of directions by EMA': dict(type='VQ', **SMALL, codebook=dict(EMA, cosine=True)),
    'VQ of directions by gradient': dict(type='VQ', **SMALL, codebook=dict(GRADIENT, cosine=True)),
    'RQ of tables of their own, from k-means': dict(type='RQ', depth=3, shared=False, **SMALL,
                                                    codebook=dict(EMA, start=dict(type='KMeansStart'))),
    'RQ by gradient, rotated': dict(type='RQ', depth=3, **SMALL, codebook=GRADIENT, estimator=ROTATION),
    'RQ with more codes than vectors': dict(type='RQ', depth=2, size=300, dim=4, codebook=EMA),
    'one index for two features, by gradient, rotated': dict(type='JointVQ', size=16, members=dict(a=2, b=3),
                                                             codebook=GRADIENT, estimator=ROTATION),
    'one index for two features, from k-means': dict(type='JointVQ', size=16, members=dict(a=2, b=3),
                                                     weights=dict(b=4.0),
                                                     codebook=dict(EMA, start=dict(type='KMeansStart'))),
    'SimVQ of a wider table': dict(type='SimVQ', size=32, dim=4, latent_dim=6),
    'MCQ with entropy': dict(type='MCQ', size=16, dim=8, parts=2, entropy_weight=0.1),
    'FSQ of even levels': dict(type='FSQ', levels=[8, 6, 4]),
    'Product of FSQ': dict(type='Product', quantizer=dict(type='FSQ', levels=[5, 4]), groups=2),
    'Product of RQ by gradient': dict(type='Product', groups=2, quantizer=dict(
        type='RQ', depth=2, shared=False, **SMALL, codebook=dict(type='GradientCodebook'))),
    'LFQ of several codes': dict(type='LFQ', dim=6, parts=[2, 4], lowest_first=True, floor=1e-5)}
OFFICIAL = {f'official {v}': dict(type='RQ', depth=3, **SMALL, official=True, variant=v) for v in ('rq', 'rq_ema')}
ALL = {**list_examples(), **CONFIGS, **OFFICIAL}


def types(cfg):
    """Every `type` that a config names."""
    return {cfg['type']}.union(*(types(v) for v in cfg.values() if isinstance(v, dict) and 'type' in v))


def test_every_part_is_here():
    """A new quantizer has an `example`; a new codebook, start or estimator comes into CONFIGS."""
    assert all(name in list_examples() for name in QUANTIZERS.module_dict)
    named = set().union(*map(types, ALL.values())) | {'EMACodebook', 'StraightThrough',
                                                      'CheckpointStart'}  # the defaults; one that reads a file
    for registry in (CODEBOOKS, STARTS, ESTIMATORS):
        assert set(registry.module_dict) <= named


@functools.cache
def find_results(name):
    """The results of all checks on one of `ALL`, for both tests that read them."""
    return run_checks(ALL[name])


@pytest.mark.parametrize('name', ALL)
def test_contract(name):
    assert not [f'{r.name}: {r.detail}' for r in find_results(name) if r.status == 'fails']


def test_what_applies():
    """A check that leaves a quantizer out says so, and only these do."""
    nothing = {r.name for r in find_results('VQ by gradient') if r.status != 'holds'}
    rotated = {r.name for r in find_results('RQ by gradient, rotated')
               if r.status != 'holds'}
    fixed = {r.name for r in find_results('FSQ') if r.status != 'holds'}
    official = {r.name for r in find_results('official rq') if r.status == 'does not apply'}
    assert nothing == set() and rotated == {'straight_through'} and fixed == {'parameters_get_gradient'}
    assert official == {'parameters_get_gradient', 'settles', 'checkpointing', 'forward_leaves_state', 'skipped_step',
                        'accumulation', 'two_ranks'}


test_one_case_a_check = quantizer_checks(list_examples()['FSQ'])


def test_what_a_failure_says():
    """All that fails, in one message; the global random state stays where it was."""
    before = torch.get_rng_state()
    with pytest.raises(AssertionError, match=r"(?s)Unfinished.* breaks 2 of .*\n  decode_equals_forward: features of "
                       r".* differ, by .*\n  "
                                             r"encode_builds_no_graph: encode saves 1 tensor for"):
        check_quantizer(dict(type=type('Unfinished', (VQ,),
                                       dict(encode=lambda self, z: VQ.encode(self, z + 0 * z.pow(2)),
                                                                 decode=lambda self,
                                            codes: VQ.decode(self, codes) + 1)), size=4, dim=2),
                        skip=['two_ranks', 'settles'])
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_calls():
    with pytest.raises(InputError, match='`two_rank` is not a check of a quantizer. Did you mean `two_ranks`'):
        check_quantizer(ALL['VQ'], only=['two_rank'])
    with pytest.raises(InputError, match='`VQ` needs the argument `dim`'):
        check_quantizer(dict(type='VQ', size=4))
