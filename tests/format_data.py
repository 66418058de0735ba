"""Small data sets in the published formats: ImageNet, COCO, LVIS, Flickr."""
import json

import numpy as np
from PIL import Image

from tests.shard_data import image

WNIDS = ('n01440764', 'n01443537', 'n02123045', 'n15075141')
"""WordNet ids of the classes 0, 1, 281 and 999."""
LABELS = (0, 1, 281, 999)


def save(path, number, size=(40, 30)):
    """Write a JPEG whose red tells its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image(number, size))


def imagenet(root, each=3):
    """train/WNID/*.JPEG and val/WNID/*.JPEG of four classes."""
    for part in ('train', 'val'):
        for k, wnid in enumerate(WNIDS):
            for i in range(each):
                save(root / part / wnid / f'{wnid}_{i}.JPEG', 10 * k + i)
    return root


def devkit(root, shuffled=(2, 0, 3, 1)):
    """val/ flat, with the devkit beside it, whose ids are in an order of their own."""
    from scipy.io import savemat
    for i in range(len(shuffled)):
        save(root / 'val' / f'ILSVRC2012_val_{i + 1:08d}.JPEG', 10 * shuffled[i])
    folder = root / 'ILSVRC2012_devkit_t12' / 'data'
    folder.mkdir(parents=True)
    ids = {0: 3, 1: 1, 2: 4, 3: 2}  # class number here -> ILSVRC2012_ID
    synsets = np.array([(ids[k], WNIDS[k], 'words', 'gloss', 0) for k in sorted(ids, key=ids.get)]
                       + [(5, 'n00000001', 'entity', 'gloss', 4)],
                       dtype=[('ILSVRC2012_ID', 'O'), ('WNID', 'O'), ('words', 'O'), ('gloss', 'O'), ('num_children',
                                                                                                      'O')])
    savemat(folder / 'meta.mat', dict(synsets=synsets))
    (folder / 'ILSVRC2012_validation_ground_truth.txt').write_text(''.join(f'{ids[k]}\n' for k in shuffled))
    return root


def coco_captions(root, count=4, split='val'):
    """captions_val2017.json with two captions an image, the last one with none."""
    images, notes = [], []
    for i in range(count):
        save(root / f'{split}2017' / f'{i + 1:012d}.jpg', i)
        images.append(dict(id=i + 1, file_name=f'{i + 1:012d}.jpg', width=40, height=30))
        if i < count - 1:
            notes += [dict(id=2 * i + j, image_id=i + 1, caption=f'caption {j} of {i} ') for j in range(2)]
    write_json(root / 'annotations' / f'captions_{split}2017.json',
               dict(info={}, licenses=[], images=images, annotations=notes))
    return root


def square(left, top, side):
    """A COCO polygon."""
    return [[left, top, left + side, top, left + side, top + side, left, top + side]]


def coco_objects(root, lvis=False, size=(320, 240)):
    """Two images with objects small, medium and large, a crowd, one as run lengths, one empty and one outside."""
    from pycocotools import mask as masks
    images = []
    for i in range(2):
        save(root / 'val2017' / f'{i + 1:012d}.jpg', i, size)
        name = f'{i + 1:012d}.jpg'
        where = dict(coco_url=f'http://images.cocodataset.org/val2017/{name}') if lvis else dict(file_name=name)
        images.append(dict(id=i + 1, width=size[0], height=size[1], **where))
    half = np.zeros((size[1], size[0]), np.uint8, order='F')
    half[:, :160] = 1
    runs = masks.encode(half)
    notes = [dict(id=1, image_id=1, category_id=7, segmentation=square(100, 100, 20), area=400, iscrowd=0),
             dict(id=2, image_id=1, category_id=3, segmentation=square(150, 80, 60), area=3600, iscrowd=0),
             dict(id=3, image_id=1, category_id=3, segmentation=square(80, 50, 120), area=14400, iscrowd=0),
             dict(id=4, image_id=1, category_id=7, segmentation=dict(size=[240, 320], counts=[0, 240 * 320]),
                  area=76800, iscrowd=1),
             dict(id=5, image_id=2, category_id=9, segmentation=dict(size=[240, 320], counts=runs['counts'].decode()),
                  area=38400, iscrowd=0),
             dict(id=6, image_id=2, category_id=9, segmentation=square(1000, 1000, 30), area=900, iscrowd=0),
             dict(id=7, image_id=2, category_id=9, segmentation=square(10, 10, 0), area=0, iscrowd=0)]
    categories = [dict(id=3, name='traffic_light', frequency='f', synset='a.n.01'),
                  dict(id=7, name='cat', frequency='c', synset='b.n.01'),
                  dict(id=9, name='bow_(weapon)', frequency='r', synset='c.n.01')]
    if not lvis:
        categories = [dict(id=c['id'], name=c['name']) for c in categories]
    name = 'lvis_v1_val.json' if lvis else 'annotations/instances_val2017.json'
    write_json(root / name, dict(images=images, annotations=notes, categories=categories))
    return root


def karpathy(root, count=4):
    """dataset_flickr30k.json and flickr30k-images/."""
    images = []
    for i in range(count):
        save(root / 'flickr30k-images' / f'{i}.jpg', i)
        images.append(dict(filename=f'{i}.jpg', imgid=i, split=('train', 'val', 'test', 'test')[i % 4],
                           sentences=[dict(raw=f'Sentence {j} of {i}.', tokens=[]) for j in range(5)]))
    write_json(root / 'dataset_flickr30k.json', dict(dataset='flickr30k', images=images))
    return root


def flickr8k(root, count=4):
    """Flickr8k.token.txt, the lists of its splits and Flicker8k_Dataset/."""
    lines = []
    for i in range(count):
        save(root / 'Flicker8k_Dataset' / f'{i}.jpg', i)
        lines += [f'{i}.jpg#{j}\tSentence {j} of {i} .' for j in range(5)]
    (root / 'Flickr8k.token.txt').write_text('\n'.join(lines) + '\n')
    for name, part in (('train', [0]), ('dev', [1]), ('test', [2, 3])):
        (root / f'Flickr_8k.{name}Images.txt').write_text(''.join(f'{i}.jpg\n' for i in part))
    return root


def caltech101(root, each=4):
    """101_ObjectCategories/CLASS/image_0001.jpg of three classes, and BACKGROUND_Google."""
    for k, name in enumerate(('Faces_easy', 'accordion', 'yin_yang', 'BACKGROUND_Google')):
        for i in range(1, each + 1):
            save(root / '101_ObjectCategories' / name / f'image_{i:04d}.jpg', 20 * k + i)
    return root


def class_folders(root, names, each=2):
    """NAME/0.png of each class."""
    for k, name in enumerate(names):
        for i in range(each):
            save(root / name / f'{i}.png', 20 * k + i)
    return root


def write_json(path, data):
    """Write JSON; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def colour_video(path, frames=12, size=(48, 32), rate=8):
    """An MPEG-4 file whose brightness rises from frame to frame; returns its path as text."""
    import cv2
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), rate, size)
    for i in range(frames):
        frame = np.full((size[1], size[0], 3), (20 + 15 * i) % 256, np.uint8)
        frame[:, :8] = (255, 0, 0)  # blue in OpenCV's order
        writer.write(frame)
    writer.release()
    return str(path)


def frame_folder(folder, frames=5):
    """PNG frames; returns the folder as text."""
    folder.mkdir(parents=True)
    for i in range(frames):
        Image.fromarray(np.full((32, 48, 3), 40 * i % 256, np.uint8)).save(folder / f'{i:04d}.png')
    return str(folder)
