"""Weights from files: every key accounted for, every unreadable file a sentence."""
import pytest
import torch
import torch.nn as nn
from safetensors.torch import save_file

from dtbox.errors import InputError
from dtbox.weights.state_dicts import (
    ALIGNMENT,
    check_finite,
    find_local_path,
    find_zoo_path,
    load_into,
    load_state,
    select_prefix,
)


@pytest.fixture
def state():
    return {'a.weight': torch.arange(6.).view(2, 3), 'b': torch.ones(())}


@pytest.mark.parametrize('suffix', ['safetensors', 'pt', 'pth', 'bin'])
def test_file_formats(tmp_path, state, suffix):
    path = str(tmp_path / f'w.{suffix}')
    save_file(state, path) if suffix == 'safetensors' else torch.save(state, path)
    found = load_state(path)
    assert set(found) == set(state) and all(torch.equal(found[k], v) for k, v in state.items())


@pytest.mark.parametrize('wrap', [dict, lambda s: dict(state_dict=s, epoch=3), lambda s: dict(model=s),
                                  lambda s: dict(state_dict=dict(module=s))])
def test_checkpoints_are_unwrapped(tmp_path, state, wrap):
    torch.save(wrap(state), tmp_path / 'w.pt')
    assert torch.equal(load_state(str(tmp_path / 'w.pt'))['a.weight'], state['a.weight'])


def test_truncated_files(tmp_path, state):
    for suffix in ('safetensors', 'pt'):
        path = tmp_path / f'w.{suffix}'
        save_file(state, path) if suffix == 'safetensors' else torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-20])
        for content in (path.read_bytes(), b''):
            path.write_bytes(content)
            with pytest.raises(InputError, match=rf'w\.{suffix} cannot be read .*half downloaded'):
                load_state(str(path))


@pytest.mark.parametrize('content', [torch.ones(3), [1, 2], {1: torch.ones(1)}])
def test_files_without_weights(tmp_path, content):
    torch.save(content, tmp_path / 'w.pt')
    with pytest.raises(InputError, match='expected weights'):
        load_state(str(tmp_path / 'w.pt'))


def test_files_that_would_run_code(tmp_path):
    torch.save(dict(a=Evil()), tmp_path / 'w.pt')
    with pytest.raises(InputError, match='cannot be read'):
        load_state(str(tmp_path / 'w.pt'))


class Evil:
    pass


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r'gone\.pt does not exist\. Give a \.safetensors'):
        load_state(str(tmp_path / 'gone.pt'))


def test_zoo_names():
    assert find_zoo_path('dtbox://siglip-tiny-twemoji/tokenizer.json').endswith('tokenizer.json')
    with pytest.raises(InputError, match='no weights named `siglip-tiny-twemoj`. Did you mean `siglip-tiny-twemoji`'):
        load_state('dtbox://siglip-tiny-twemoj')
    with pytest.raises(InputError, match='`siglip-tiny-twemoji` has no file `gone.json`'):
        find_zoo_path('dtbox://siglip-tiny-twemoji/gone.json')
    assert find_local_path('/a/b.pt') == '/a/b.pt'


def test_mmengine_reads_zoo_names():
    from mmengine.runner import CheckpointLoader

    from dtbox.training import runner
    assert runner.Runner  # who trains with MMEngine's Runner has the scheme
    found = CheckpointLoader.load_checkpoint('dtbox://siglip-tiny-twemoji')
    assert found and all(torch.is_tensor(v) for v in found.values())


def test_with_prefix():
    assert select_prefix({'a.b': 1, 'ab': 2}, 'a.') == {'b': 1} and select_prefix({'a': 1}, '') == {'a': 1}


def test_load_into():
    module = nn.Linear(3, 2)
    load_into(module, {'weight': torch.full((2, 3), 7.), 'bias': torch.zeros(2)}, 'x')
    assert module.weight.tolist() == [[7.] * 3] * 2


def test_every_mismatch_is_listed():
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    before = module[0].weight.clone()
    state = {'0.weight': torch.zeros(2, 4), '0.bias': torch.zeros(2), '1.weight': torch.zeros(2),
             'head.weight': torch.zeros(1)}
    with pytest.raises(InputError) as e:
        load_into(module, state, 'file.pt')
    assert str(e.value).startswith('file.pt does not match Sequential. 1 missing: 1.bias. 1 left over: head.weight. '
                                   '1 wrong shape: 0.weight: (2, 4) in the file, (2, 3) in the model.')
    assert torch.equal(module[0].weight, before)


def test_long_listings_are_cut():
    with pytest.raises(InputError, match=r'20 left over: k00; .*k11, and 8 more\.'):
        load_into(nn.Identity(), {f'k{i:02d}': torch.ones(1) for i in range(20)}, 'x')


def test_ignored_prefixes():
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    load_into(module, {'0.weight': torch.ones(2, 3), '0.bias': torch.ones(2), 'head.weight': torch.ones(1)}, 'x',
              ignore=('1.', 'head.'))
    assert module[0].bias.tolist() == [1., 1.]


# ---- aligned memory --------------------------------------------------------------------------------------------------

class Odd(nn.Module):
    """Tensors of odd sizes, so that those of a file lie anywhere."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 7), nn.Linear(5, 11, dtype=torch.bfloat16)
        self.register_buffer('count', torch.tensor(3))
        self.register_buffer('flags', torch.ones(13, dtype=torch.bool))


def misaligned(state):
    return [name for name, value in state.items() if value.data_ptr() % ALIGNMENT]


@pytest.mark.parametrize('mapped', [True, False])
def test_kept_weights_are_aligned(tmp_path, mapped):
    """Kernels sum in another order where tensors lie at other alignments; two loads then differ in the last bit."""
    torch.manual_seed(0)
    saved = Odd()
    save_file(saved.state_dict(), tmp_path / 'w.safetensors')
    for _ in range(2):
        state = load_state(str(tmp_path / 'w.safetensors'), mapped=mapped)
        assert bool(misaligned(state)) == mapped, 'a mapped file has tensors anywhere: else this test says nothing'
        with torch.device('meta'):
            module = Odd()
        load_into(module, state, 'w', assign=True)
        assert misaligned(module.state_dict()) == []
        assert all(torch.equal(value, saved.state_dict()[name]) for name, value in module.state_dict().items())


def test_kept_views_are_aligned():
    """A checkpoint may hold views of one tensor; they lie where they lie in it."""
    whole, module = torch.arange(33.), Odd()
    state = {**module.state_dict(), 'first.weight': whole[1:22].view(7, 3)}
    assert misaligned(state) == ['first.weight']
    load_into(module, state, 'w', assign=True)
    assert misaligned(module.state_dict()) == [] and torch.equal(module.first.weight.flatten(), whole[1:22])


def test_large_files_are_copied_in_parts(tmp_path, monkeypatch):
    """The file is mapped anew after each part, and every tensor comes over once."""
    monkeypatch.setattr('dtbox.weights.state_dicts.CHUNK', 100)
    state = {f'w{i}': torch.full((9 + i,), float(i)) for i in range(12)}
    save_file(state, tmp_path / 'w.safetensors')
    loaded = load_state(str(tmp_path / 'w.safetensors'), keep=lambda key: key != 'w3', mapped=False)
    assert set(loaded) == set(state) - {'w3'} and all(torch.equal(loaded[key], state[key]) for key in loaded)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_values_that_are_not_finite(dtype):
    """The first three names and the count; infinities of a buffer, such as a mask, are values."""
    module = nn.ModuleDict({name: nn.BatchNorm1d(2) for name in 'abcd'}).to(dtype)
    state = {k: v.clone() for k, v in module.state_dict().items()}
    state['a.running_var'][0] = float('inf')
    load_into(module, state, 'w.pt')
    for name in 'abcd':
        state[f'{name}.weight'][1] = float('-inf' if name == 'b' else 'nan')
    with pytest.raises(InputError, match=r'w.pt holds NaN or infinite values in 4 of 20 tensors: a.weight, b.weight, '
                                         r'c.weight, .... Its training has diverged'):
        load_into(module, state, 'w.pt')
    assert module['a'].weight.isfinite().all()
    check_finite({'a': torch.full((4,), torch.finfo(dtype).max, dtype=dtype)}, 'w.pt', 'a')  # its sum is infinite
    with pytest.raises(InputError, match='in 1 of 1 tensor: a. '):
        check_finite({'a': torch.tensor(float('nan'), dtype=dtype)}, 'w.pt', ())
