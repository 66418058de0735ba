"""Images with texts: datasets, transforms and samplers.

`base.py` is what datasets share; `read.py` reads image files of every kind. Data sets: `twemoji.py` (with
`families.py`) is the embedded set, `cifar10.py` is CIFAR-10 with texts, `shards/` reads WebDataset tar files,
`imagenet.py`, `coco.py` (captions, objects, LVIS) and `flickr.py` read the sets of those names (`image_files.py` is
what they share), `video.py` reads frames, `image_folder.py` (with `folder_listing.py` and `captions.py`) reads the
user's own folder, and `embedded.py` chooses between that and the emoji, `photographs.py` between that, shards and
`caltech101.py`. `transforms.py`, `collate.py` and `sampler.py` bring samples into batches. Conversations:
`conversation_dataset.py` is what their datasets share, `conversation_files.py` (with `conversation_rows.py`) reads
LLaVA's and OpenAI's files, `token_shards.py` reads codes that were made once, `mixture.py` mixes datasets,
`photo_talk.py` asks for captions of photographs, `class_talk.py` about their classes, `twemoji_talk.py` about emoji
(`emoji_questions.py` reads answers from names, `emoji_views.py` makes views, `emoji_canvas.py` lays an emoji on a
background), `benchmarks/` reads the official files of benchmarks.
"""
from dtbox.datasets.base import PairDataset
from dtbox.datasets.benchmarks import (
    AskedCaptions,
    BenchmarkDataset,
    GQAQuestions,
    LLaVAQuestions,
    MMEQuestions,
    MMVetQuestions,
    POPEQuestions,
    SEEDQuestions,
    VLMEvalKitTSV,
    VQAv2Questions,
)
from dtbox.datasets.caltech101 import Caltech101
from dtbox.datasets.cifar10 import CIFAR10
from dtbox.datasets.class_talk import ClassDraw, ClassTalk
from dtbox.datasets.coco import LVIS, CocoCaptions, CocoObjects
from dtbox.datasets.collate import collate
from dtbox.datasets.conversation_dataset import ConversationDataset, collate_conversations
from dtbox.datasets.conversation_files import ConversationFiles
from dtbox.datasets.embedded import EmojiOrFolder
from dtbox.datasets.flickr import Captions
from dtbox.datasets.image_folder import ImageFolder
from dtbox.datasets.imagenet import ImageNet
from dtbox.datasets.mixture import FixedCounts, Mixture
from dtbox.datasets.photo_talk import CaptionTalk
from dtbox.datasets.photographs import Photographs
from dtbox.datasets.read import read_image, read_rgba
from dtbox.datasets.sampler import CursorBatchSampler, EvalSampler
from dtbox.datasets.shards import Shards
from dtbox.datasets.token_shards import TokenShards
from dtbox.datasets.transforms import EmojiAugment, EmojiPlace, PackImage, RandomFlip, RandomResizedCrop, ResizeCrop
from dtbox.datasets.twemoji import Twemoji
from dtbox.datasets.twemoji_talk import TwemojiDraw, TwemojiTalk
from dtbox.datasets.video import Video

__all__ = ['AskedCaptions', 'BenchmarkDataset', 'CIFAR10', 'Caltech101', 'CaptionTalk', 'Captions', 'ClassDraw',
           'ClassTalk', 'CocoCaptions', 'CocoObjects', 'ConversationDataset', 'ConversationFiles',
           'CursorBatchSampler', 'EmojiAugment', 'EmojiOrFolder', 'EmojiPlace', 'EvalSampler', 'FixedCounts',
           'GQAQuestions', 'ImageFolder', 'ImageNet', 'LLaVAQuestions', 'LVIS', 'MMEQuestions', 'MMVetQuestions',
           'Mixture', 'POPEQuestions', 'PackImage', 'PairDataset', 'Photographs', 'RandomFlip', 'RandomResizedCrop',
           'ResizeCrop', 'SEEDQuestions', 'Shards', 'TokenShards', 'Twemoji', 'TwemojiDraw', 'TwemojiTalk',
           'VLMEvalKitTSV', 'VQAv2Questions', 'Video', 'collate', 'collate_conversations', 'read_image', 'read_rgba']
