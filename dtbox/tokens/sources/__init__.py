"""Data sets as lists of input shards, each of which becomes one file of tokens.

`base` says what an input shard is, `files` cuts lists of images, `archives` takes tars, videos, data sets of configs.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dtbox.config import load_config, resolve
from dtbox.config.find import list_configs
from dtbox.datasets.folder_listing import SUFFIXES
from dtbox.datasets.shards.places import PIPE
from dtbox.datasets.video import FILES
from dtbox.errors import InputError
from dtbox.tokens.sources.archives import cut_dataset, list_tars, list_videos
from dtbox.tokens.sources.base import Found, Item, SourceShard
from dtbox.tokens.sources.files import FileList, FileShard, list_coco, list_folder, published_captions

__all__ = ['Found', 'Item', 'FileShard', 'KINDS', 'PER', 'Source', 'SourceShard', 'find_kind', 'find_source']

KINDS = ('folder', 'shards', 'coco', 'video', 'config')
PER = 4096
"""Images of a part of a list."""


@dataclass(frozen=True)
class Source:
    """A data set to encode.

    Attributes:
        kind: one of KINDS.
        shards: input shards that exist as such: tars, videos, parts of a data set of a config.
        lists: lists of files, which are cut.
        notes: sentences on what is left out.
        per: files of a part of a list.
    """
    kind: str
    shards: Sequence[SourceShard] = ()
    lists: Sequence[FileList] = ()
    notes: Sequence[str] = field(default=())
    per: int = PER

    def cut(self, encoded: Mapping[str, set[str]] | None = None) -> list[SourceShard]:
        """Return all input shards, in order.

        Args:
            encoded: prefix of a list -> keys of it that other files hold already, which are left out.
        """
        known = encoded or {}
        return [*self.shards, *(shard for files in self.lists
                                for shard in files.cut(self.per, known.get(files.prefix, set())))]


def find_kind(src: str) -> str:
    """Return which of KINDS a place is.

    Raises:
        InputError: nothing is there, or it is something else.
    """
    if src.startswith(PIPE) or src.endswith('.tar'):
        return 'shards'
    if os.path.isdir(src):
        with os.scandir(src) as entries:
            names = [entry.name.lower() for entry in entries if entry.is_file() and not entry.name.startswith('.')]
        if any(name.endswith('.tar') for name in names):
            return 'shards'
        if any(os.path.isfile(os.path.join(src, published_captions(split))) for split in ('train', 'val')):
            return 'coco'
        videos = any(name.endswith(FILES) for name in names) and not any(name.endswith(SUFFIXES) for name in names)
        return 'video' if videos else 'folder'
    ending = os.path.splitext(src)[1].lower()
    if os.path.isfile(src):
        if ending in FILES or ending in ('.json', '.py'):
            return 'video' if ending in FILES else 'coco' if ending == '.json' else 'config'
        what = 'one image; give its folder' if ending in SUFFIXES else 'a file of another kind'
        raise InputError(f'{src} is {what}. Expected a folder of images, shards (.tar), the captions of COCO (.json), '
                         'a video, or a config of data.', 'SRC')
    if '://' in src:
        raise InputError(f'{src} is not on this machine. Copy it here, or let a command read the shards: '
                         f'"pipe:curl -sfL {src}" (or "pipe:aws s3 cp {src} -").', 'SRC')
    if src in list_configs('data') or src in list_configs():
        return 'config'
    if any(mark in src for mark in '*?[{') or '::' in src:
        return 'shards'
    raise InputError(f'{src} does not exist. Expected a folder of images, shards (.tar), the captions of COCO (.json), '
                     'a video, or a config of data such as imagenet.', 'SRC')


def find_source(src: str | os.PathLike, kind: str | None = None, per: int = PER, name: str | None = None,
                stride: int = 1, texts: bool = True, options: Mapping[str, Any] | None = None,
                plugins: Sequence[str] = ()) -> Source:
    """Return the input shards of a data set.

    Args:
        src: folder of images, folder, file or pattern of shards, folder or captions of COCO, video or folder of videos,
            or a config of data.
        kind: one of KINDS; None looks.
        per: images of a part, of what is cut.
        name: of the data set, which begins the names of parts of lists; None takes that of the folder.
        stride: of videos: every so many frames.
        texts: of a folder of images: look for captions.
        options, plugins: of a config.

    Raises:
        InputError: nothing there, no images in it, or of another kind.
    """
    src = os.fspath(src)
    kind = kind or find_kind(src)
    label = name or os.path.basename(os.path.abspath(src)) or 'data'
    if kind == 'shards':
        tars, notes = list_tars(src)
        return Source(kind, tars, notes=notes)
    if kind == 'video':
        videos, lists, notes = list_videos(src, per, stride)
        return Source(kind, videos, lists, notes, per)
    if kind == 'config':
        return Source(kind, _cut_config(src, name, per, options, plugins))
    if kind == 'coco' and os.path.isfile(src):
        folder, file = os.path.split(os.path.abspath(src))
        root = os.path.dirname(folder) if os.path.basename(folder) == 'annotations' else folder
        label = name or os.path.basename(root)
        return Source(kind, lists=[list_coco(root, label, os.path.relpath(os.path.join(folder, file), root))], per=per)
    images = list_coco(src, label) if kind == 'coco' else list_folder(src, label, texts)
    return Source(kind, lists=[images], per=per)


def _cut_config(src: str, name: str | None, per: int, options: Mapping[str, Any] | None,
                plugins: Sequence[str]) -> list[SourceShard]:
    cfg = resolve(load_config(src, options, plugins))
    stem = name or os.path.splitext(os.path.basename(os.path.normpath(src)))[0]
    shards: list[SourceShard] = []
    for part, key in (('train', 'train_dataloader'), ('heldout', 'val_dataloader')):
        data = (cfg.get(key) or {}).get('dataset')
        if data is not None and not any(data.get(root, '') is None for root in ('data_root', 'urls')):
            shards += cut_dataset(data.to_dict() if hasattr(data, 'to_dict') else data, f'{stem}-{part}', per)
    if not shards:
        raise InputError(f'{src} has no data to encode: neither `train_dataloader` nor `val_dataloader` with a place '
                         'for its data. Give it, such as --cfg-options data_root=PATH.', 'SRC')
    return shards
