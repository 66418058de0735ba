"""CIFAR-10 in both layouts: images, texts, subsets, and every way in which the data may be wrong."""
import os
import pickle

import numpy as np
import pytest
import torch

from dtbox.config import load_config, resolve
from dtbox.datasets import CIFAR10, collate
from dtbox.datasets.base import choose_even_subset
from dtbox.datasets.cifar10 import CLASSES
from dtbox.errors import InputError
from dtbox.registry import DATASETS
from dtbox.training.build import build_parts
from tests.cifar_data import members, pixels, png, write_batch, write_batches, write_shard, write_shards


@pytest.mark.parametrize('layout', ['shards', 'batches'])
@pytest.mark.parametrize('split, part, first, count', [
     ('train', 'train', 0, 20), ('heldout', 'test', 20, 10), ('test', 'test', 20, 10)])
def test_both_layouts_hold_the_same_pictures(request, layout, split, part, first, count):
    data = CIFAR10(request.getfixturevalue(f'cifar_{layout}'), split)
    assert len(data) == count and data.sets == [part] * count and data.classes == CLASSES and data.metainfo['texts']
    for i, sample in enumerate(data):
        assert sample['label'] == (first + i) % 10 and sample['set'] == part and sample['key'] == data.keys[i]
        assert sample['text'] == data.texts[i] == f'a photo of a {CLASSES[(first + i) % 10]}'
        assert sample['image'].mode == 'RGB' and (np.asarray(sample['image'])
                                                  == pixels((first + i) % 10, first + i)).all()
    assert data.pixels.dtype == np.uint8 and data.pixels.shape == (count, 32, 32, 3)


def test_classes_are_in_the_standard_order():
    assert CLASSES == ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship',
                       'truck') == tuple(sorted(CLASSES))


def test_keys_name_file_and_sample(cifar_shards, cifar_batches):
    keys = CIFAR10(str(cifar_shards)).keys
    assert keys[0] == 'train-000/000000' and keys[10] == 'train-001/000010' and len(set(keys)) == 20
    assert CIFAR10(str(cifar_shards), limit=12).keys == keys[:12]
    keys = CIFAR10(cifar_batches).keys
    assert keys[0] == 'data_batch_1/00000' and keys[5] == 'data_batch_2/00001' and len(set(keys)) == 20
    assert CIFAR10(cifar_batches / 'cifar-10-batches-py', 'heldout').keys[3] == 'test_batch/00003'


def test_even_subset():
    labels = [0, 0, 0, 1, 0, 2, 1, 2, 2, 2]
    assert choose_even_subset(labels, 6) == [0, 1, 3, 5, 6, 7] and choose_even_subset(labels, 4) == [0, 1, 3, 5]
    assert choose_even_subset(labels, 8) == [0, 1, 2, 3, 5, 6, 7, 8]  # class 1 has two only: the others fill up
    everything = list(range(10))
    assert choose_even_subset(labels) == choose_even_subset(labels, 10) == choose_even_subset(labels, 99) == everything


def test_limit_is_even_over_classes_and_smaller_ones_are_inside(cifar_shards):
    ten, fifteen = CIFAR10(cifar_shards, limit=10), CIFAR10(cifar_shards, limit=15)
    assert sorted(ten.labels) == list(range(10)) and len(fifteen) == 15 and set(ten.keys) < set(fifteen.keys)
    assert max(np.bincount(fifteen.labels)) == 2 and len(CIFAR10(cifar_shards, limit=1000)) == 20
    assert (np.asarray(fifteen[12]['image']) == pixels(2, 12)).all()


def test_pipeline_is_seeded_by_position_and_reaches_a_batch(cifar_shards):
    data = DATASETS.build(dict(type='CIFAR10', data_root=str(cifar_shards), seed=3, pipeline=[
        dict(type='RandomResizedCrop', size=32, scale=(0.5, 1.0)), dict(type='RandomFlip'), dict(type='PackImage')]))
    assert torch.equal(data[4]['image'], data[4]['image']) and not torch.equal(data[4]['image'], data[24]['image'])
    batch = collate([data[i] for i in range(4)])
    assert batch.images.shape == (4, 3, 32, 32) and batch.images.dtype == torch.uint8 and batch.labels.tolist() == [0,
                                                                                                                    1,
                                                                                                                    2,
                                                                                                                    3]
    assert batch.texts[3] == 'a photo of a cat' and batch.sets == ['train'] * 4


def test_shards_with_jpg_own_texts_and_more_members(tmp_path):
    rows = members('deep/1', 3)[:2] + [('deep/1.txt', b'  a sleepy\n cat '), ('deep/1.json', b'{}'),
                                       *members('./2', 9, text=False)]
    write_shard(tmp_path / 'train-7.tar', [(name.replace('.png', '.PNG'), content) for name, content in rows])
    data = CIFAR10(tmp_path)
    assert data.keys == ['train-7/deep/1', 'train-7/2'] and data.labels == [3, 9]
    assert data.texts == ['a sleepy cat', 'a photo of a truck']


def test_batches_of_every_pickle_protocol(tmp_path):
    write_batches(tmp_path)
    for protocol in (2, 3, 4):
        write_batch(tmp_path / 'cifar-10-batches-py' / 'test_batch', [7, 1], [0, 1], protocol)
        data = CIFAR10(tmp_path, 'heldout')
        assert data.labels == [7, 1] and (data.pixels[1] == pixels(1, 1)).all()


def test_a_batch_file_cannot_run_code(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'was_here'),)

    write_batches(tmp_path)
    (tmp_path / 'cifar-10-batches-py' / 'test_batch').write_bytes(pickle.dumps(dict(data=Attack(), labels=[])))
    with pytest.raises(InputError, match='test_batch cannot be read as a CIFAR-10 batch .*mkdir'):
        CIFAR10(tmp_path, 'heldout')
    assert not (tmp_path / 'was_here').exists()


def test_download_is_asked_of_torchvision_only_where_nothing_is(tmp_path, monkeypatch, cifar_shards):
    calls = []

    def fetch(root, download):
        calls.append((root, download))
        write_batches(tmp_path / 'new')

    monkeypatch.setattr('torchvision.datasets.CIFAR10', fetch)
    assert len(CIFAR10(tmp_path / 'new', download=True)) == 20 and calls == [(str(tmp_path / 'new'), True)]
    assert len(CIFAR10(tmp_path / 'new', 'heldout', download=True)) == 10 and len(CIFAR10(cifar_shards,
                                                                                          download=True)) == 20
    assert len(calls) == 1
    monkeypatch.setattr('torchvision.datasets.CIFAR10', lambda root,
                        download: (_ for _ in ()).throw(OSError('no network')))
    with pytest.raises(InputError, match='could not be fetched .*no network'):
        CIFAR10(tmp_path / 'other', download=True)


@pytest.mark.parametrize('kwargs, words', [
    (dict(data_root=None), r'needs `data_root`.*got None.*torchvision.*--cfg-options data_root=PATH'),
    (dict(split='val'), 'no split `val`.* It has: train, heldout, test'), (dict(limit=0), '`limit` .* got 0'),
    (dict(limit=True), '`limit` .* got True'), (dict(data_root='/no/such'), '/no/such does not exist.*torchvision'),
    (dict(data_root=__file__), 'is a file, not a folder')])
def test_wrong_arguments(cifar_shards, kwargs, words):
    with pytest.raises(InputError, match=words):
        CIFAR10(**dict(dict(data_root=cifar_shards), **kwargs))


SMALL = np.zeros((28, 28, 3), np.uint8)


@pytest.mark.parametrize('contents, words', [
     ([], 'hold no samples'), ([('1.npy', b'x')], 'hold no samples'),
     (members('1', 2)[1:], r'sample train-000/1 has no image; expected a member 1.jpg'),
     (members('1', 2)[:1], r'sample train-000/1 has no class; expected a member 1.cls'),
     ([*members('1', 2)[:1], ('1.cls', b'10')], "train-000/1 has the class '10'; expected an index from 0 to 9"),
     ([*members('1', 2)[:1], ('1.cls', b'-1')], "the class '-1'"),
     ([*members('1', 2)[:1], ('1.cls', b'bird')], "the class 'bird'"),
     ([*members('1', 2)[:1], ('1.cls', b'')], "the class ''"),
     ([*members('1', 2)[:1], ('1.cls', '²'.encode())], 'the class'),
     ([('1.png', png(SMALL)), ('1.cls', b'2')], 'train-000/1 is 28x28 pixels.*ImageFolder'),
     ([('1.png', png(pixels(2, 0))[:200]), ('1.cls', b'2')], 'train-000/1 cannot be decoded .*truncated'),
     ([('1.jpg', b'no image'), ('1.cls', b'2')], 'train-000/1 cannot be decoded'),
     (members('1', 2) + members('2', 3) + members('1', 2), 'holds the sample 1 twice'),
     (members('1', 2) + members('1', 2), 'holds the sample 1 twice')])
def test_broken_shards(tmp_path, contents, words):
    write_shard(tmp_path / 'train-000.tar', contents)
    with pytest.raises(InputError, match=words):
        CIFAR10(tmp_path)


def test_a_shard_that_is_no_whole_tar(tmp_path, cifar_shards):
    (tmp_path / 'train-000.tar').write_bytes((cifar_shards / 'train-000.tar').read_bytes()[:5000])
    with pytest.raises(InputError, match='train-000.tar cannot be read .*broken or truncated'):
        CIFAR10(tmp_path)
    (tmp_path / 'train-000.tar').write_bytes(b'x' * 3000)
    with pytest.raises(InputError, match='train-000.tar cannot be read'):
        CIFAR10(tmp_path)


def test_folders_without_what_is_asked(tmp_path):
    with pytest.raises(InputError, match='holds neither cifar-10-batches-py/ nor shards train-.*torchvision'):
        CIFAR10(tmp_path)
    write_shards(tmp_path)
    for path in tmp_path.glob('test-*.tar'):
        path.unlink()
    with pytest.raises(InputError, match=r'nor shards test-\*\.tar; it has train-\*\.tar'):
        CIFAR10(tmp_path, 'heldout')


def test_broken_batches(tmp_path):
    write_batches(tmp_path)
    folder = tmp_path / 'cifar-10-batches-py'
    (folder / 'data_batch_3').unlink()
    with pytest.raises(InputError, match='has no data_batch_3: the data are not whole'):
        CIFAR10(tmp_path)
    write_batch(folder / 'test_batch', [3, 12], [0, 0])
    with pytest.raises(InputError, match="test_batch/00001 has the class 12"):
        CIFAR10(tmp_path, 'heldout')
    for content, words in ((b'', 'cannot be read as a CIFAR-10 batch'), (pickle.dumps([1]), 'cannot be read'),
                           (pickle.dumps(dict(labels=[1, 2], data=np.zeros((1, 3072), np.uint8)), 2),
                            r'shape \(1, 3072\) for 2 labels'),
                           (pickle.dumps(dict(labels=[1], data=np.zeros((1, 3072)), ), 2),
                            r'expected uint8 \[1, 3072\]')):
        (folder / 'test_batch').write_bytes(content)
        with pytest.raises(InputError, match=words):
            CIFAR10(tmp_path, 'heldout')


def test_data_root_and_size_of_the_recipes(cifar_shards):
    """The recipes ask for `data_root`; the size follows one switch."""
    with pytest.raises(InputError, match='train_dataloader.dataset: CIFAR10 needs `data_root`'):
        build_parts(resolve(load_config('configs/siglip_tiny_cifar10.py')), seed=0)
    cfg = resolve(load_config('configs/_base_/datasets/cifar10.py', dict(data_root=str(cifar_shards), image_size=48)))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert DATASETS.build(loader.dataset)[0]['image'].shape == (3, 48, 48)
