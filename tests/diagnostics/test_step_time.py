"""dtbox diagnose time: what goes to which part, gaps, operations by hand, and the verb."""
import json
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from dtbox.diagnostics import profiles
from dtbox.diagnostics.operator_kinds import OTHERS, OperatorFlops, find_kind
from dtbox.diagnostics.rates import compare_in_turn, measure_rate, take_medians, time_in_turn
from dtbox.diagnostics.step_report import make_tables
from dtbox.diagnostics.step_time import StepTime

CPU = torch.device('cpu')


def event(name, start, end, parent=None, number=-1, own=None, kind=DeviceType.CPU, kernels=()):
    """An event of the profiler: microseconds."""
    return SimpleNamespace(
        name=name, time_range=SimpleNamespace(start=start, end=end), cpu_parent=parent, sequence_nr=number,
        self_cpu_time_total=end - start if own is None else own, device_type=kind, is_async=False,
        is_user_annotation=name.startswith(profiles.PART), kernels=[SimpleNamespace(duration=k) for k in kernels])


def test_gaps():
    """Work from 0 to 20 and from 30 to 40 of 40 microseconds; the range around it is no work."""
    events = [event('part:all', 0, 100), event('a', 5, 20), event('b', 0, 10), event('d', 6, 8),
              event('c', 30, 40)]
    assert profiles.measure_gaps(events, CPU) == pytest.approx((30e-6, 40e-6))
    assert profiles.measure_gaps(events, torch.device('cuda')) == (0, 0)
    kernels = [event('k', 0, 5, kind=DeviceType.CUDA), event('part:x', 0, 90, kind=DeviceType.CUDA),
               event('k', 8, 10, kind=DeviceType.CUDA)]
    assert profiles.measure_gaps(kernels, torch.device('cuda')) == pytest.approx((7e-6, 10e-6))


def make_events():
    """Two operators in part a, one of them making backward function 3; one outside; a backward pass; an optimizer."""
    part = event('part:a', 0, 50)
    inner = event('part:b', 20, 30, part)
    backward = event(profiles.BACKWARD + 'MmBackward0', 60, 70, number=3, own=1)
    lost = event(profiles.BACKWARD + 'AddBackward0', 70, 75, number=9, own=1)
    return [part, event('aten::empty', 0, 2, None, 3), event('aten::mm', 5, 15, part, 3, kernels=(100,)), inner,
            event('aten::add', 20, 25, inner, 4, kernels=(7, 1)), backward, event('aten::mm', 61, 69, backward,
                                                                                kernels=(40,)),
            lost, event('aten::add_', 80, 84, event('Optimizer.step#AdamW.step', 78, 90))]


def test_time_by_part():
    """The innermost range counts; the last operator with a number has made the backward function of that number."""
    found = profiles.sum_by_part(make_events(), CPU)
    expected = dict(a=(10, 9), b=(5, 0), elsewhere=(2, 1), optimizer=(4, 0))
    assert {name: tuple(round(1e6 * t, 6) for t in times) for name, times in found.items()} == expected
    found = profiles.sum_by_part(make_events(), torch.device('cuda'))
    assert {name: tuple(round(1e6 * t, 6) for t in times) for name, times in found.items()} == dict(a=(100, 40),
                                                                                                    b=(8, 0))


def test_time_of_a_real_step():
    """Both layers get forward and backward time, and all of it is all that the operators took."""
    layers = torch.nn.ModuleDict(dict(one=torch.nn.Linear(64, 64), two=torch.nn.Linear(64, 64)))
    for name, layer in layers.items():
        profiles.name_ranges(name, layer, 'forward', 'no_such_method')
    x = torch.randn(256, 64)
    events, seconds = profiles.profile_call(lambda: layers['two'](layers['one'](x).relu()).square().sum().backward(),
                                            CPU)
    parts = profiles.sum_by_part(events, CPU)
    assert min(parts['one'] + parts['two']) > 0 and set(parts) == {'one', 'two', 'elsewhere'}
    assert sum(map(sum, parts.values())) == pytest.approx(sum(profiles.sum_by_name(events, CPU).values()))
    assert 0 < profiles.measure_gaps(events, CPU)[0] < seconds


def test_operations_by_hand():
    """A layer of 3 x 5 on 2 rows: 2 * 2 * 3 * 5 = 60 forward, as many for each of two gradients."""
    layer, x = torch.nn.Linear(3, 5), torch.randn(2, 3, requires_grad=True)
    with OperatorFlops() as counter:
        layer(x).sum().backward()
    assert counter.get_total_flops() == 180 and {find_kind(name) for name in counter.counts} == {'matrix products'}


@pytest.mark.parametrize('name, kind', [
    ('aten::addmm', 'matrix products'), ('aten::mkldnn_convolution', 'convolutions'), ('aten::mul', OTHERS),
    ('aten::_scaled_dot_product_flash_attention_for_cpu', 'attention'), ('aten::native_group_norm', 'norms'),
    ('aten::convolution_backward', 'convolutions'), ('aten::_fused_adamw_', 'optimizer'), ('aten::_softmax', OTHERS),
    ('aten::copy_', 'memory: copies, fills, gathers'), ('aten::upsample_nearest2d', 'resizing and pooling')])
def test_kinds(name, kind):
    assert find_kind(name) == kind


def test_turns():
    """Each call is warmed up, timed once, and has a turn in each round; the order changes."""
    order = []
    times = time_in_turn(dict(a=lambda: order.append('a'), b=lambda: order.append('b')), CPU, 0.0, rounds=2, warm=1)
    assert ''.join(order) == 'aabb' + 'ab' + 'ba' and [len(times[name]) for name in 'ab'] == [2, 2]
    assert take_medians(dict(a=[1.0, 5.0, 2.0])) == dict(a=2.0)
    assert compare_in_turn(dict(a=[1.0, 6.0, 3.0], b=[2.0, 2.0, 2.0]), 'a', 'b') == 1.5
    assert measure_rate(CPU, torch.float32, 0.0, 64) > 1e6


def test_tables():
    """Fractions by hand: 0.5 GFLOP in 50 ms at 40 GFLOP/s are 25 % of the rate."""
    result = StepTime(seconds=0.15, profiled=0.2, batch=2, device='CPU', threads=1, half=False,
                      rates=dict(float32=4e10), flops=2e9, parts=dict(decoder=(0.05, 0.09), trunk=(0.02, 0.0)),
                      part_flops=dict(decoder=5e8), kinds=dict(norms=0.06, convolutions=0.1),
                      kind_flops=dict(convolutions=2e9), operators={'aten::mul': 0.06}, idle=0.04)
    (_, _, parts), (_, _, kinds), (_, _, operators) = make_tables(result)
    assert parts == [['decoder', '50.0', '90.0', '70.0 %', '0.5', '25 %'], ['trunk', '20.0', '', '10.0 %', '', ''],
                     ['Python, between operators', '40.0', '', '20.0 %', '', '']]
    assert kinds == [['convolutions', '100.0', '50.0 %', '2', '50 %'], ['norms', '60.0', '30.0 %', '', '']]
    assert operators == [['mul', '60.0', '30.0 %']] and result.least == pytest.approx(0.05)


def test_verb(command, tiny_config, tmp_path):
    """The last step of a recipe, with its discriminator: every part is there, and the tables add up."""
    code, out, err = command('diagnose', 'time', tiny_config, '--steps', 1, '--batch', 2, '--out', tmp_path / 'out')
    assert code == 0, err
    told = json.loads((tmp_path / 'out' / 'time.json').read_text())
    assert {'encoder trunk', 'quantizer pixel', 'quantizer semantic', 'decoder', 'teacher', 'discriminator',
            'loss pixels', 'optimizer'} <= set(told['parts'])
    assert min(told['parts']['decoder']) > 0 and told['parts']['quantizer pixel'][0] > 0
    by_part, by_kind = (sum(values) for values in ((a + b for a, b in told['parts'].values()), told['kinds'].values()))
    assert by_part == pytest.approx(by_kind) and 0 < by_part <= 1.05 * told['profiled']
    assert told['flops'] > sum(told['part_flops'].values()) > 0 and told['batch'] == 2
    assert told['kind_flops'].keys() <= told['kinds'].keys()
    page = (tmp_path / 'out' / 'time.md').read_text()
    assert '## By kind of operator' in page and 'of the step' in out and out.splitlines()[0] in page


@pytest.mark.parametrize('words, says', [
    (['--steps', '0'], '--steps: 0 came; expected at least 1'),
    (['--device', 'cuda:9', '--random'], '`cuda:9` is not a device of this machine'),
    (['--cfg-options', 'data_root=/gone'], 'data_root /gone does not exist')])
def test_one_sentence(words, says, command, tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = command('diagnose', 'time', tiny_config, *words)
    assert code == 2 and says in err and err.count('error: ') == 1


def test_random_images(command, tiny_config, tmp_path):
    """Without data: the config's own images are not there."""
    code, _, err = command('diagnose', 'time', tiny_config, '--steps', 1, '--batch', 1, '--random', '--out',
                           tmp_path / 'out', '--cfg-options', 'data_root=/gone')
    assert code == 0, err
    assert 'random images' in (tmp_path / 'out' / 'time.md').read_text()
