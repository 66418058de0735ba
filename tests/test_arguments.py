"""Readers of arguments: what they return, and the sentence where they refuse."""
import numpy as np
import pytest
import torch

from dtbox import arguments
from dtbox.arguments import allow_none, read_arguments, read_codes, read_count, read_flag, read_names, read_number
from dtbox.errors import InputError


@read_arguments(flag=read_flag, names=allow_none(read_names), places=lambda places: tuple(map(read_count(), places)))
def call(flag, *places, names=None, other=3):
    """The docstring stays."""
    return flag, places, names, other


def test_arguments_come_in_their_usual_form():
    assert call(np.bool_(True), np.int64(2), 5, names='a') == (True, (2, 5), ['a'], 3)
    assert call(False, other=None) == (False, (), None, None) and type(call(np.bool_(True))[0]) is bool
    assert call.__doc__ == 'The docstring stays.'


@pytest.mark.parametrize('run, says', [
    (lambda: call(1), '^flag: got 1; expected True or False'),
    (lambda: call(True, 0), '^places: got 0; expected a whole number from 1'),
    (lambda: call(True, names=[3]), '^names: got 3; expected a name')])
def test_errors_name_the_argument(run, says):
    with pytest.raises(InputError, match=says):
        run()


def test_a_wrong_call_is_an_error_of_python():
    with pytest.raises(TypeError, match='missing a required argument'):
        call()
    with pytest.raises(TypeError, match='nmaes: there is no such argument. Did you mean `names`'):
        call(True, nmaes=None)


def test_numbers():
    read = read_number(0, 1, above=True)
    assert [read(value) for value in (1, 0.5, np.float32(0.25))] == [1.0, 0.5, 0.25]
    for wrong in (0, 2, float('nan'), True, '1', None, 1j):
        with pytest.raises(InputError, match='expected a finite number above 0 up to 1'):
            read(wrong)


@pytest.mark.parametrize('value', [
    np.arange(6, dtype='>i4').reshape(1, 2, 3), np.arange(6)[::-1].copy()[::-1].reshape(1, 2, 3),
    [[[0, 1, 2], [3, 4, 5]]], torch.arange(6).to(torch.uint16).view(1, 2, 3), [torch.arange(6).view(2, 3)],
    [[torch.arange(3), [3, torch.tensor(4), 5]]]])
def test_whole_numbers_in_every_form(value):
    read = read_codes(dict(a=value))['a']
    assert read.dtype == torch.int64 and read.tolist() == [[[0, 1, 2], [3, 4, 5]]]


@pytest.mark.parametrize('make, says', [
    (lambda: torch.zeros(2, device='meta'), r'a float32 tensor \[2\] on the device meta, which has no values'),
    (lambda: torch.eye(2).to_sparse(), r'a sparse_coo float32 tensor \[2, 2\]; expected .* dense'),
    (lambda: torch.nested.nested_tensor([torch.zeros(1)], layout=torch.jagged), 'a nested float32 tensor; expected'),
    (lambda: torch.zeros(1, dtype=torch.complex64), r'a complex64 tensor \[1\]; expected'),
    (lambda: torch.zeros(1, dtype=torch.bool), 'a bool tensor'), (torch.nn.UninitializedBuffer, 'without values'),
    (lambda: np.ma.masked_all(3), r'an array float64 \[3\]'), (lambda: [[1], [1, 2]], r'got \[\[1\], \[1, 2\]\]'),
    (lambda: 'ab', "got 'ab'"), (lambda: {}, 'got {}'),
    (lambda: [0, torch.nested.nested_tensor([torch.zeros(1)], layout=torch.jagged)], 'expected a tensor of whole'),
    (lambda: [10 ** 30], 'expected a tensor of whole')])
def test_tensors_that_are_none(make, says):
    with pytest.raises(InputError, match=says):
        arguments.read_whole(make())


@pytest.mark.parametrize('value', ['', 'a\0b', 'a\ud800', 'a' * 5000, b'a', None, 3])
def test_paths_that_are_none(value):
    with pytest.raises(InputError, match='expected a path'):
        arguments.read_path(value)


@pytest.mark.parametrize('value, says', [
    ('tpu9', 'cannot be used .RuntimeError'), ('meta', 'a device without values'),
    (None, 'got None; expected a device')])
def test_devices_that_are_none(value, says):
    with pytest.raises(InputError, match=says):
        arguments.read_device(value)
    assert arguments.read_device('cpu') == torch.device('cpu')


def test_descriptions_are_short_and_on_one_line():
    class Long:
        def __repr__(self):
            return 'a\n' * 1000
    numbers = range(10 ** 5)
    for value in (Long(), 'x' * 10 ** 6, list(numbers), np.zeros((2, 2)), torch.zeros(9, 9), dict(enumerate(numbers))):
        said = arguments.describe(value)
        assert len(said) < 240 and '\n' not in said
