"""One way to open a tokenizer: the same weights from a run, an exported folder and a task; and nobody who goes another
way."""
import ast
import os

import pytest
import torch
from timm.layers import trunc_normal_

import dtbox
from dtbox.apis import building, open_config
from dtbox.apis.opening import open_task, open_tokenizer, read_weights
from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from tests.test_imports import imports, modules  # noqa: F401

OPENERS = {'dtbox.apis.building.build_for_use': ('apis.opening',),
           'dtbox.extend.record.warn_changes': ('apis.opening',),
           'dtbox.training.checkpoint': ('apis.opening', 'converters.run_folder', 'diagnostics.gpu.resuming')}
"""What opens weights -> modules outside of training/ that may import it; of the last, one writes them, and one compares
whole checkpoints bit by bit."""


@pytest.fixture(scope='module')
def opened(tiny_run):
    """Config and checkpoint of the tiny run, and its tokenizer."""
    cfg, path = open_config(tiny_run)
    return cfg, path, open_tokenizer(cfg, path)


@pytest.mark.parametrize('name', OPENERS)
def test_nobody_goes_another_way(modules, name):  # noqa: F811
    users = {module for module, tree in modules.items() if not module.startswith('training.')
             for _, target in imports(ast.walk(tree), f'dtbox.{module}') if target == name}
    assert users == set(OPENERS[name])


def test_every_way_gives_the_same_weights(opened, tiny_run, tmp_path):
    cfg, path, (model, checkpoint) = opened
    assert checkpoint['iteration'] == 6 and not model.training and not any(p.requires_grad for p in model.parameters())
    tokenizer = dtbox.load(tiny_run)
    tokenizer.save_pretrained(tmp_path / 'exported')
    others = [tokenizer.model, dtbox.Tokenizer.from_pretrained(tmp_path / 'exported').model,
              open_task(cfg, path).model.tokenizer.cpu()]
    saved = {k[len('tokenizer.'):]: v for k, v in checkpoint['state_dict'].items() if k.startswith('tokenizer.')}
    for state in (model.state_dict(), *(m.state_dict() for m in others)):
        assert state.keys() == saved.keys()
        assert all(torch.equal(state[k], saved[k]) for k in saved)


def test_exported_weights(opened, tiny_run, tmp_path):
    dtbox.load(tiny_run).save_pretrained(tmp_path / 'exported')
    path = os.path.join(tmp_path / 'exported', 'model.safetensors')
    weights = read_weights(path, {})
    assert weights.source == path
    assert weights.checkpoint == {}
    assert weights.tensors.keys() == opened[2].model.state_dict().keys()


def test_types_and_devices(opened):
    """Quantizers stay float32 in a model of another type."""
    cfg, path, _ = opened
    model = open_tokenizer(cfg, path, dtype='bfloat16').model
    assert model.decoder.last_layer.dtype == torch.bfloat16
    assert {p.dtype for s in model.streams.values() for p in (*s.quantizer.parameters(), *s.quantizer.buffers())
            if p.is_floating_point()} == {torch.float32}
    with pytest.raises(InputError, match='`dtype` is .int7.; expected one of float32'):
        open_tokenizer(cfg, path, dtype='int7')
    with pytest.raises(InputError, match='cannot be moved to the device .nowhere.'):
        open_tokenizer(cfg, path, device='nowhere')


def test_weights_that_a_config_starts_from(tiny_config, opened):
    """Without a checkpoint, the weights that the parts name; all else is drawn by the config's seed."""
    cfg = resolve(load_config(tiny_config))
    start, again = open_tokenizer(cfg, None), open_tokenizer(cfg, None)
    named = torch.load(cfg.model.tokenizer.encoders.trunk.weights, weights_only=True)
    assert start.checkpoint == {} and torch.equal(start.model.encoders['trunk'].trunk.state_dict()['pos_embed'],
                                                  named['pos_embed'])
    first, second, trained = (m.state_dict() for m in (start.model, again.model, opened[2].model))
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not torch.equal(first['encoders.trunk.trunk.pos_embed'], trained['encoders.trunk.trunk.pos_embed'])


class Turned(torch.nn.Module):
    """Has a buffer of its own that no state dict holds, and parameters that are drawn in several ways."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(3, 3)
        self.table = torch.nn.Parameter(torch.empty(4, 3))
        trunc_normal_(self.table)
        torch.nn.init.normal_(self.net.weight)
        self.norm = torch.nn.LayerNorm(3)
        self.register_buffer('angles', torch.arange(3.) / 10, persistent=False)


def test_nothing_is_drawn_for_weights_that_come(monkeypatch):
    """A model with a computed buffer, which cannot be built without memory: its buffer is computed, its norms are as
    they begin, and no number is drawn for a parameter that the weights bring anyway."""
    monkeypatch.setattr(building.TOKENIZERS, 'build', lambda cfg, where: Turned())
    state = {name: torch.full_like(value, 7.) for name, value in Turned().state_dict().items()}
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    model = building.build_with({}, state, 'a file')
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.angles.tolist() == pytest.approx([0, 0.1, 0.2]) and not model.angles.is_meta
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    with building._Undrawn():
        assert Turned().norm.weight.tolist() == [1, 1, 1] and torch.randn(2).shape == (2,)
    assert not torch.equal(torch.random.get_rng_state(), before)
