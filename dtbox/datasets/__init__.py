"""Images with texts: datasets, transforms and samplers.

`images` reads images of every kind; `base` is what datasets share; `twemoji` (with `families`) is the embedded set;
`cifar10` is CIFAR-10 with texts; `shards` reads WebDataset tar files; `imagenet`, `coco` (captions, objects, LVIS) and `flickr`
are the sets of those names (with `files`, what they share); `video` reads frames;
`image_folder` (with `folders` and `captions`) is the user's own; `images` chooses between the two; `transforms`,
`collate` and `sampler` are what their names say.
"""
from dtbox.datasets.base import PairDataset
from dtbox.datasets.cifar10 import CIFAR10
from dtbox.datasets.coco import LVIS, CocoCaptions, CocoObjects
from dtbox.datasets.collate import collate
from dtbox.datasets.embedded import EmojiOrFolder
from dtbox.datasets.flickr import Captions
from dtbox.datasets.image_folder import ImageFolder
from dtbox.datasets.imagenet import ImageNet
from dtbox.datasets.read import read_image, read_rgba
from dtbox.datasets.sampler import CursorBatchSampler, EvalSampler
from dtbox.datasets.shards import Shards
from dtbox.datasets.transforms import EmojiAugment, EmojiPlace, PackImage, RandomFlip, RandomResizedCrop, ResizeCrop
from dtbox.datasets.twemoji import Twemoji
from dtbox.datasets.video import Video

__all__ = ['CIFAR10', 'Captions', 'CocoCaptions', 'CocoObjects', 'CursorBatchSampler', 'EmojiAugment', 'EmojiPlace', 'EvalSampler', 'ImageFolder',
           'ImageNet', 'LVIS', 'PackImage', 'EmojiOrFolder', 'PairDataset', 'RandomFlip', 'RandomResizedCrop', 'ResizeCrop', 'Shards', 'Twemoji',
           'Video', 'collate', 'read_image', 'read_rgba']
