"""Small generated data in the two layouts of CIFAR-10."""
import io
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from dtbox.datasets.cifar10 import CLASSES


def pixels(label, number):
    """Return a picture uint8 [32, 32, 3]: a smooth ramp whose colour tells the class, with some noise of its own."""
    rng = np.random.default_rng((label, number))
    y, x = np.mgrid[:32, :32][..., None] / 31
    colour = np.array([25 * label, 250 - 20 * label, 40 * (label % 5)])
    return (0.6 * colour + 60 * x + 30 * y + rng.integers(0, 20, (32, 32, 3))).clip(0, 255).astype(np.uint8)


def png(array):
    """Return a picture as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, 'png')
    return file.getvalue()


def members(key, label, number=0, text=True):
    """Return [(member name, bytes)] of one sample."""
    texts = [(f'{key}.txt', f'a photo of a {CLASSES[label]}\n'.encode())] if text else []
    return [(f'{key}.png', png(pixels(label, number))), (f'{key}.cls', str(label).encode()), *texts]


def write_shard(path, contents):
    """Write [(member name, bytes)] as a tar file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as tar:
        for name, content in contents:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def write_shards(folder, train=20, test=10):
    """Write two shards of `train` / 2 and one of `test` samples; the classes take turns."""
    for name, first, count in (('train-000', 0, train // 2), ('train-001', train // 2,
                                                              train - train // 2), ('test-000', train, test)):
        rows = [members(f'{i:06d}', i % 10, i) for i in range(first, first + count)]
        write_shard(folder / f'{name}.tar', [member for row in rows for member in row])
    return folder


class Python2Pickler(pickle._Pickler):
    """Writes strings and bytes as Python 2 did (BINSTRING), which wrote the published files."""
    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        """Write a str or bytes."""
        value = value.encode('latin1') if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(value).to_bytes(4, 'little') + value)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def write_batch(path, labels, numbers, protocol=None):
    """Write a batch file: a pickled dict with `data` uint8 [N, 3072] (planes) and `labels`; without `protocol` as the
    published ones are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.stack([pixels(label, number).transpose(2, 0, 1).reshape(-1) for label, number in zip(labels, numbers)])
    content = dict(batch_label='a batch', labels=list(labels), data=data)
    with open(path, 'wb') as f:
        Python2Pickler(f, 2).dump(content) if protocol is None else pickle.dump(content, f, protocol)


def write_batches(folder, each=4, test=10):
    """Write the five training batches of `each` samples and the test batch below `folder`; the classes take turns."""
    for i in range(5):
        numbers = range(i * each, (i + 1) * each)
        write_batch(folder / 'cifar-10-batches-py' / f'data_batch_{i + 1}', [n % 10 for n in numbers], numbers)
    write_batch(folder / 'cifar-10-batches-py' / 'test_batch', [n % 10 for n in range(20, 20 + test)],
                range(20, 20 + test))
    return folder


@pytest.fixture(scope='session')
def cifar_shards(tmp_path_factory):
    """A folder of generated shards: 20 training and 10 test pictures; not to be changed."""
    return write_shards(tmp_path_factory.mktemp('cifar_shards'))


@pytest.fixture(scope='session')
def cifar_batches(tmp_path_factory):
    """The same pictures in torchvision's layout; not to be changed."""
    return write_batches(tmp_path_factory.mktemp('cifar_batches'))
