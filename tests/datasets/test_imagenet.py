"""ImageNet-1k in each of its layouts."""
import pytest

from dtbox.datasets import ImageNet
from dtbox.datasets.base import BrokenSample
from dtbox.datasets.imagenet import list_class_names, list_wnids
from dtbox.errors import InputError
from tests.format_data import LABELS, WNIDS, devkit, imagenet, save


def test_names_and_order_are_the_standard_ones():
    ids, names = list_wnids(), list_class_names()
    assert len(ids) == len(names) == 1000 and ids == sorted(ids)
    assert [ids[i] for i in LABELS] == list(WNIDS)
    assert (names[0], names[1], names[281], names[999]) == ('tench', 'goldfish', 'tabby cat', 'toilet paper')


@pytest.mark.parametrize('split', ['train', 'val'])
def test_class_folders(tmp_path, split):
    data = ImageNet(imagenet(tmp_path), split, class_text='a photo of a {}')
    assert len(data) == 12 and len(data.classes) == 1000
    found = [data[i] for i in range(12)]
    assert [s['label'] for s in found] == [label for label in LABELS for _ in range(3)]
    assert found[4]['key'] == 'n01443537/n01443537_1.JPEG'
    assert found[4]['set'] == split
    assert found[4]['text'] == 'a photo of a goldfish'
    assert [round(s['image'].getpixel((20, 15))[0] / 10) for s in found[::3]] == [0, 1, 2, 3]
    assert not ImageNet(tmp_path, split).has_texts and len(ImageNet(tmp_path, split, limit=5)) == 5


def test_the_devkit_tells_the_classes_of_flat_pictures(tmp_path):
    data = ImageNet(devkit(tmp_path), 'val')
    assert [data[i]['label'] for i in range(4)] == [LABELS[k] for k in (2, 0, 3, 1)]
    assert [round(data[i]['image'].getpixel((20, 15))[0] / 10) for i in range(4)] == [2, 0, 3, 1]


def test_kaggles_layout(tmp_path):
    root = tmp_path / 'ILSVRC' / 'Data' / 'CLS-LOC'
    for i in range(2):
        save(root / 'val' / f'ILSVRC2012_val_{i + 1:08d}.JPEG', i)
    (tmp_path / 'LOC_val_solution.csv').write_text('ImageId,PredictionString\nILSVRC2012_val_00000002,n15075141 1 2 3 '
                                                   '4 \n'
                                                  'ILSVRC2012_val_00000001,n02123045 1 2 3 4 n02123045 5 6 7 8 \n')
    data = ImageNet(tmp_path, 'val')
    assert [data[i]['label'] for i in range(2)] == [281, 999]


def test_class_names_of_ones_own(tmp_path):
    imagenet(tmp_path, 1)
    (tmp_path / 'names.txt').write_text('\n'.join(f'class {i}' for i in range(1000)))
    assert ImageNet(tmp_path, 'val', names=str(tmp_path / 'names.txt')).classes[999] == 'class 999'
    with pytest.raises(InputError, match='names: 3 class names came; expected 1,000'):
        ImageNet(tmp_path, 'val', names=['a', 'b', 'c'])


def test_broken_pictures(tmp_path):
    imagenet(tmp_path, 1)
    path = tmp_path / 'val' / WNIDS[1] / f'{WNIDS[1]}_0.JPEG'
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(BrokenSample, match='n01443537_0.JPEG'):
        ImageNet(tmp_path, 'val')[1]
    broken = ImageNet(tmp_path, 'val', broken='skip')[1]
    assert broken['key'] == 'n01443537/n01443537_0.JPEG' and 'broken or truncated' in broken['broken']


@pytest.mark.parametrize('make, says', [
    (lambda root: None, 'has no folder of `val`; looked for val, Data/CLS-LOC/val'),
    (lambda root: (root / 'val').mkdir(), 'neither class folders nor images'),
    (lambda root: save(root / 'val' / 'cats' / '1.jpg', 1), 'folder is not named as a class of ImageNet-1k, such as '
                                                            'cats'),
    (lambda root: (root / 'val' / WNIDS[0]).mkdir(parents=True), 'hold no images'),
    (lambda root: save(root / 'val' / 'ILSVRC2012_val_00000001.JPEG', 1), 'has neither the devkit .* nor '
                                                                          'LOC_val_solution.csv'),
    (lambda root: save(devkit(root) / 'val' / 'mine.JPEG', 1), '1 of 5 images .* have no class .*, such as mine.JPEG'),
    (lambda root: (devkit(root) / 'ILSVRC2012_devkit_t12/data/meta.mat').write_text('no'),
     'the devkit .* cannot be read'),
])
def test_folders_that_are_something_else(tmp_path, make, says):
    make(tmp_path)
    with pytest.raises(InputError, match=says):
        ImageNet(tmp_path, 'val')


@pytest.mark.parametrize('root, split, says', [
     (None, 'val', 'needs `data_root`'), ('no/such', 'val', 'does not exist'),
     ('{tmp}', 'test', 'no split `test`.*the test part has no ' 'labels')])
def test_arguments(tmp_path, root, split, says):
    with pytest.raises(InputError, match=says):
        ImageNet(root and root.replace('{tmp}', str(tmp_path)), split)


def test_imagenet_counts_what_it_leaves_out(tmp_path):
    imagenet(tmp_path)
    save(tmp_path / 'train' / 'loose.png', 3)
    (tmp_path / 'train' / 'n01440764' / 'n01440764_7.tar').write_text('x')
    assert ImageNet(tmp_path, 'train').notes == [
        '1 file that ends in .tar is left out: not among the kinds of images that are read',
        f'1 image is left out in {tmp_path / "train"}, in no class folder: loose.png',
        f'996 of 1,000 classes have no images in {tmp_path / "train"}']
