"""MuonAdamW: orthogonalized momentum for matrices, AdamW for all else."""
import copy

import pytest
import torch
from timm.optim.muon import zeropower_via_newtonschulz

from dtbox.errors import InputError
from dtbox.training.muon import MuonAdamW, orthogonalize
from dtbox.training.optim import build_optim_wrappers, find_matrices


@pytest.fixture(autouse=True)
def small_matrices(monkeypatch):
    monkeypatch.setattr('dtbox.training.optim.NARROW', 3)


def make_module():
    torch.manual_seed(0)
    return torch.nn.ModuleDict(dict(table=torch.nn.Embedding(7, 5), body=torch.nn.Linear(5, 3)))


def make_wrapper(module, groups=None, **args):
    optimizer = dict(type='MuonAdamW', lr=0.1, weight_decay=0.5, **args)
    return build_optim_wrappers(dict(model=module), dict(model=dict(optimizer=optimizer, groups=groups)))['model']


def step(module, wrapper, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    wrapper.optimizer.step()


@pytest.mark.parametrize('shape', [(4, 9), (9, 4), (6, 6), (1, 5)])
def test_singular_values_become_equal(shape):
    """Directions stay, singular values come close to one; as timm computes it in float32."""
    matrix = torch.randn(shape)
    got = orthogonalize(matrix)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    values = torch.diag(u.T @ got @ v.T)
    assert (values > 0.6).all() and (values < 1.3).all()
    torch.testing.assert_close(got, u @ torch.diag(values) @ v, atol=1e-3, rtol=0)
    want = zeropower_via_newtonschulz(matrix, 5, [(3.4445, -4.7750, 2.0315)], dtype=torch.float32)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-3)


def test_two_steps_by_hand():
    """p <- (1 - lr decay) p - lr 0.2 sqrt(max side) O(Nesterov momentum)."""
    module = make_module()
    wrapper, want = make_wrapper(module), module.body.weight.detach().clone()
    momentum = torch.zeros_like(want)
    for seed in range(2):
        step(module, wrapper, seed)
        grad = module.body.weight.grad
        momentum = 0.95 * momentum + 0.05 * grad
        want = (1 - 0.1 * 0.5) * want - 0.1 * 0.2 * 5 ** 0.5 * orthogonalize(0.05 * grad + 0.95 * momentum)
    torch.testing.assert_close(module.body.weight.detach(), want)


def test_all_else_is_trained_by_adamw():
    module = make_module()
    plain = copy.deepcopy(module)
    wrapper = make_wrapper(module)
    adamw = torch.optim.AdamW([dict(params=[plain.table.weight], weight_decay=0.5),
                               dict(params=[plain.body.bias], weight_decay=0.0)], lr=0.1)
    for seed in range(3):
        step(module, wrapper, seed)
        step(plain, type('Wrapper', (), dict(optimizer=adamw)), seed)
    torch.testing.assert_close(module.table.weight, plain.table.weight)
    torch.testing.assert_close(module.body.bias, plain.body.bias)


def test_gradients_stay_and_none_moves_nothing():
    module = make_module()
    wrapper, before = make_wrapper(module), copy.deepcopy(module.state_dict())
    module.table.weight.grad = torch.ones(7, 5)
    wrapper.optimizer.step()
    assert torch.equal(module.table.weight.grad, torch.ones(7, 5)) and module.body.weight.grad is None
    assert torch.equal(module.body.weight, before['body.weight'])
    step(module, wrapper)
    assert module.body.weight.grad is not None


def test_a_saved_state_goes_on():
    module = make_module()
    wrapper = make_wrapper(module)
    step(module, wrapper)
    other = copy.deepcopy(module)
    again = make_wrapper(other)
    again.optimizer.load_state_dict(copy.deepcopy(wrapper.optimizer.state_dict()))
    for one, optimizer in ((module, wrapper), (other, again)):
        step(one, optimizer, seed=1)
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), other.parameters()))


@pytest.mark.parametrize('args, groups, message', [
    (dict(momentum=1.0), {}, 'momentum of Muon is 1.0'), (dict(steps=0), {}, '0 Newton-Schulz iterations'),
    ({}, {'table.*': dict(options=dict(moun=False))}, 'moun'),
    ({}, {'table.*': dict(options=dict(muon='no'))}, 'muon')])
def test_bad_arguments(args, groups, message):
    with pytest.raises(InputError, match=message):
        make_wrapper(make_module(), groups, **args)


def test_a_closure_gives_the_loss():
    weight = torch.nn.Parameter(torch.eye(2))
    optimizer = MuonAdamW([weight])

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss
    assert optimizer.step(closure) == 2 and weight[0, 0] < 1


class Words(torch.nn.Module):
    """A language model of transformers' habits: its last layer gives the words."""

    def __init__(self, tied):
        super().__init__()
        self.table = torch.nn.Embedding(9, 4)
        self.body, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 9)
        self.narrow, self.position = torch.nn.Linear(2, 4), torch.nn.Parameter(torch.zeros(5, 4))
        if tied:
            self.head.weight = self.table.weight

    def get_output_embeddings(self):
        return self.head


@pytest.mark.parametrize('tied', [True, False])
def test_tables_of_rows_are_no_matrices(tied):
    assert find_matrices(torch.nn.ModuleDict(dict(lm=Words(tied)))) == {'lm.body.weight'}


def test_a_group_takes_a_matrix_out():
    module = make_module()
    wrapper = make_wrapper(module, {'body.*': dict(options=dict(muon=False))})
    step(module, wrapper)
    assert 'exp_avg' in wrapper.optimizer.state[module.body.weight]
