"""Every reader counts what it finds and does not use, with the reason; masks lie on the pixels that are read."""
import csv
import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from dtbox.apis.reconstruction import find_images
from dtbox.datasets import LVIS, CocoCaptions, CocoObjects, Video
from dtbox.datasets.cifar10 import CIFAR10
from dtbox.datasets.flickr import Captions
from dtbox.datasets.image_folder import ImageFolder
from dtbox.datasets.masks import place_annotations
from dtbox.datasets.shards import Shards
from dtbox.diagnostics.data_check import check_data, report
from dtbox.errors import InputError
from tests.format_data import coco_captions, coco_objects, frame_folder, karpathy, write_json
from tests.shard_data import add, image, write_shard


def photo(path, size=(40, 40), **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (200, 30, 30)).save(path, **more)


# ---- masks (02) ------------------------------------------------------------------------------------------------------


def scene(root, lvis=False, sizes=True):
    """One polygon over a white object of 60 x 40 pixels in an image of 200 x 120, and files that hold it otherwise."""
    pixels = np.zeros((120, 200, 3), np.uint8)
    pixels[20:60, 30:90] = 255
    full = Image.fromarray(pixels)
    (root / 'val2017').mkdir(parents=True)
    files = dict(full=full, half=full.resize((100, 60), Image.Resampling.NEAREST),
                 odd=full.resize((67, 40), Image.Resampling.BOX), cut=full.crop((0, 0, 100, 100)))
    for name, one in files.items():
        one.save(root / 'val2017' / f'{name}.png')
    for turn in (3, 6):
        exif = Image.Exif()
        exif[0x0112] = turn
        full.save(root / 'val2017' / f'turn{turn}.png', exif=exif)
    names = [*files, 'turn3', 'turn6']
    images = [dict(id=i, **(dict(width=200, height=120) if sizes else {}), file_name=f'{name}.png')
              for i, name in enumerate(names)]
    notes = [dict(id=i, image_id=i, category_id=1, area=2400, segmentation=[[30, 20, 90, 20, 90, 60, 30, 60]],
                  iscrowd=0) for i in range(len(names))]
    path = root / ('lvis_v1_val.json' if lvis else 'annotations/instances_val2017.json')
    write_json(path, dict(images=images, annotations=notes, categories=[dict(id=1, name='square', frequency='f')]))
    return names


@pytest.mark.parametrize('kind', [CocoObjects, LVIS])
def test_masks_lie_on_their_objects(kind, tmp_path):
    """A copy of another size, and an image that EXIF turns: the mask covers the object."""
    names = scene(tmp_path, kind is LVIS)
    found = dict(zip(names, (kind(tmp_path, 'val').sample(i, None) for i in range(len(names)))))
    for name, size in dict(full=(200, 120), half=(100, 60), odd=(67, 40), turn6=(200, 120)).items():
        sample = found[name]
        white, mask = np.asarray(sample['image'].convert('L')) > 127, np.asarray(sample['masks'][0]) > 127
        assert sample['image'].size == size and not sample['flaws']
        assert (white & mask).sum() > 0.93 * (white | mask).sum()
    assert found['full']['regions'].sizes == ['medium'] and found['half']['regions'].sizes == ['small']
    assert not found['cut']['masks'] and not found['turn3']['masks']
    assert found['cut']['flaws'] == ['cut.png: its 1 mask is left out: it has 100 x 100 pixels, and its annotations '
                                     'are those of an image of 200 x 120: other proportions, so another image or a '
                                     'part of it']
    assert 'EXIF turns it (orientation 3) and its size stays the same' in found['turn3']['flaws'][0]


def test_run_lengths_follow_their_image(tmp_path):
    scene(tmp_path)
    path = tmp_path / 'annotations' / 'instances_val2017.json'
    data = json.loads(path.read_text())
    counts = [120 * 30 + 20] + [40, 80] * 59 + [40, 60 + 120 * 110]  # columns of 120 pixels
    data['annotations'][1].update(segmentation=dict(size=[120, 200], counts=counts))
    write_json(path, data)
    mask = np.asarray(CocoObjects(tmp_path, 'val').sample(1, None)['masks'][0]) > 127
    assert mask.shape == (60, 100) and mask[10:30, 15:45].all() and mask.sum() == 20 * 30


@pytest.mark.parametrize('annotated, stored, turn, upright, told', [
    ((200, 120), (200, 120), 1, True, True), ((120, 200), (200, 120), 6, True, True),
    ((200, 120), (200, 120), 8, False, True), ((100, 60), (200, 120), 5, False, True),
    ((100, 100), (50, 50), 6, True, False), ((200, 120), (200, 120), 2, True, False),
    ((None, None), (200, 120), 1, True, True), ((200, 120), (120, 200), 1, True, False)])
def test_which_pixels_were_annotated(annotated, stored, turn, upright, told):
    placement = place_annotations(annotated, stored, turn)
    assert placement.upright == upright and (not placement.why) == told


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_yolo_layout(tmp_path):
    """images/ beside labels/, both divided; texts are no captions where they are boxes."""
    for part in ('train2017', 'val2017'):
        for i in range(3):
            photo(tmp_path / 'images' / part / f'{i}.png')
            (tmp_path / 'labels' / part).mkdir(parents=True, exist_ok=True)
            (tmp_path / 'labels' / part / f'{i}.txt').write_text('0 0.5 0.5 0.2 0.2\n')
    found = ImageFolder(tmp_path, 'heldout')
    assert found.keys == [f'val2017/{i}.png' for i in range(3)] and not found.classes and not found.has_texts


def test_boxes_are_not_captions(tmp_path):
    for i in range(4):
        photo(tmp_path / f'{i}.png')
        (tmp_path / f'{i}.txt').write_text('0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.2 0.2\n')
    found = ImageFolder(tmp_path, 'train')
    assert not found.has_texts
    assert found.notes == ['the 4 .txt files beside the images are left out: they hold rows of numbers, such as boxes '
                           'of objects, and no captions']


def test_what_lies_in_a_folder_of_images(tmp_path):
    for name in ('a.png', 'b.png', 'c.png', '.hidden.png', '._a.png', '@eaDir/x.png', '.thumbs/a.png'):
        photo(tmp_path / name)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'again').symlink_to(tmp_path, target_is_directory=True)
    write_json(tmp_path / 'captions.json', {'a.png': 'a', 'b.png': 'b', 'c.png': 'c', 'gone.png': 'd'})
    for name in ('captions.csv', 'raw.CR2', 'b.txt', 'more.zip', 'LICENSE', 'readme.md', 'data'):
        (tmp_path / name).write_text('x')
    assert sorted(ImageFolder(tmp_path, 'train').notes) == sorted([
        '1 file that ends in .cr2 is left out: not among the kinds of images that are read',
        '1 file that ends in .csv is left out: texts come from captions.json',
        '1 file that ends in .txt is left out: texts come from captions.json',
        '1 file that ends in .zip is left out: not among the kinds of images that are read',
        '1 file that has no suffix is left out: not among the kinds of images that are read',
        '1 folder is left out (a link to one that is read already): again',
        '1 folder is left out (empty): empty',
        '1 folder is left out (hidden): .thumbs',
        '1 folder is left out (made by a system, not by people): @eaDir',
        '1 image is left out, whose name begins with a dot: hidden',
        f'{tmp_path / "captions.json"}: 1 entry matches no image in {tmp_path}'])


@pytest.mark.parametrize('loose, classes', [(1, ('cat', 'dog')), (3, ())])
def test_images_beside_class_folders(tmp_path, loose, classes):
    """A few are left out, many switch the classes off; either is said. The held-out part is never of loose ones."""
    for i in range(2):
        photo(tmp_path / 'cat' / f'{i}.png'), photo(tmp_path / 'dog' / f'{i}.png')
    for i in range(loose):
        photo(tmp_path / f'x{i}.png')
    parts = [ImageFolder(tmp_path, split) for split in ('train', 'heldout')]
    assert all(part.classes == classes and len(part) for part in parts)
    assert parts[0].notes == [
        '1 image is left out, in no class folder: x0.png' if classes else
        'the folders cat, dog are not taken for classes, since many images lie beside them: no labels, and no texts of '
        'class names']


def test_folders_that_are_parts_are_no_classes(tmp_path):
    for part in ('val', 'test'):
        for i in range(4):
            photo(tmp_path / part / f'{i}.png')
    assert not ImageFolder(tmp_path, 'train').classes


def test_reconstruct_tells_what_it_leaves_out(tmp_path):
    photo(tmp_path / 'a.png')
    (tmp_path / 'b.heic').write_text('x')
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('dtbox.apis.reconstruction.print_log', lambda text, *_, **__: lines.append(text))
        assert [path for path, _ in find_images([str(tmp_path)])] == [str(tmp_path / 'a.png')]
    assert len(lines) == 1 and '1 file that ends in .heic is left out' in lines[0]


# ---- published sets --------------------------------------------------------------------------------------------------


def test_coco_counts_what_it_leaves_out(tmp_path):
    data = coco_objects(tmp_path)
    photo(tmp_path / 'val2017' / 'more.jpg')
    path = tmp_path / 'annotations' / 'instances_val2017.json'
    content = json.loads(path.read_text())
    content['annotations'].append(dict(content['annotations'][0], image_id=99))
    write_json(path, content)
    assert CocoObjects(data, 'val', most=2).notes == [
        f'{path}: 1 annotation is left out, of no image (99)',
        f'1 image is left out in {tmp_path / "val2017"}: not named by {path}, such as more.jpg',
        '1 mask is left out: of crowds', '2 masks are left out: beyond the 2 largest of their image (`most`)']
    coco_captions(tmp_path / 'other')
    assert [note.rpartition(': ')[2] for note in CocoCaptions(tmp_path / 'other', 'val').notes] == [
        '1 of 4 images has no caption']


def test_flickr_counts_what_it_leaves_out(tmp_path):
    karpathy(tmp_path)
    photo(tmp_path / 'flickr30k-images' / 'extra.jpg')
    path = tmp_path / 'dataset_flickr30k.json'
    content = json.loads(path.read_text())
    content['images'][1]['sentences'] = [dict(raw='  ')]
    write_json(path, content)
    assert Captions(tmp_path, 'val').notes == [
        f'1 image is left out in {tmp_path / "flickr30k-images"}: not named by {path}, such as extra.jpg',
        f'{path}: 1 of 1 image has no caption']


# ---- shards ----------------------------------------------------------------------------------------------------------


def test_members_that_are_not_used(tmp_path, monkeypatch):
    """Counted by kind, also from the cache of the index."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    folder = tmp_path / 'shards'
    write_shard(folder / 'a.tar', range(3), npy=b'x', png=image(1, kind='PNG'))
    with tarfile.open(folder / 'b.tar', 'w') as tar:
        add(tar, 'one.gif', image(1, kind='GIF'))
        add(tar, 'LISTING', b'x')
        link = tarfile.TarInfo('link.jpg')
        link.type, link.linkname = tarfile.SYMTYPE, 'one.gif'
        tar.addfile(link)
    (folder / 'sizes.parquet').write_text('x')
    (folder / 'inner').mkdir()
    says = 'left out: not among those that are read (one image, .cls, .json, .txt)'
    for _ in range(2):
        data = Shards(str(folder))
        assert len(data) == 4 and data[3]['image'].size == (40, 30)
        assert sorted(data.notes) == [
            '1 file that ends in .parquet is left out: not among shards (.tar)',
            '1 folder is left out: beside the shards', f'1 member that has no suffix is {says}',
            f'1 member that is a link is {says}', f'3 members that end in .npy are {says}',
            f'3 members that end in .png are {says}']


def test_cifar_counts_members(tmp_path):
    with tarfile.open(tmp_path / 'train-000.tar', 'w') as tar:
        out = io.BytesIO()
        Image.new('RGB', (32, 32)).save(out, 'PNG')
        for suffix, content in (('png', out.getvalue()), ('cls', b'3'), ('json', b'{}')):
            add(tar, f'a.{suffix}', content)
    (tmp_path / 'cifar-10-batches-py').mkdir()
    assert CIFAR10(tmp_path, 'train').notes == [
        '1 member that ends in .json is left out: not among those that are read (an image, .cls, .txt)',
        f'{tmp_path / "cifar-10-batches-py"} is left out: the shards beside it are read']


# ---- video -----------------------------------------------------------------------------------------------------------


def test_videos_without_frames(tmp_path):
    """An empty recording beside a good one is named; an image is no video."""
    cv2 = pytest.importorskip('cv2')
    (tmp_path / 'clips').mkdir()
    for name, count in (('empty', 0), ('clips/empty', 0), ('clips/good', 5)):
        writer = cv2.VideoWriter(f'{tmp_path}/{name}.avi', cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48))
        for _ in range(count):
            writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.release()
    data = Video(tmp_path / 'clips', broken='skip')
    assert len(data) == 5 and len(data.flaws) == 1
    assert 'empty.avi cannot be decoded: it tells of no frames' in data.flaws[0]
    for broken in ('skip', 'error'):
        with pytest.raises(InputError, match='empty.avi cannot be decoded: it tells of no frames'):
            Video(tmp_path / 'empty.avi', broken=broken)
    photo(tmp_path / 'x.png')
    with pytest.raises(InputError, match='x.png is an image, not a video. Give the folder of the frames'):
        Video(tmp_path / 'x.png')


def test_what_lies_beside_clips(tmp_path):
    frame_folder(tmp_path / 'a', 3)
    (tmp_path / 'a' / 'masks').mkdir()
    (tmp_path / 'a' / 'flow.npy').write_text('x')
    (tmp_path / 'b' / 'inner').mkdir(parents=True)
    (tmp_path / 'b.wmv').write_text('x')
    says = 'is left out: not among videos (.mp4, .avi, .mov, .mkv, .webm, .m4v, .mpg, .mpeg) and frames'
    assert Video(tmp_path).notes == [
        '1 folder is left out: no images lie there, of which a clip is made: b',
        '1 folder is left out within clips: the images beside are the frames',
        f'1 file that ends in .npy {says}', f'1 file that ends in .wmv {says}']


# ---- where it is told ------------------------------------------------------------------------------------------------


def test_check_data_repeats_the_notes(tmp_path):
    for i in range(4):
        photo(tmp_path / 'images' / f'{i}.png')
    (tmp_path / 'images' / 'x.heic').write_text('x')
    config = tmp_path / 'data.py'
    config.write_text(f"val_dataloader = dict(batch_size=2, dataset=dict(type='ImageFolder', split='heldout', "
                      f"data_root='{tmp_path / 'images'}'))\n")
    found = check_data(str(config), say=lambda line: None)
    assert len(found['heldout']['notes']) == 1 and '1 file that ends in .heic' in report(found)


def test_tables_of_captions_with_other_columns(tmp_path):
    """A second table beside the one that is read is named."""
    for i in range(4):
        photo(tmp_path / f'{i}.png')
    for name in ('captions.csv', 'metadata.csv'):
        with open(tmp_path / name, 'w', newline='') as file:
            csv.writer(file).writerows([('file_name', 'caption'), *((f'{i}.png', f'text {i}') for i in range(4))])
    assert ImageFolder(tmp_path, 'train').notes == ['1 file that ends in .csv is left out: texts come from '
                                                    'captions.csv']
