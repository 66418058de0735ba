"""Scenes in the published formats: emoji at many sizes on crops of photographs, as COCO, LVIS, Flickr30k, shards and
video.

    python -m tests.format_scenes DIR [--count 60]

Photographs are those of scikit-image and scikit-learn; objects are Twemoji graphics (CC-BY 4.0), whose outlines are the
masks and whose names are the categories. It is how every format is run from end to end where the sets themselves are
not at hand; scores on them compare with nothing.
"""
import argparse
import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from dtbox.datasets.read import read_rgba
from dtbox.datasets.twemoji import load_pairs
from tests.format_data import write_json
from tests.shard_data import add

SIZE = (640, 480)
SIDES = (20, 48, 80, 140, 220)
FREQUENCY = 'ffffffccccrr'
"""Of a category in LVIS: frequent, common, rare; what is rarer is drawn less often."""


def photographs():
    """The photographs as a list of [H, W, 3] uint8."""
    import skimage.data
    import sklearn.datasets
    found = [getattr(skimage.data, name)()
             for name in ('astronaut', 'coffee', 'chelsea', 'rocket', 'hubble_deep_field', 'immunohistochemistry')]
    return [np.ascontiguousarray(p) for p in found + list(sklearn.datasets.load_sample_images().images)]


def categories():
    """The emoji that are objects: single things with names of one or two words, spread over all."""
    plain = [e for e in load_pairs() if '-' not in e.key and len(e.captions[0].split()) <= 2
             and not e.captions[0].endswith('button')]
    return plain[::len(plain) // 36][:36]


def background(rng, pool):
    """A crop of a photograph at 640 x 480."""
    photo = Image.fromarray(pool[rng.integers(len(pool))])
    width = int(min(photo.width, photo.height * 4 / 3) * rng.uniform(0.6, 1.0))
    left, top = rng.integers(photo.width - width + 1), rng.integers(photo.height - width * 3 // 4 + 1)
    return photo.crop((left, top, left + width, top + width * 3 // 4)).resize(SIZE, Image.BICUBIC)


def paste(image, mask, emoji, side, left, top):
    """Put an emoji on an image; returns its mask [H, W], where it hides others in `mask` (a list of masks) they lose
    these pixels."""
    from PIL.Image import Resampling
    shape = Image.fromarray(np.asarray(read_rgba(emoji.path))).resize((side, side), Resampling.BICUBIC)
    image.paste(shape, (left, top), shape)
    own = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    own[top:top + side, left:left + side] = np.asarray(shape)[..., 3] > 127
    for other in mask:
        other[own > 0] = 0
    return own


def scene(rng, pool, kinds):
    """(image, [(category number, mask)]): one to five objects."""
    image = background(rng, pool)
    masks = []
    which = []
    chance = np.array([dict(f=6.0, c=2.0, r=0.6)[FREQUENCY[k % len(FREQUENCY)]] for k in range(len(kinds))])
    for _ in range(rng.integers(1, 6)):
        k, side = rng.choice(len(kinds), p=chance / chance.sum()), int(rng.choice(SIDES))
        masks.append(paste(image, masks, kinds[k], side, int(rng.integers(SIZE[0] - side)),
                           int(rng.integers(SIZE[1] - side))))
        which.append(int(k))
    return image, [(k, m) for k, m in zip(which, masks) if m.sum() > 20]


def sentences(names):
    """Five captions of a scene."""
    listed = ' and '.join(names)
    return [f'{listed}', f'an image of {listed}', f'{listed} on a photograph', f'there is {listed}',
            f'{names[0]} and other things'
            if len(names) > 1 else f'only {names[0]}']


def segmentation(mask, polygon):
    """A mask as COCO has it: polygons, or run lengths."""
    import cv2
    from pycocotools import mask as masks
    if polygon:
        lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        lines = [c.reshape(-1).astype(float).tolist() for c in lines if len(c) >= 4]
        if lines:
            return lines
    runs = masks.encode(np.asfortranarray(mask))
    return dict(size=list(runs['size']), counts=runs['counts'].decode())


def write(folder, count=60, seed=0):
    """Write all the sets; returns their folder."""
    rng = np.random.default_rng(seed)
    pool = photographs()
    kinds = categories()
    folder = Path(folder)
    names = [e.captions[0] for e in kinds]
    for part in ('train', 'val'):
        images = []
        notes = []
        captions = []
        for i in range(count):
            number = i + 1 + (1000 if part == 'train' else 0)
            image, objects = scene(rng, pool, kinds)
            path = folder / 'coco' / f'{part}2017' / f'{number:012d}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, quality=92)
            images.append(dict(id=number, file_name=path.name, width=SIZE[0], height=SIZE[1],
                               coco_url=f'http://images.cocodataset.org/{part}2017/{path.name}'))
            for k, mask in objects:
                notes.append(dict(id=len(notes) + 1, image_id=number, category_id=k + 1, iscrowd=0,
                                  area=float(mask.sum()), segmentation=segmentation(mask, polygon=len(notes) % 2 == 0)))
            captions.append(sentences(list(dict.fromkeys(names[k] for k, _ in objects)) or ['nothing']))
        write_annotations(folder, part, images, notes, captions, names)
    write_flickr(folder, images, captions)
    write_shards(folder, images, captions)
    write_videos(folder / 'video', rng, pool, kinds)
    return folder


def write_annotations(folder, part, images, notes, captions, names):
    """COCO's instances and captions, LVIS's own file beside the same images."""
    coco, lvis = folder / 'coco', folder / 'lvis'
    write_json(coco / 'annotations' / f'instances_{part}2017.json', dict(
        images=images, annotations=notes,
        categories=[dict(id=k + 1, name=n, supercategory='emoji') for k, n in enumerate(names)]))
    texts = [dict(image_id=image['id'], caption=text) for image, listed in zip(images, captions) for text in listed]
    write_json(coco / 'annotations' / f'captions_{part}2017.json',
               dict(images=images, annotations=[dict(t, id=i) for i, t in enumerate(texts)]))
    lvis.mkdir(exist_ok=True)
    write_json(lvis / f'lvis_v1_{part}.json', dict(
        images=[{k: v for k, v in image.items() if k != 'file_name'} for image in images],
        annotations=[{k: v for k, v in note.items() if k != 'iscrowd'} for note in notes],
        categories=[dict(id=k + 1, name=n.replace(' ', '_'), frequency=FREQUENCY[k % len(FREQUENCY)],
                         synset=f'{n}.n.01')
                    for k, n in enumerate(names)]))
    link = lvis / f'{part}2017'
    if not link.exists():
        link.symlink_to(Path('..') / 'coco' / f'{part}2017')


def write_flickr(folder, images, captions):
    """Karpathy's JSON over the held-out images."""
    root = folder / 'flickr30k' / 'flickr30k-images'
    root.mkdir(parents=True)
    listed = []
    for i, (image, texts) in enumerate(zip(images, captions)):
        (root / image['file_name']).write_bytes((folder / 'coco' / 'val2017' / image['file_name']).read_bytes())
        listed.append(dict(filename=image['file_name'], imgid=i, split='test',
                           sentences=[dict(raw=t, tokens=t.split()) for t in texts]))
    write_json(root.parent / 'dataset_flickr30k.json', dict(dataset='flickr30k', images=listed))


def write_shards(folder, images, captions):
    """Four shards as img2dataset writes CC12M: .jpg, .txt and .json."""
    (folder / 'shards').mkdir()
    for shard in range(4):
        with tarfile.open(folder / 'shards' / f'{shard:05d}.tar', 'w') as tar:
            for image, texts in list(zip(images, captions))[shard::4]:
                key = f'{shard:05d}{image["id"]:04d}'
                add(tar, f'{key}.jpg', (folder / 'coco' / 'val2017' / image['file_name']).read_bytes())
                add(tar, f'{key}.txt', texts[1].encode())
                add(tar, f'{key}.json', json.dumps(dict(key=key, caption=texts[1], url=image['coco_url'],
                                                        status='success')).encode())


def write_videos(root, rng, pool, kinds, frames=48):
    """Two films of an emoji that crosses a photograph which pans slowly, and one as a folder of frames."""
    import cv2
    root.mkdir(parents=True)
    for clip in range(3):
        back = Image.fromarray(pool[clip]).resize((420, 315), Image.BICUBIC)
        emoji = kinds[int(rng.integers(len(kinds)))]
        shape = Image.fromarray(np.asarray(read_rgba(emoji.path)))
        film = cv2.VideoWriter(str(root / f'clip_{clip}.mp4'), cv2.VideoWriter_fourcc(*'mp4v'),
                               24, (320, 240)) if clip < 2 else None
        for t in range(frames):
            image = back.crop((t, t // 2, t + 320, t // 2 + 240))
            image.paste(shape, (20 + 4 * t, 60 + int(40 * np.sin(t / 6))), shape)
            if film is not None:
                film.write(np.asarray(image)[..., ::-1].copy())
            else:
                (root / 'clip_2').mkdir(exist_ok=True)
                out = io.BytesIO()
                image.save(out, 'PNG')
                (root / 'clip_2' / f'{t:05d}.png').write_bytes(out.getvalue())
        if film is not None:
            film.release()


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('folder')
    parser.add_argument('--count', type=int, default=60)
    given = parser.parse_args()
    print(write(given.folder, given.count))
