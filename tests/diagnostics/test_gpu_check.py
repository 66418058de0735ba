"""dtbox diagnose gpu: every part on a CPU, parts that go wrong, machines that do not fit."""
import json
import warnings
from types import SimpleNamespace

import pytest
import torch

from dtbox.diagnostics.gpu import machine, runner
from dtbox.diagnostics.gpu.parts import PARTS, Part, find_requirements
from dtbox.diagnostics.gpu.results import PartResult, Row, format_markdown
from dtbox.diagnostics.gpu.runner import Checker
from dtbox.diagnostics.gpu.search import measure_excess
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.quantizers.search import nearest_codes
from tests.child_processes import FORKS

CPU = Settings('cpu', small=True, seconds=0.02)
CARD = Settings('cuda:0', small=False, gigabytes=8.0)


@pytest.fixture(autouse=True)
def forks(monkeypatch):
    """The process of the parts is a fork of one that has imported torch."""
    monkeypatch.setattr(Checker, 'method', FORKS.get_start_method())


def make_checker(folder, settings=CPU, **options):
    return Checker(settings, dict(device='a test'), str(folder), lambda line: None, threads=1, **options)


def test_every_part_on_a_cpu(command, tmp_path):
    """Everything that a GPU runs also runs on a CPU, at a small size, and holds."""
    code, out, err = command('diagnose', 'gpu', '--cpu', '--out', tmp_path / 'out')
    told = json.loads((tmp_path / 'out' / 'gpu.json').read_text())
    parts = {part['name']: part for part in told['parts']}
    assert code == 0 and told['ok'] and told['complete'], out
    assert list(parts) == [part.name for part in PARTS]
    assert {name: part['reason'] for name, part in parts.items() if part['status'] != 'ok'} == {}
    assert len([row for row in parts['search']['rows'] if row['ok']]) == 6
    assert {row['what'] for row in parts['quantizers']['rows']} >= {'RQ', 'FSQ', 'MultiScaleRQ', 'KL'}
    assert [row['what'] for row in parts['ranks']['rows'] if row['ok']][1:] == ['3 steps under DDP',
                                                                               '3 steps under FSDP2']
    assert any(row['what'] == 'dtbox over direct' and row['value'] > 0 for row in parts['step']['rows'])
    assert f'written to {tmp_path / "out"}' in out and 'all bits equal' in (tmp_path / 'out' / 'gpu.md').read_text()
    assert '14 of 14: resume' in err


def test_parts_that_go_wrong(tmp_path, monkeypatch):
    """A part that raises, dies or hangs keeps none of the others from running, and its rows are kept."""
    monkeypatch.setattr(runner, 'GRACE', 0.0)
    names = ('raise_error', 'die', 'leave_out', 'hang', 'lack_memory', 'find_wrong', 'hold')  # what hangs is warm
    parts = [Part(name, '?', f'tests.diagnostics.bad_parts:{name}', 0.2 if name == 'hang' else 9.0) for name in names]
    parts.insert(0, Part('no package', '?', 'search:check', 9.0, packages=('no_such_package',)))
    results = make_checker(tmp_path).run(parts)
    assert [result.status for result in results] == ['skipped', 'fails', 'died', 'skipped', 'over time', 'skipped',
                                                     'fails', 'ok']
    reasons = [result.reason for result in results]
    assert 'no_such_package' in reasons[0] and reasons[1].startswith('RuntimeError: CUDA error: an illegal memory')
    assert reasons[2] == 'its process ended with exit code 7' and reasons[4] == 'it was ended after 2 s'
    assert 'too small' in reasons[5] and reasons[3] == 'there is nothing to do'
    assert [row.what for result in results[1:5] for row in result.rows] == ['before the error', 'before the end',
                                                                            'before the wait']
    told = json.loads((tmp_path / 'gpu.json').read_text())
    assert told['complete'] and not told['ok'] and [part['status'] for part in told['parts']][-1] == 'ok'
    assert told['parts'][6]['rows'][1] == dict(what='wrong', ok=False, value=None, unit='', detail='the value is inf')


def test_report_of_a_part_that_runs(tmp_path):
    """A check that is killed leaves the rows that are known."""
    checker = make_checker(tmp_path)
    checker.results = [PartResult('first', 'ok')]
    checker.write(False, PartResult('second', rows=[Row('a number', value=2.0, unit='ms')]))
    told = json.loads((tmp_path / 'gpu.json').read_text())
    assert not told['complete'] and told['parts'][1]['rows'][0]['value'] == 2.0
    assert told['parts'][1]['reason'] == 'it has not come to its end'


def test_what_does_not_fit_a_card(tmp_path):
    part = Part('large', '?', 'search:check', 9.0, gigabytes=22.0)
    checker = make_checker(tmp_path, CARD)
    assert checker.find_reason(part, 100) == 'it needs about 22 GB of GPU memory, and the card has 8 GB'
    assert 'the 480 s of all parts are over; run it alone with --only large' == checker.find_reason(part, 1)
    assert make_checker(tmp_path, CPU).find_reason(part, 100) == ''


@pytest.mark.parametrize('capability, built, fits', [
    ((9, 0), ['sm_80', 'sm_90'], True), ((8, 9), ['sm_80'], True), ((8, 0), ['sm_89'], False),
    ((12, 0), ['sm_90'], False), ((12, 0), ['sm_90', 'compute_90'], True), ((7, 5), ['sm_80', 'compute_80'], False),
    ((9, 0), ['sm_90a'], True), ((10, 0), ['sm_90a'], False), ((9, 0), [], False)])
def test_kernels_of_a_card(capability, built, fits):
    """sm_XY is for cards of the same X and at least that Y; compute_XY for all later ones; sm_90a for 9.0 alone."""
    assert (machine.check_kernels(capability, built) is None) == fits


def test_triton_of_another_version(monkeypatch):
    monkeypatch.setattr(machine, 'find_version', lambda package: '3.1.0')
    monkeypatch.setattr(machine, 'find_wanted_triton', lambda: 'triton==3.4.0')
    pytest.importorskip('triton')
    assert 'Triton 3.1.0 is installed, and PyTorch' in machine.find_triton_flaw()
    assert 'asks for triton==3.4.0' in machine.find_triton_flaw()


@pytest.mark.parametrize('words, says', [
    ([], 'there is no GPU to check: there is none here. Run it on a machine with an NVIDIA GPU, or add --cpu'),
    (['--only', 'serch'], '--only: `serch` is not a part of the check. Did you mean `search`'),
    (['--only', 'search', '--skip', 'search'], '--skip: no part is left'),
    (['--limit', '0'], '--seconds and --limit must be above 0')])
def test_one_sentence(words, says, command, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, 'find_cuda_flaw', lambda: 'there is none here')
    monkeypatch.chdir(tmp_path)
    code, out, err = command('diagnose', 'gpu', *words)
    assert code == 2 and err.startswith('error: ') and says in err and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_cuda_that_does_not_fit(monkeypatch):
    """PyTorch without CUDA, and a driver that is too old, of which PyTorch warns."""
    def warn():
        warnings.warn('CUDA initialization: The NVIDIA driver on your system is too old (found version 11040).\nMore')
        return False
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(torch.cuda, 'is_available', warn)
    assert 'it says: CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)' in \
        machine.find_cuda_flaw()
    monkeypatch.setattr(torch.version, 'cuda', None)
    assert machine.find_cuda_flaw().endswith('is built without CUDA')


def test_card_without_bfloat16_or_kernels(monkeypatch):
    """Models run in float32 on a card without bfloat16; a card without kernels is one sentence."""
    monkeypatch.setattr(machine, 'find_cuda_flaw', lambda: None)
    monkeypatch.setattr(machine, 'find_triton_flaw', lambda: 'none')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda device: SimpleNamespace(total_memory=16e9))
    monkeypatch.setattr(torch.cuda, 'get_arch_list', lambda: ['sm_75'])
    settings = machine.prepare_settings(cpu=False)
    assert settings.dtype == torch.float32 and not settings.compiles and settings.gigabytes == 16
    with pytest.raises(ValueError, match='there is no GPU 1; this machine has 1'):
        machine.prepare_settings(cpu=False, device=1)
    monkeypatch.setattr(torch.cuda, 'get_arch_list', lambda: ['sm_90'])
    with pytest.raises(ValueError, match='the card has capability 7.5, and PyTorch'):
        machine.prepare_settings(cpu=False)


def test_excess_of_a_code():
    """|z - e|^2 / 2 of codes 1 and 0 differ by 0.375 - 0.5; the bound is 2 (C + 2) u times the sizes of both."""
    z, table = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    excess = measure_excess(z, table, torch.tensor([1]), torch.tensor([0]))
    assert excess.item() == pytest.approx(0.125 / (2 * 4 * 2 ** -24 * (1 + 1 + 0.5 + 0.25)))
    assert measure_excess(z, table, torch.tensor([0]), torch.tensor([0])).item() == 0


def test_tf32_is_found_wrong():
    """Vectors that keep 10 bits, as TF32 does, give codes that the rounding of float32 does not explain."""
    generator = torch.Generator().manual_seed(0)
    z, table = (torch.randn(4096, 8, generator=generator) for _ in range(2))
    rounded = (z.view(torch.int32) & ~0x1fff).view(torch.float32)
    wanted, found = nearest_codes(z, table), nearest_codes(rounded, table)
    differ = wanted != found
    assert differ.any() and measure_excess(z[differ], table, found[differ], wanted[differ]).max() > 10


def test_list_and_requirements(command, monkeypatch):
    code, out, _ = command('diagnose', 'gpu', '--list')
    assert code == 0 and [line.split()[0] for line in out.splitlines() if line[0].islower()][1:] == [
        part.name for part in PARTS]
    from dtbox.diagnostics.gpu import parts
    monkeypatch.setattr(parts, 'EXTRAS', {'no_such_package': 'no-such-package>=2', 'json': 'json'})
    monkeypatch.setattr(parts.importlib.metadata, 'requires',
                        lambda name: ['torch>=2.4', 'not-there >=1.0', "other; extra == 'test'"])
    assert find_requirements() == ['not-there>=1.0', 'no-such-package>=2']


def test_report_as_markdown():
    results = [PartResult('search', 'fails', 1.25, 'a check does not hold', [Row('a|b', False, 1234.5, 'ms', 'c|d')])]
    lines = format_markdown(dict(device='a card', nccl=None), results).splitlines()
    assert lines[2:] == ['- device: a card', '', '| part | status | value | detail |', '|---|---|---|---|',
                         '| **search** | fails | 1.2 s | a check does not hold |',
                         '| a/b | fails | 1,234 ms | c/d |']
