"""Masks of COCO and LVIS, and frames of videos."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.datasets import LVIS, CocoObjects, Video, collate
from dtbox.datasets.base import BrokenSample
from dtbox.datasets.video import number_frames
from dtbox.errors import InputError
from tests.format_data import coco_objects, colour_video, frame_folder, write_json


def packed(size=120, mode='short_side'):
    return [dict(type='ResizeCrop', size=size, mode=mode), dict(type='PackImage')]


def test_coco_masks_follow_their_picture(tmp_path):
    data = CocoObjects(coco_objects(tmp_path), 'val', pipeline=packed())
    first = data[0]['regions']
    assert first.sizes == ['large', 'medium', 'small'] and [data.classes[i]
                                                            for i in first.categories] == ['traffic light',
                                                                                           'traffic light', 'cat']
    assert first.masks.shape == (3, 120, 120) and first.masks.dtype == torch.bool and first.frequencies == ['', '', '']
    # 320 x 240 to 160 x 120, of which the columns 20 to 140 are left; the large square has its corner at (80, 50), side
    # 120
    rows, columns = np.where(first.masks[0].numpy())
    assert abs(rows.min() - 25) <= 1
    assert abs(rows.max() - 84) <= 1
    assert abs(columns.min() - 20) <= 1
    assert abs(columns.max() - 79) <= 1
    second = data[1]['regions']
    assert (
        second.ids == ['5']
        and second.sizes == ['large']
        and second.masks[0][:, :59].all()
        and not second.masks[0][:, 61:].any()
    )
    batch = collate([data[0], data[1]])
    assert [len(r) for r in batch.regions] == [3, 1] and len(batch.flaws) == 2
    assert 'annotation 6 is empty or lies outside' in batch.flaws[0] and 'annotation 7' in batch.flaws[1]
    assert len(CocoObjects(tmp_path, 'val', pipeline=packed(), most=2)[0]['regions']) == 2
    squashed = CocoObjects(tmp_path, 'val', pipeline=packed(80, 'squash'))[1]['regions'].masks[0]
    assert squashed[:, :39].all() and not squashed[:, 41:].any()


def test_objects_that_the_crop_cuts_off(tmp_path):
    coco_objects(tmp_path)
    path = tmp_path / 'annotations' / 'instances_val2017.json'
    data = json.loads(path.read_text())
    data['annotations'] = [dict(id=1, image_id=1, category_id=3, segmentation=[[0, 0, 15, 0, 15, 200, 0, 200]],
                                area=3000)]
    write_json(path, data)
    sets = CocoObjects(tmp_path, 'val', pipeline=packed())
    assert len(sets[0]['regions']) == 0 and sets[0]['regions'].masks.shape == (0, 120, 120)
    wrong = CocoObjects(tmp_path, 'val', pipeline=[dict(type='RandomResizedCrop', size=32), dict(type='PackImage')])
    with pytest.raises(InputError, match='ResizeCrop resizes masks along'):
        wrong[0]


def test_lvis(tmp_path):
    data = LVIS(coco_objects(tmp_path, lvis=True), 'val', pipeline=packed())
    assert data[0]['key'] == 'val2017/000000000001.jpg' or data[0]['key'] == '../val2017/000000000001.jpg'
    assert data[0]['regions'].frequencies == ['frequent', 'frequent',
                                              'common'] and data[1]['regions'].frequencies == ['rare']
    assert data.classes == ('traffic light', 'cat', 'bow (weapon)')
    path = tmp_path / 'lvis_v1_val.json'
    content = json.loads(path.read_text())
    content['categories'][0].pop('frequency')
    write_json(path, content)
    with pytest.raises(InputError, match='the category traffic_light has the frequency None; expected r, c or f'):
        LVIS(tmp_path, 'val')
    write_json(path, {k: v for k, v in content.items() if k != 'categories'})
    with pytest.raises(InputError, match='has no list `categories`'):
        LVIS(tmp_path, 'val')


def test_masks_of_another_size_are_told(tmp_path):
    coco_objects(tmp_path)
    path = tmp_path / 'annotations' / 'instances_val2017.json'
    data = json.loads(path.read_text())
    data['annotations'] = [dict(id=8, image_id=1, category_id=3, segmentation=dict(size=[10, 10], counts=[50, 50]),
                                area=50),
                           dict(id=9, image_id=1, category_id=77, segmentation=[[0, 0, 15, 0, 15, 200, 0, 200]],
                                area=30)]
    write_json(path, data)
    sets = CocoObjects(tmp_path, 'val', pipeline=packed())
    found = sets[0]
    assert len(found['regions']) == 0
    assert 'its size is [10, 10], that of the image [240, 320]' in found['flaws'][0]
    assert 'KeyError: 77' in found['flaws'][1]


# ---- video -----------------------------------------------------------------------------------------------------------

def test_a_video_file(tmp_path):
    data = Video(colour_video(tmp_path / 'rise.mp4'))
    assert len(data) == 12 and data.rate('rise.mp4') == pytest.approx(8)
    levels = [np.asarray(data[i]['image'])[:, 20:].mean() for i in (0, 5, 11, 3)]
    assert levels == pytest.approx([20, 95, 185, 65], abs=4)
    assert data[3]['key'] == 'rise.mp4/000003' and data[3]['image'].size == (48, 32)
    left = np.asarray(data[3]['image'])[:, 1:6].reshape(-1, 3).mean(0)
    assert left[2] > 200 and left[0] < 60  # blue, not red


def test_a_folder_of_clips_and_frames(tmp_path):
    colour_video(tmp_path / 'all' / 'b.mp4', frames=7)
    frame_folder(tmp_path / 'all' / 'a')
    (tmp_path / 'all' / 'notes.txt').write_text('x')
    data = Video(tmp_path / 'all', stride=2)
    assert [data[i]['key'] for i in range(len(data))] == ['a/000000', 'a/000002', 'a/000004'] + [f'b.mp4/{i:06d}'
                                                                                                 for i in (0, 2, 4, 6)]
    assert (
        [data[i]['image'].getpixel((9, 9))[0] for i in range(3)] == [0, 80, 160]
        and data.rate('a') is None
        and data.rate('b.mp4') == 4
    )
    assert len(Video(tmp_path / 'all' / 'a', limit=2)) == 2


@pytest.mark.parametrize('numbers, places', [
    ([3, 4, 5], [0, 1, 2]), ([0, 5, 10, 20], [0, 1, 2, 4]), ([0, 1, 2, 4, 5, 9], [0, 1, 2, 4, 5, 9]),
    ([1, 1, 2], [0, 1, 2]), ([2, 3, 7, 10, 13], [0, 1, 2, 3, 4]), ([7], [0]), ([], []),
    ([1, 2, None, 4], [0, 1, 2, 3])])
def test_numbers_of_frames(numbers, places):
    """A step that is not a multiple of the most frequent one says nothing: then they count one after the other."""
    assert number_frames([f'clip/x{"end" if n is None else f"{n:03d}"}.png' for n in numbers]) == places


def test_a_frame_that_is_missing_from_the_numbers(tmp_path):
    """Frame 6 was deleted: 5 and 7 are not neighbours."""
    for i in (0, 1, 2, 3, 4, 5, 7, 8):
        path = tmp_path / 'clip' / f'{i:04d}.png'
        path.parent.mkdir(exist_ok=True)
        Image.new('RGB', (48, 48), (i, i, i)).save(path)
    data = Video(tmp_path, pipeline=packed())
    assert [data.sample(i, None)['key'][-2:] for i in range(len(data))] == ['00', '01', '02', '03', '04', '05', '07',
                                                                            '08']
    assert any('clip: 1 frame is missing from the numbers of its files' in note for note in data.notes)



def test_videos_that_cannot_be_decoded(tmp_path):
    (tmp_path / 'bad.mp4').write_bytes(b'no video' * 100)
    with pytest.raises(InputError, match='the video .*bad.mp4 cannot be decoded.*folder of frames'):
        Video(tmp_path)
    with pytest.raises(InputError, match='holds no video that can be read: the video'):
        Video(tmp_path, broken='skip')
    colour_video(tmp_path / 'good.mp4', frames=3)
    data = Video(tmp_path, broken='skip')
    assert len(data) == 3 and 'bad.mp4' in data.flaws[0]
    folder = frame_folder(tmp_path / 'f', 3)
    (tmp_path / 'f' / '0001.png').write_bytes(b'x')
    with pytest.raises(BrokenSample, match='0001.png'):
        Video(folder)[1]
    assert 'broken' in Video(folder, broken='skip')[1]


@pytest.mark.parametrize('options, says', [
     (dict(), 'needs `data_root`'), (dict(data_root='no/such'), 'does not exist'),
     (dict(data_root='.', stride=0), '`stride` is 0')])
def test_arguments(options, says):
    with pytest.raises(InputError, match=says):
        Video(**options)
