"""Transforms: sizes, colours, and that they draw from the sample's generator only."""
import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.datasets import EmojiAugment, EmojiPlace, PackImage, RandomFlip, RandomResizedCrop, ResizeCrop, collate
from dtbox.errors import InputError
from dtbox.registry import TRANSFORMS


def run(transform, image, seed=0):
    return transform(dict(image=image, rng=np.random.default_rng(seed)))['image']


def disk(colour=(255, 255, 255)):
    """A disk whose transparent surroundings are black, as in many PNG files."""
    y, x = np.mgrid[:72, :72] - 35.5
    alpha = np.clip(34 - np.hypot(x, y), 0, 1) * 255
    rgb = np.where(alpha[..., None] > 0, np.array(colour), 0)
    return Image.fromarray(np.dstack([rgb, alpha]).astype(np.uint8))


def ramp(width, height):
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.dstack([x, y, (x + y) / 2]).astype(np.uint8))


def test_no_dark_fringes():
    placed = np.asarray(run(EmojiPlace(64), disk()))
    assert placed.shape == (64, 64, 3) and placed.min() >= 253
    augmented = EmojiAugment(64, scale=(0.5, 1.2), background=(255, 255, 255))
    assert min(np.asarray(run(augmented, disk(), seed)).min() for seed in range(10)) >= 253


def test_place_is_centred_and_keeps_proportions():
    placed = np.asarray(run(EmojiPlace(64, background=(9, 9, 9)), Image.new('RGB', (40, 20), (200, 0, 0))))
    assert (placed[:16] == 9).all() and (placed[48:] == 9).all() and (placed[16:48] == (200, 0, 0)).all()


def test_augment_moves_scales_and_colours():
    images = [np.asarray(run(EmojiAugment(64), disk((0, 0, 0)), seed)) for seed in range(40)]
    assert all(image.shape == (64, 64, 3) for image in images)
    corners = {tuple(image[0, 0]) for image in images}
    assert len(corners) > 20 and sum((image[0, 0] == 255).all() for image in images) >= 2
    areas = [(image.max(2) == 0).sum() for image in images]
    assert max(areas) > 1.3 * min(areas)
    assert (np.asarray(run(EmojiAugment(64), disk(), 5)) == np.asarray(run(EmojiAugment(64), disk(), 5))).all()
    soft = [np.asarray(run(EmojiAugment(32, gradient=1.0, plain=0.0), disk(), seed)).reshape(-1, 3)
            for seed in range(5)]
    assert all(len(np.unique(pixels, axis=0)) > 20 for pixels in soft)


def test_augment_without_freedom_is_place():
    still = EmojiAugment(64, shift=0.0, scale=(1.0, 1.0), background=(1, 2, 3))
    assert np.abs(np.int16(run(still, disk())) - np.int16(run(EmojiPlace(64, (1, 2, 3)), disk()))).max() <= 1


def test_random_resized_crop_of_a_ramp():
    crop = RandomResizedCrop(32, scale=(0.25, 0.5))
    for seed in range(20):
        image = np.asarray(run(crop, ramp(256, 256), seed)).astype(int)
        assert image.shape == (32, 32, 3)
        share = np.ptp(image[..., 0]) * np.ptp(image[..., 1]) / 255 ** 2
        assert 0.2 < share < 0.55
    whole = run(RandomResizedCrop(32, scale=(1.0, 1.0), ratio=(1.0, 1.0)), ramp(64, 64))
    assert whole.tobytes() == ramp(64, 64).resize((32, 32), Image.Resampling.BICUBIC).tobytes()


@pytest.mark.parametrize('size', [(400, 20), (20, 400)])
def test_random_resized_crop_falls_back_to_the_centre(size):
    image = np.asarray(run(RandomResizedCrop(16), ramp(*size)))
    assert (
        image.shape == (16, 16, 3)
        and abs(int(image[..., 0].mean()) - 127) < 8
        and abs(int(image[..., 1].mean()) - 127) < 8
    )


@pytest.mark.parametrize('size', [(100, 60), (61, 133), (64, 64), (30, 20)])
def test_resize_crop_is_torchvisions(size):
    from torchvision.transforms import v2
    theirs = v2.Compose([v2.Resize(32, v2.InterpolationMode.BICUBIC), v2.CenterCrop(32)])(ramp(*size))
    assert run(ResizeCrop(32), ramp(*size)).tobytes() == theirs.tobytes()
    assert run(ResizeCrop(32, mode='squash'), ramp(*size)).size == (32, 32)


def test_flip():
    image = ramp(8, 8)
    assert run(RandomFlip(0.0), image).tobytes() == image.tobytes()
    assert run(RandomFlip(1.0), image).tobytes() == image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()
    assert 30 < sum(run(RandomFlip(), image, seed).tobytes() != image.tobytes() for seed in range(100)) < 70


def test_pack_and_collate():
    tensor = run(PackImage(), ramp(6, 4))
    assert tensor.shape == (3, 4, 6) and tensor.dtype == torch.uint8 and tensor.is_contiguous() and tensor[0, 0,
                                                                                                           5] == 255
    batch = collate([dict(image=tensor, text='a', label=2, key='x', set='train'),
                     dict(image=tensor, text='', key='y', set='train')])
    assert batch.images.shape == (2, 3, 4, 6) and batch.texts == ['a', ''] and batch.labels.tolist() == [2, -1]
    assert batch.sets == ['train'] * 2 and batch.keys == ['x', 'y'] and len(batch) == 2
    bare = collate([dict(image=tensor, text='', label=-1)])
    assert len(collate([])) == 0  # a rank that gets nothing of the last batch
    assert bare.texts is None and bare.labels is None and bare.sets is None and bare.keys is None


@pytest.mark.parametrize('call, words', [
     (lambda: run(PackImage(), Image.new('RGBA', (4, 4))), 'expects an RGB image, got mode RGBA'),
     (lambda: collate([dict(image=Image.new('RGB', (4, 4)))]), 'End the pipeline with PackImage'),
     (lambda: collate([dict(image=torch.zeros(3, n, 4)) for n in (4, 5)]), 'differ in size'),
     (lambda: EmojiPlace(0), '`size` must be .* got 0'), (lambda: ResizeCrop(8, mode='long'), "got 'long'"),
     (lambda: EmojiAugment(8, scale=(1.2, 0.8)), '`scale` must be .lowest, highest'),
     (lambda: RandomFlip(2), '`p` must be'), (lambda: EmojiAugment(8, background='white'), "got 'white'"),
     (lambda: RandomResizedCrop(8, scale=(0.5, 2.0)), 'at most 1'),
     (lambda: TRANSFORMS.build(dict(type='ResizeCorp', size=4)), 'Did you mean `ResizeCrop`')])
def test_errors(call, words):
    with pytest.raises(InputError, match=words):
        call()


def parts(size=(40, 40), **args):
    """Parts (left, top, width, height) that 4,000 draws cut out."""
    crop = RandomResizedCrop(8, **args)
    rng = np.random.default_rng(0)
    return np.array([crop._part(*size, rng) for _ in range(4000)])


def test_ratios_are_drawn_log_uniformly():
    """Of ratios from 1/4 to 4 half are below 1 (of a uniform draw one in five)."""
    _, _, width, height = parts((400, 400), scale=(0.05, 0.05), ratio=(0.25, 4.0)).T
    share = (width < height).mean()
    assert abs(share - 0.5) < 0.04  # 5 standard deviations of 4,000 draws


def test_every_position_is_drawn():
    """The last one, too: a part of 30 pixels fits at 0 to 10 of 40."""
    left, top, *_ = parts(scale=(0.5625, 0.5625), ratio=(1.0, 1.0)).T
    assert set(left) == set(top) == set(range(11))
