"""Slots: what they build, and how they explain what they cannot."""
import pytest
import torch.nn as nn

from dtbox.datasets.base import BrokenSample
from dtbox.errors import ForeignError, InputError, closest, need_package, reason
from dtbox.registry import ALL, DATASETS, METRICS, QUANTIZERS, SCHEDULES, Slot, check_arguments


@pytest.fixture
def slot():
    """A slot with one class and one function."""
    slot = Slot('animals', scope='dtbox', locations=[])

    @slot.register_module()
    class Horse:
        def __init__(self, legs, name='Bo', size=None):
            if legs > 4:
                raise InputError(f'{legs} legs are too many.', 'legs')
            self.legs = legs
            self.name = name
            self.size = size

    @slot.register_module('loose')
    def loose(**kwargs):
        return kwargs

    @slot.register_module()
    class Stable:
        def __init__(self, inmate):
            self.inmate = slot.build(inmate, where='inmate')
    return slot


def test_build_by_name_class_and_object(slot):
    horse = slot.build(dict(type='Horse', legs=4))
    assert (horse.legs, horse.name) == (4, 'Bo')
    assert slot.build(horse) is horse
    assert slot.build(dict(type=type(horse), legs=3)).legs == 3


def test_defaults_fill_in_what_is_left_out_and_taken(slot):
    horse = slot.build(dict(type='Horse', legs=4, name='Su'), name='Bo', size=2, colour='gray')
    assert (horse.name, horse.size) == ('Su', 2) and not hasattr(horse, 'colour')
    assert slot.build(dict(type='loose', a=1), b=2) == dict(a=1, b=2)


def test_build_leaves_the_config_as_it_was(slot):
    cfg = dict(type='Horse', legs=4)
    slot.build(cfg, size=1)
    assert cfg == dict(type='Horse', legs=4)


@pytest.mark.parametrize('cfg, says', [
    (dict(type='Hors', legs=4), r'^stable: `Hors` is not registered under animals\. Did you mean `Horse`\? '
                                r'Registered: Horse, Stable, loose\.'),
    (dict(type='horse', legs=4), r'Did you mean `Horse`'),
    (dict(legs=4), r"^stable: a part of animals needs the key `type`; got the keys \['legs'\]"),
    (dict(type='Horse', leg=4), r'^stable: `Horse` takes no argument `leg`\. Did you mean `legs`\? It takes: legs, '
                                r'name, size\.'),
    (dict(type='Horse', name='Al'), r'^stable: `Horse` needs the argument `legs`; got name\.'),
    (dict(type='Horse'), r'^stable: `Horse` needs the argument `legs`; got none\.'),
    (dict(type='Horse', legs=5), r'^stable\.legs: 5 legs are too many\.'),
    (dict(type='Stable', inmate=dict(type='Horse', legs=6)), r'^stable\.inmate\.legs: 6 legs are too many\.'),
    ('Horse', r"^stable: expected a dict with `type` for animals, got 'Horse'\."),
    (None, r'expected a dict with `type` for animals, got None'),
    (dict(type='torch.nn.Linear', legs=4), r'`torch\.nn\.Linear` is not registered'),
])
def test_refusals_name_the_place(slot, cfg, says):
    with pytest.raises(InputError, match=says):
        slot.build(cfg, where='stable')


def test_errors_of_the_part_itself_are_told_apart(slot):
    """The sentence says where in its code it failed; the error itself is the cause."""
    class Broken:
        def __init__(self):
            raise TypeError('my own')
    with pytest.raises(ForeignError, match=r'TypeError: my own \(test_registry.py, line \d+\)') as caught:
        slot.build(dict(type=Broken))
    assert isinstance(caught.value.__cause__, TypeError)


def test_slots_ask_their_own_rooms_only():
    with pytest.raises(InputError, match='not registered under quantizers'):
        QUANTIZERS.get('Linear')
@pytest.mark.parametrize('name', sorted(ALL))
def test_every_slot_finds_its_parts(name):
    slot = ALL[name]
    slot.import_from_location()
    # tests of plugins add theirs
    own = {key: target for key, target in slot.module_dict.items() if target.__module__.startswith('dtbox.')}
    assert slot.parent is not None or own, f'nothing is registered under {name}'
    for key, target in own.items():
        assert (target.__doc__ or '').strip(), f'{key} has no docstring'


def test_child_registries_find_mmengine_parts_too():
    for slot, name in ((METRICS, 'DumpResults'), (DATASETS, 'ConcatDataset'), (SCHEDULES, 'CosineAnnealingLR')):
        assert slot.get(name) is slot.parent.get(name)
    assert METRICS.get('PSNR').__module__.startswith('dtbox.')


def test_check_arguments_of_functions_and_open_signatures():
    check_arguments(nn.Module, dict(anything=1), 'x')  # **kwargs
    check_arguments(dict, dict(anything=1), 'x')       # no signature to read
    with pytest.raises(InputError, match='x takes no argument `anything`'):
        check_arguments(nn.Sequential, dict(anything=1), 'x')
    with pytest.raises(InputError, match=r'x needs the arguments `a`, `b`; got none'):
        check_arguments(lambda a, b, c=1: None, {}, 'x')


def test_input_error_grows_outwards():
    error = InputError('too big.', 'size').within('quantizer').within('model')
    assert str(error) == 'model.quantizer.size: too big.' and error.message == 'too big.'
    assert str(InputError('bare.').within('')) == 'bare.' and isinstance(error, ValueError)
    broken = BrokenSample('a.png', 'is torn.').within('data')  # a subclass with other arguments
    assert str(broken) == 'data: is torn.' and broken.key == 'a.png'


@pytest.mark.parametrize('name, known, hint', [
     ('dm', ['dim', 'depth'], ' Did you mean `dim`?'), ('DIM', ['dim'], ' Did you mean `dim`?'), ('xyz', ['dim'], ''),
     ('a', [], ''), ('layer', ['layers', 'laser'], ' Did you mean `layers` or `laser`?')])
def test_closest(name, known, hint):
    assert closest(name, known) == hint


def test_reason_of_other_errors():
    assert reason(ValueError('one\ntwo')) == 'ValueError: one'
    assert reason(EOFError()) == 'EOFError'
    assert len(reason(OSError('x' * 999))) == 169


def test_missing_package_says_what_to_install():
    assert need_package('json', 'x', 'y').dumps([]) == '[]'
    with pytest.raises(InputError, match=r'the ghost needs the package `no_such_package`.*pip install '
                                         r'"dtbox\[ghosts\]"'):
        need_package('no_such_package', 'ghosts', 'the ghost')
