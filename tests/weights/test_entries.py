"""Which of several sets of weights in a file is taken, and names that wrappers have changed."""
import argparse

import pytest
import torch
from safetensors.torch import save_file

from dtbox.errors import InputError
from dtbox.evaluation.stamps import to_json_value
from dtbox.weights.entries import split_entry, strip_name, strip_wrappers
from dtbox.weights.state_dicts import load_state, select_prefix

GOOD = {'a.weight': torch.arange(6.).view(2, 3), 'a.bias': torch.ones(2), 'b.c': torch.full((3,), 2.)}
OLD = {name: value * 0.5 for name, value in GOOD.items()}


def under(prefix, state=GOOD):
    return {prefix + name: value for name, value in state.items()}


def lit_ema(state):
    """As LitEma of latent-diffusion names averages: without dots."""
    return {f'model_ema.{name.replace(".", "")}': value for name, value in state.items()}


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr('dtbox.weights.entries.print_log', lambda text, *_, **__: lines.append(text))
    return lines


def is_good(state):
    return set(state) == set(GOOD) and all(torch.equal(state[name], value) for name, value in GOOD.items())


@pytest.mark.parametrize('content, word', [
    (dict(ema=GOOD, model=OLD, steps=3, optimizer=dict(state={0: dict(step=torch.ones(1))}, param_groups=[])), '`ema`'),
    (dict(model_ema=GOOD, state_dict=OLD), '`model_ema`'),
    (dict(params=OLD, params_ema=under('module.')), '`params_ema`'),
    (dict(model=OLD, ema=dict(shadow=GOOD, decay=0.99)), '`ema`'),
    (dict(model=OLD, ema=dict(ema_model=under('module.'), step=3)), '`ema`'),
    (dict(state_dict_ema=GOOD, state_dict=OLD, discriminator=OLD), '`state_dict_ema`'),
    (dict(model=GOOD, discriminator=OLD), '`model`'), ({**OLD, **under('ema.')}, 'averages under `ema.`'),
    ({**OLD, **lit_ema(GOOD), 'model_ema.decay': torch.ones(1)}, 'averages under `model_ema.`'),
    ({**under('module.', OLD), **under('module.ema_model.')}, 'averages under `ema_model.`')])
def test_the_average_is_taken_and_said(tmp_path, said, content, word):
    torch.save(content, tmp_path / 'w.pt')
    assert is_good(load_state(str(tmp_path / 'w.pt')))
    assert len(said) == 1 and word in said[0] and '::' in said[0]


@pytest.mark.parametrize('content', [
    GOOD, dict(ema=GOOD), dict(generator=GOOD), dict(model=dict(state_dict=GOOD)), under('module.'),
    under('_orig_mod.'), under('module._orig_mod.'), dict(model=under('module.')), under('ema.'),
    {'a._orig_mod.weight': GOOD['a.weight'], 'a._orig_mod.bias': GOOD['a.bias'],
     'b._fsdp_wrapped_module.c': GOOD['b.c']},
    dict(model=GOOD, args=argparse.Namespace(lr=1.0))])
def test_one_set_needs_no_word(tmp_path, said, content):
    torch.save(content, tmp_path / 'w.pt')
    assert is_good(load_state(str(tmp_path / 'w.pt'))) and not said


def test_averages_without_names_are_told(tmp_path, said):
    """As torch_ema keeps them: a list, in the order of the parameters."""
    torch.save(dict(model=GOOD, ema=dict(shadow_params=[torch.ones(2)], decay=0.99), ema_decay=0.9), tmp_path / 'w.pt')
    assert is_good(load_state(str(tmp_path / 'w.pt')))
    assert said[0].endswith('its entry `ema` holds tensors without the names of weights and is not used.')


@pytest.mark.parametrize('content, entry', [
    (dict(ema=OLD, model=GOOD), 'model'), (dict(teacher=OLD, student=GOOD), 'student'),
    (dict(checkpoint=dict(a=OLD, b=GOOD)), 'checkpoint.b'), ({**GOOD, **under('ema.', OLD)}, 'plain'),
    ({**under('one.', OLD), **under('two.')}, 'two'), (dict(state_dict={**GOOD, **lit_ema(OLD)}, steps=3), 'plain'),
    (dict(state_dict={**OLD, **lit_ema(GOOD)}, steps=3), 'model_ema'), ({**OLD, **lit_ema(GOOD)}, 'model_ema'),
    ({**OLD, **lit_ema({**GOOD, 'loss.a': torch.ones(1)})}, 'model_ema'),
    ({**under('_orig_mod.', OLD), **lit_ema(under('_orig_mod.'))}, 'model_ema')])
def test_an_entry_that_is_named(tmp_path, content, entry):
    torch.save(content, tmp_path / 'w.pt')
    assert is_good(load_state(f'{tmp_path / "w.pt"}::{entry}'))


@pytest.mark.parametrize('content', [dict(teacher=OLD, student=GOOD), dict(ema=GOOD, model_ema=OLD),
                                     dict(state_dict=GOOD, model=OLD)])
def test_what_is_not_clear_is_asked(tmp_path, content):
    path = tmp_path / 'w.pt'
    torch.save(content, path)
    first = next(iter(content))
    with pytest.raises(InputError, match=f'holds several sets of weights: .*w.pt::{first} .*--weights {first}'):
        load_state(str(path))
    with pytest.raises(InputError, match=f'has no entry `{first}x`, and no names that begin with'):
        load_state(f'{path}::{first}x')


def test_safetensors_lose_wrappers_too(tmp_path):
    save_file(under('module.'), tmp_path / 'w.safetensors')
    some = load_state(str(tmp_path / 'w.safetensors'), lambda name: name.startswith('a.'))
    assert set(some) == {'a.weight', 'a.bias'}
    assert is_good(load_state(str(tmp_path / 'w.safetensors'), mapped=False))


def test_names():
    assert strip_name('module.a._orig_mod.weight') == 'a.weight' and strip_name('a.module.b') == 'a.module.b'
    assert strip_wrappers({'module.a': 1, 'b': 2}) == {'module.a': 1, 'b': 2}
    assert strip_wrappers({'_orig_mod.a': 1, 'a': 2}) == {'_orig_mod.a': 1, 'a': 2}
    assert select_prefix({'visual.a': 1, 'text.a': 2}, 'module.visual.') == {'a': 1}
    assert split_entry('a/b.pt::ema') == ('a/b.pt', 'ema') and split_entry('a::b/c.pt') == ('a::b/c.pt', '')


def test_settings_tell_entries_apart(tmp_path):
    """Two sets of one file are not the same weights."""
    torch.save(dict(ema=GOOD, model=OLD), tmp_path / 'w.pt')
    values = [to_json_value(f'{tmp_path / "w.pt"}{end}') for end in ('', '::ema', '::model')]
    assert len(set(values)) == 3 and all(value.startswith('file ') for value in values)
