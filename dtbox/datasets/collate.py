"""From samples to a `Batch`."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dtbox.errors import InputError
from dtbox.structures import Batch

NO_IMAGES = torch.zeros(0, 3, 1, 1, dtype=torch.uint8, device='cpu')


def collate(items: Sequence[dict], with_texts: bool = False, need_texts: bool = False) -> Batch:
    """Put samples together.

    Args:
        items: dicts as a dataset returns them: `image` a uint8 tensor [3, H, W] (see `PackImage`); `text`, `label`,
            `set` and `key` where known. A text of '' and a label of -1 mean that the sample has none. Items with
            `broken`, what is wrong with them, are left out. None at all make an empty batch: a process has no sample in
            the last step of an epoch.
        need_texts: leave out samples without a text as broken ones are: training needs one of each.
        with_texts: keep `texts` also where no sample of this batch has one, since others of the data set have.

    Returns:
        Batch with images [B, 3, H, W]. `texts` is None where no sample has one ('' marks single samples without);
        `labels` likewise (-1 marks single samples without). `captions` is there where a sample knows several. Where
        there is no sample that is not broken, the batch is empty.

    Raises:
        InputError: images that are not tensors, or images of different sizes.
    """
    if need_texts:
        items = [item if 'broken' in item or str(item.get('text') or '').strip()
                 else dict(broken=f'the sample {item.get("key")} has no text, which training needs') for item in items]
    broken = [item['broken'] for item in items if 'broken' in item] or None
    items = [item for item in items if 'broken' not in item]
    if not items:
        return Batch(images=NO_IMAGES, texts=[] if with_texts else None, sets=[],
                     keys=[], broken=broken)
    images = stack_images([item['image'] for item in items])
    texts = [item.get('text') or '' for item in items]
    labels = torch.tensor([item.get('label', -1) for item in items], dtype=torch.int64, device='cpu')
    sets, keys = [item.get('set') for item in items], [item.get('key') for item in items]
    captions = None
    if any('captions' in item for item in items):
        captions = [list(item.get('captions') or filter(None, [item.get('text')])) for item in items]
    return Batch(images=images, texts=texts if with_texts or any(texts) else None,
                 labels=labels if bool((labels >= 0).any()) else None,
                 sets=None if None in sets else sets, keys=None if None in keys else keys, captions=captions,
                 broken=broken, flaws=[flaw for item in items for flaw in item.get('flaws', ())] or None,
                 regions=[item['regions'] for item in items] if all('regions' in item for item in items) else None)


def stack_images(images: Sequence[Tensor]) -> Tensor:
    """Return images, uint8 tensors [3, H, W], as one tensor [B, 3, H, W].

    Raises:
        InputError: images that are not tensors, or images of different sizes.
    """
    for image in images:
        if not isinstance(image, Tensor):
            raise InputError(f'a batch needs images as tensors, got {type(image).__name__}. End the pipeline with '
                             'PackImage.')
    shapes = sorted({tuple(image.shape) for image in images})
    if len(shapes) > 1:
        raise InputError(f'the images of a batch differ in size: {", ".join(map(str, shapes))}. '
                         'Put ResizeCrop, RandomResizedCrop or EmojiPlace into the pipeline.')
    return torch.stack(list(images))
