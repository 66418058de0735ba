"""Lists of image files, cut at a fixed count: folders of images, COCO, folders of frames."""
from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from dtbox.datasets.coco import SPLITS, CocoCaptions
from dtbox.datasets.image_folder import ImageFolder
from dtbox.datasets.read import read_image
from dtbox.errors import InputError
from dtbox.files import require_file
from dtbox.tokens.sources.base import Decode, Found, Item, SourceLost, SourceShard, find_in_bytes, hash_names

AWAY = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.EHOSTDOWN)
"""What the system says of a file whose disk does not answer."""


class FileEntry(NamedTuple):
    """One image file.

    Attributes:
        key: of the image.
        path: of the file.
        texts: captions.
    """
    key: str
    path: str
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class FileShard(SourceShard):
    """A part of a list of image files.

    Attributes:
        entries: the files.
    """
    entries: tuple[FileEntry, ...]

    def items(self) -> Iterator[Item]:
        """Yield an item a file."""
        for index, entry in enumerate(self.entries):
            yield Item(entry.key, index, partial(read_entry, entry))

    def count(self) -> int:
        """Return the number of files."""
        return len(self.entries)


@dataclass(frozen=True)
class FileList:
    """A list of image files.

    Attributes:
        name: of the data set, as given or that of its folder.
        entries: the files, in order.
    """
    name: str
    entries: Sequence[FileEntry]

    @property
    def prefix(self) -> str:
        """What the names of the parts of this list begin with: the name, and a hash of all keys."""
        return f'{self.name}-{hash_names(entry.key for entry in self.entries)}'

    def cut(self, per: int, without: frozenset[str] | set[str] = frozenset()) -> list[FileShard]:
        """Return the parts of the list.

        Args:
            per: files of a part.
            without: keys that are left out, since they are encoded already.
        """
        kept = [entry for entry in self.entries if entry.key not in without]
        return [FileShard(f'{self.prefix}-{number:06d}', tuple(kept[first:first + per]))
                for number, first in enumerate(range(0, len(kept), per))]


def read_entry(entry: FileEntry, decode: Decode | None = None) -> Found:
    """Return what an image file holds; `SourceLost` where its folder is gone: a disk that is no longer there leaves no
    trace in the results."""
    try:
        content = read_file(entry.path)
    except InputError as e:  # results do not depend on places
        folder = os.path.dirname(entry.path)
        if not os.path.isdir(folder) or isinstance(e.__cause__, OSError) and e.__cause__.errno in AWAY:
            raise SourceLost(f'the folder {folder} is gone, or cannot be read any more. Bring it back.') from e
        return Found(None, texts=entry.texts, error=str(e).replace(entry.path, entry.key))
    return find_in_bytes(content, entry.texts, decode=decode)


def read_file(path: str) -> bytes:
    """Return the bytes of an image file; `InputError` where there are none to read, worded as those of `read_image`."""
    try:
        require_file(path)
        with open(path, 'rb') as file:
            return file.read()
    except OSError as e:
        read_image(path)  # raises
        raise InputError(f'the image {path} cannot be read ({e.strerror or e}).') from e


def list_folder(folder: str, name: str, texts: bool = True) -> FileList:
    """Return the images of a folder: those that `ImageFolder` uses, broken and small ones included, with its texts.

    Args:
        folder: of the images.
        name: of the data set.
        texts: look for captions.

    Raises:
        InputError: a folder without images, captions that cannot be read.
    """
    captions = None if texts else False
    whole = ImageFolder(folder, 'all', captions=captions, check=False)
    parts = [whole]
    if whole.images[0].part:  # each part may have captions of its own
        parts = [ImageFolder(folder, split, captions=captions, check=False) for split in ('train', 'heldout')]
    entries = [FileEntry(image.key, os.fspath(image.path), part.captions_of(image.key)) for part in parts
               for image in part.images]
    return FileList(name, sorted(entries))


def list_coco(root: str, name: str, annotations: str | None = None) -> FileList:
    """Return the images of COCO's caption files.

    Args:
        root: folder of COCO, or of another data set of its form.
        name: of the data set.
        annotations: the file to take, relative to `root`; None takes those of the published splits that are there.
    """
    found = [split for split in SPLITS if os.path.isfile(os.path.join(root, published_captions(split)))]
    if annotations is not None:
        split = next((split for split in SPLITS if split in os.path.basename(annotations)), SPLITS[0])
        data = [CocoCaptions(root, split, annotations)]
    else:
        data = [CocoCaptions(root, split) for split in found]
    entries: list[FileEntry] = []
    for part in data:
        folder = os.path.relpath(part.folder, root)
        for index in range(len(part)):
            file = part.key(index)
            texts = part.captions[index] if part.captions else ()
            entries.append(FileEntry(make_key(os.path.normpath(os.path.join(folder, file))),
                                     os.path.join(part.root, file), tuple(texts)))
    return FileList(name, entries)


def published_captions(split: str) -> str:
    """Return where the captions of a split of COCO lie, relative to its folder."""
    return CocoCaptions.published[0].format(split=split)


def make_key(path: str) -> str:
    """Return a path as a key: what is not UTF-8 is spelt with backslashes, as in folders of images."""
    return os.fsencode(path).decode('utf-8', 'backslashreplace').replace(os.sep, '/')
