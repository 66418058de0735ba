"""The made scenes in the published formats are read by the data set configs, as the results page has it."""
import pytest

from dtbox.config import load_config, resolve
from dtbox.registry import DATASETS


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    pytest.importorskip('skimage')
    from tests.format_scenes import write
    return write(tmp_path_factory.mktemp('scenes') / 'sets', count=4)


@pytest.mark.parametrize('config, folder, count', [
     ('coco_objects', 'coco', 4), ('lvis', 'lvis', 4), ('coco_captions', 'coco', 4), ('flickr30k', 'flickr30k', 4),
     ('video', 'video', 144)])
def test_scenes(scenes, config, folder, count):
    cfg = resolve(load_config(f'configs/_base_/datasets/{config}.py',
                              dict(data_root=str(scenes / folder), image_size=64)))
    data = DATASETS.build(cfg.val_dataloader.dataset)
    sample = data[0]
    assert len(data) == count and sample['image'].shape == (3, 64, 64)


def test_scenes_as_shards(scenes):
    place = str(scenes / 'shards')
    cfg = resolve(load_config('configs/_base_/datasets/cc12m.py', dict(shards=place, heldout=place)))
    assert len(DATASETS.build(cfg.val_dataloader.dataset)) == len(DATASETS.build(cfg.train_dataloader.dataset)) == 4


def test_masks_are_where_the_objects_are(scenes):
    """Areas in the annotations are those of the masks, and later objects hide earlier ones."""
    from pycocotools.coco import COCO
    coco = COCO(str(scenes / 'coco' / 'annotations' / 'instances_val2017.json'))
    for image in coco.getImgIds():
        masks = [coco.annToMask(a) for a in coco.loadAnns(coco.getAnnIds(image))]
        for note, mask in zip(coco.loadAnns(coco.getAnnIds(image)), masks):
            # a polygon through pixel centres loses the rim
            assert abs(mask.sum() - note['area']) <= 0.35 * note['area'] + 30
