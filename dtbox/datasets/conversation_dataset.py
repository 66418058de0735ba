"""What datasets of conversations share: images through the pipeline, and the batch."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from dtbox.conversations import ConversationBatch
from dtbox.datasets.base import PairDataset
from dtbox.datasets.collate import NO_IMAGES, stack_images
from dtbox.errors import InputError
from dtbox.image_codes import ImageCodes, join_codes


def collate_conversations(items: Sequence[dict]) -> ConversationBatch:
    """Put conversations together.

    Args:
        items: dicts as a `ConversationDataset` returns them: `conversation` with images as uint8 tensors [3, H, W] or
            `ImageCodes`; `set`, `epoch`, `index`, `seed`. Items with `broken`, what is wrong with them, are left out.

    Raises:
        InputError: images that are not tensors or differ in size, or a conversation that refers to images and brings
            none.
    """
    broken = [item['broken'] for item in items if 'broken' in item] or None
    items = [item for item in items if 'broken' not in item]
    images: list[Any] = []
    conversations = []
    for item in items:
        conversation = item['conversation']
        if conversation.parts and not conversation.images:
            raise InputError(f'the conversation {conversation.key} refers to images and has none.')
        first = len(images)
        conversations.append(conversation.renumber({i: i + first for i in range(len(conversation.images))}))
        images += conversation.images
    return ConversationBatch(
        images=_stack_pixels(images), codes=join_codes(images), conversations=conversations,
        keys=[conversation.key for conversation in conversations], sets=[item.get('set', '') for item in items],
        epoch_index=[(item.get('epoch', 0), item.get('index', i)) for i, item in enumerate(items)],
        seed=items[0].get('seed', 0) if items else 0, broken=broken,
        flaws=[flaw for item in items for flaw in item.get('flaws', ())] or None)


def _stack_pixels(images: Sequence[Any]) -> Tensor:
    """Return the images of a batch [M, 3, H, W], zeros for those that are known by their codes (H = W = 0 where all
    are)."""
    rows = [i for i, image in enumerate(images) if not isinstance(image, ImageCodes)]
    if len(rows) == len(images):
        return stack_images(images) if images else NO_IMAGES
    if not rows:
        return NO_IMAGES.new_zeros(len(images), 3, 0, 0)
    shown = stack_images([images[i] for i in rows])
    whole = shown.new_zeros(len(images), *shown.shape[1:])
    whole[rows] = shown
    return whole


class ConversationDataset(PairDataset):
    """Conversations, read by position as in `PairDataset`; the pipeline sees each of their images by itself.

    A concrete dataset sets `size` and writes `sample(index, rng)`, which returns dict(conversation=Conversation with
    PIL images, key=str, set=str). An item is that with images as tensors, and `epoch`, `index` and `seed`: what random
    draws about the sample depend on, here and later.
    """
    has_texts = False
    collate = staticmethod(collate_conversations)

    def __getitem__(self, position):
        item = super().__getitem__(position)
        item['epoch'], item['index'] = divmod(int(position), len(self))
        return dict(item, seed=self.seed)

    def finish(self, results: dict) -> dict:
        """Return a sample with its images after the pipeline."""
        conversation, images = results['conversation'], []
        for image in conversation.images:
            if isinstance(image, ImageCodes):  # its pixels went through a pipeline when it was encoded
                images.append(image)
                continue
            step_results = dict(image=image, rng=results['rng'])
            for step in self.pipeline:
                step_results = step(step_results)
            images.append(step_results['image'])
        return dict(conversation=replace(conversation, images=tuple(images)), key=conversation.key,
                    set=results.get('set', self.split))

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """Return dict(conversation=Conversation with PIL images, set=str) at `index`.

        Raises:
            BrokenSample: it cannot be read.
        """
        raise NotImplementedError
