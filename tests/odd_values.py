"""Odd values that a caller may hand in, by what they are."""
import collections
import http
import io
import pathlib
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import torch
from PIL import Image


class Hostile:
    """An object whose every description raises."""

    def __repr__(self):
        raise RuntimeError('no repr')

    __str__ = __repr__

    def __len__(self):
        raise RuntimeError('no len')

    def __array__(self, *args, **kwargs):
        raise RuntimeError('no array')


class WrongPath:
    """An os.PathLike that names a file by bytes."""

    def __fspath__(self):
        return b'bytes'


class OwnString(str):
    """A string of somebody else."""


class BrokenDict(dict):
    """A dict whose items raise."""

    def items(self):
        raise RuntimeError('no items')


def make_fake():
    """Return a tensor without values that says it lies on the CPU."""
    from torch._subclasses import FakeTensorMode
    with FakeTensorMode():
        return torch.zeros(1, 3, 32, 32)


def make_inference():
    """Return a tensor of inference mode."""
    with torch.inference_mode():
        return torch.zeros(1, 3, 32, 32)


def make_tv_image():
    """Return an image of torchvision's kind of tensor."""
    from torchvision import tv_tensors
    return tv_tensors.Image(torch.zeros(1, 3, 32, 32))


def make_freed():
    """Return a tensor whose storage was let go, as FSDP does between passes."""
    value = torch.zeros(1, 3, 32, 32)
    value.untyped_storage().resize_(0)
    return value


def make_nested():
    """Return a nested tensor of two lengths."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(1, 3)])


def make_jagged():
    """Return a nested tensor of the newer, jagged layout."""
    return torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(1, 3)], layout=torch.jagged)


def make_quantized():
    """Return a quantized tensor."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return torch.quantize_per_tensor(torch.zeros(1, 3, 32, 32), 0.1, 0, torch.quint8)


def make_deep(depth=2000):
    """Return a list in a list in a list, and so on."""
    value = [0]
    for _ in range(depth):
        value = [value]
    return value


def make_ring():
    """Return a list that holds itself."""
    value = [0]
    value.append(value)
    return value


def make_objects(*shape):
    """Return an array of Python objects."""
    return np.full(shape, None, dtype=object)


def make_image(mode, size=(40, 30)):
    """Return a PIL image of a mode."""
    return Image.new(mode, size)


def cast(dtype, *shape):
    """Return zeros of a type that has few operations."""
    return torch.zeros(shape).to(dtype)


def list_plain():
    """Return label -> factory of values that are no tensors."""
    return {
        'None': lambda: None, 'True': lambda: True, 'numpy True': lambda: np.bool_(True), '0': lambda: 0,
        '1': lambda: 1, '-1': lambda: -1, '2.5': lambda: 2.5, 'NaN': lambda: float('nan'), 'inf': lambda: float('inf'),
        '10**400': lambda: 10 ** 400, '2**63': lambda: 2 ** 63, '1j': lambda: 1j, 'Decimal': lambda: Decimal('0.5'),
        'Fraction': lambda: Fraction(1, 3), 'numpy 1.0': lambda: np.float32(1), 'numpy 3': lambda: np.int64(3),
        'empty string': lambda: '', 'blank': lambda: '  ', 'word': lambda: 'red', 'misspelt': lambda: 'pixle',
        'half a surrogate': lambda: 'a\ud800b', 'null byte': lambda: 'a\0b', 'long string': lambda: 'x' * 100_000,
        'bytes': lambda: b'red', 'bytearray': lambda: bytearray(b'red'), 'memoryview': lambda: memoryview(b'red'),
        'empty list': list, 'empty tuple': tuple, 'empty dict': dict, 'empty set': set, 'list of None': lambda: [None],
        'ragged list': lambda: [[1, 2], [3]], 'list of strings': lambda: ['pixel', 'semantic'],
        'list of odd strings': lambda: ['pixel', 3], 'list of dicts': lambda: [{}], 'deep list': make_deep,
        'list in itself': make_ring, 'dict of strings': lambda: {'pixel': 'red'}, 'dict of None': lambda: {None: None},
        'dict of lists': lambda: {'pixel': [[[1]]]}, 'set of strings': lambda: {'pixel'},
        'generator': lambda: (x for x in 'ab'), 'generator of names': lambda: (x for x in ['pixel']),
        'range': lambda: range(3), 'map of ints': lambda: map(int, '12'), 'deque': lambda: collections.deque([1]),
        'class': lambda: int, 'function': lambda: print, 'module': lambda: torch, 'object': object,
        'hostile object': Hostile, 'wrong path': WrongPath, 'open file': lambda: io.BytesIO(b'no image'),
        'missing path': lambda: pathlib.Path('no/such/place'), 'folder': lambda: pathlib.Path('.'),
        'device': lambda: torch.device('cpu'), 'meta device': lambda: 'meta', 'dtype': lambda: torch.float64,
        'own string': lambda: OwnString('pixel'), 'broken dict': lambda: BrokenDict(pixel=1),
        'enumeration': lambda: http.HTTPStatus.OK, 'named tuple': lambda: collections.namedtuple('Pair', 'a b')(1, 2),
        'exception': lambda: ValueError('odd'), 'Ellipsis': lambda: ..., 'slice': lambda: slice(2),
    }


def list_tensors():
    """Return label -> factory of tensors, arrays and images."""
    shapes = dict(scalar=(), vector=(3,), matrix=(2, 3), images=(1, 3, 32, 32), codes=(1, 25, 4), five=(1, 1, 1, 1, 1))
    values = {f'{name} of {dtype}': lambda d=dtype, s=shape: cast(getattr(torch, d), *s)
              for name, shape in shapes.items()
              for dtype in ('float32', 'int64', 'bool', 'complex64', 'float16', 'uint16', 'float8_e4m3fn')}
    values |= {
        'NaN images': lambda: torch.full((1, 3, 32, 32), float('nan')), 'no images': lambda: torch.zeros(0, 3, 32, 32),
        'infinite images': lambda: torch.full((1, 3, 32, 32), float('inf')),
        'huge images': lambda: torch.full((1, 3, 32, 32), 1e300, dtype=torch.float64),
        'images with gradient': lambda: torch.zeros(1, 3, 32, 32, requires_grad=True),
        'images last channels': lambda: torch.zeros(1, 32, 32, 3),
        'expanded': lambda: torch.zeros(1).expand(1, 3, 32, 32),
        'meta images': lambda: torch.zeros(1, 3, 32, 32, device='meta'),
        'meta codes': lambda: torch.zeros(1, 25, 4, dtype=torch.int64, device='meta'),
        'sparse': lambda: torch.zeros(1, 3, 32, 32).to_sparse(), 'sparse rows': lambda: torch.eye(3).to_sparse_csr(),
        'sparse codes': lambda: torch.ones(1, 25, 4, dtype=torch.int64).to_sparse(), 'mkldnn': make_mkldnn,
        'nested': make_nested, 'jagged': make_jagged, 'quantized': make_quantized,
        'lazy': torch.nn.UninitializedParameter, 'parameter': lambda: torch.nn.Parameter(torch.zeros(1, 3, 32, 32)),
        'codes too large': lambda: torch.full((1, 25, 4), 2 ** 62), 'codes below 0': lambda: torch.full((1, 25, 4), -1),
        'fake': make_fake, 'inference': make_inference, 'image of torchvision': make_tv_image, 'freed': make_freed,
        'negated': lambda: torch._neg_view(torch.ones(1, 25, 4, dtype=torch.int64)),
        'transposed codes': lambda: torch.zeros(4, 25, 1, dtype=torch.int64).transpose(0, 2),
        'no codes': lambda: torch.zeros(0, 25, 4, dtype=torch.int64),
        'codes of no token': lambda: torch.zeros(1, 0, 4, dtype=torch.int64),
        'ids': lambda: torch.zeros(1, 200, dtype=torch.int64), 'list of tensors': lambda: [torch.zeros(3, 32, 32)] * 2,
        'list of mixed tensors': lambda: [torch.zeros(3, 32, 32), torch.zeros(3, 32, 32, dtype=torch.int32)],
        'list of meta tensors': lambda: [torch.zeros(3, 32, 32, device='meta')],
        'list of nested': lambda: [make_nested()], 'list of sparse': lambda: [torch.eye(3).to_sparse()],
        'array': lambda: np.zeros((32, 32, 3)), 'array of bytes': lambda: np.zeros((32, 32, 3), np.uint8),
        'array of codes': lambda: np.zeros((1, 25, 4), np.int32), 'big endian': lambda: np.zeros((1, 25, 4), '>i4'),
        'array backwards': lambda: np.zeros((1, 25, 4), np.int64)[::-1], 'objects': lambda: make_objects(1, 25, 4),
        'array of strings': lambda: np.array(['red', 'fox']), 'array of dates': lambda: np.zeros(3, 'datetime64[s]'),
        'structured': lambda: np.zeros(2, [('a', 'i4')]), 'masked': lambda: np.ma.masked_all((1, 25, 4)),
        'array scalar': lambda: np.zeros(()), 'uint64': lambda: np.full((1, 25, 4), 2 ** 64 - 1, np.uint64),
        'closed image': make_closed, 'tiny image': lambda: make_image('RGB', (1, 1)),
        'long image': lambda: make_image('L', (1, 3000)),
        'list of images': lambda: [make_image('RGB'), make_image('1')],
        'images and None': lambda: [make_image('RGB'), None],
    }
    modes = ('1', 'L', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'LAB', 'HSV', 'I', 'F', 'LA', 'PA', 'RGBX', 'RGBa', 'La',
             'I;16', 'I;16B')
    return values | {f'image {mode}': lambda m=mode: make_image(m) for mode in modes}


def make_mkldnn():
    """Return a tensor in the layout of oneDNN, or a plain one of float64 where there is none."""
    value = torch.zeros(1, 3, 32, 32)
    return value.to_mkldnn() if torch.backends.mkldnn.is_available() else value.double()


def make_closed():
    """Return a PIL image whose file is closed."""
    image = make_image('RGB')
    image.close()
    return image


ODD = {**list_plain(), **list_tensors()}
"""Label -> factory of an odd value; every call makes a new one."""
