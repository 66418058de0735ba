"""Optimizers from a config: PyTorch's fused forms, which step as the plain ones do."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.training.optim import build_optim_wrappers


def built(**optimizer):
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 4)
    wrapper = build_optim_wrappers(dict(generator=module),
                                   dict(generator=dict(optimizer=dict(lr=0.1, **optimizer))))['generator']
    return module, wrapper


@pytest.mark.parametrize(('optimizer', 'fused'), [
    (dict(type='AdamW'), True), (dict(type='SGD', momentum=0.9), True), (dict(type='AdamW', fused=False), False),
    (dict(type='Adam', foreach=True), None), (dict(type='RMSprop'), None)])
def test_the_fused_form_is_the_default(optimizer, fused):
    _, wrapper = built(**optimizer)
    assert {group.get('fused') for group in wrapper.optimizer.param_groups} == {fused}


@pytest.mark.parametrize('kind', ['AdamW', 'Adam', 'SGD'])
def test_it_steps_as_the_plain_one_does(kind):
    ends = []
    for fused in (True, False):
        module, wrapper = built(type=kind, weight_decay=0.1, fused=fused)
        for _ in range(5):
            wrapper.update_params(module(torch.arange(6.).view(2, 3)).square().mean())
        ends.append(module.weight.detach().clone())
    torch.testing.assert_close(*ends)
    assert not torch.equal(ends[0], built(type=kind)[0].weight)


def test_what_is_no_optimizer():
    with pytest.raises(InputError, match='torch.optim has no `AdmaW`.*Did you mean `AdamW`'):
        built(type='AdmaW')
    with pytest.raises(InputError, match='`Adam` cannot be made of these values: .*beta'):
        built(type='Adam', betas=(2, 3))


def test_groups():
    """`lr_mult` and `decay_mult` of the pattern that matches; weights of one dimension do not decay."""
    module = torch.nn.ModuleDict(dict(body=torch.nn.Linear(2, 2), norm=torch.nn.LayerNorm(2),
                                      head=torch.nn.Linear(2, 2)))
    cfg = dict(optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.04),
               groups={'head.*': dict(lr_mult=0.5, decay_mult=2.0)})
    wrapper = build_optim_wrappers(dict(generator=module), dict(generator=cfg))['generator']
    names = {id(p): n for n, p in module.named_parameters()}
    found = {names[id(p)]: (g['lr'], g['weight_decay']) for g in wrapper.optimizer.param_groups for p in g['params']}
    assert found == {'body.weight': (0.1, 0.04), 'body.bias': (0.1, 0.0), 'norm.weight': (0.1, 0.0),
                     'norm.bias': (0.1, 0.0), 'head.weight': (0.05, 0.08), 'head.bias': (0.05, 0.0)}
