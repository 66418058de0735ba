"""What an input shard is: a bounded part of a data set, which travels to the process that encodes it."""
from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Optional

from PIL import Image

from dtbox.datasets.read import read_image
from dtbox.errors import InputError

HEAD = 4096
"""Bytes at the beginning of a file that tell it from others, together with its size."""


class SourceLost(InputError):
    """The place of the images is gone, which says nothing of the images: their shard is to be encoded another time."""


class Found(NamedTuple):
    """What was read of an item.

    Attributes:
        image: upright RGB; None where `error` says why not.
        digest: blake2b of 16 bytes, of the bytes of the file; of the pixels where the image has no file of its own; b''
            where nothing can be read.
        texts: captions.
        error: a sentence, or None.
    """
    image: Optional[Image.Image]
    digest: bytes = b''
    texts: Sequence[str] = ()
    error: Optional[str] = None


Decode = Callable[[bytes], Image.Image]
"""Bytes of the file of an image -> upright RGB; `InputError` where they cannot be decoded."""


@dataclass(frozen=True)
class Item:
    """One image of an input shard, not read yet.

    Attributes:
        key: tells it from the others of its data set.
        index: its number in the shard.
        read: returns what the item holds, an image that is broken included; raises `SourceLost`. Any thread may call
            it. It is called with what decodes the file of an image, see `find_in_bytes`.
    """
    key: str
    index: int
    read: Callable[..., Found]


@dataclass(frozen=True)
class SourceShard:
    """A part of a data set that becomes one file of tokens. It can be pickled.

    Attributes:
        name: tells it from all other input shards; a function of what it holds, as far as that is known without reading
            the images.
    """
    name: str

    def items(self) -> Iterator[Item]:
        """Yield the items in order, the same ones in each call.

        Raises:
            InputError: nothing of the shard can be read.
        """
        raise NotImplementedError(f'{type(self).__name__} must write items().')

    def count(self) -> int:
        """Return the number of items, without reading them where that can be known."""
        return sum(1 for _ in self.items())


def hash_bytes(content: bytes) -> bytes:
    """Return the blake2b of 16 bytes of some bytes."""
    return hashlib.blake2b(content, digest_size=16).digest()


def hash_names(names: Iterable[str]) -> str:
    """Return a hash of names in their order, 8 hex digits."""
    digest = hashlib.blake2b(digest_size=4)
    for name in names:
        digest.update(name.encode('utf-8', 'surrogatepass') + b'\0')
    return digest.hexdigest()


def hash_head(path: str | os.PathLike) -> str:
    """Return a hash of the size of a file and of its beginning, 8 hex digits; `InputError` where it cannot be read."""
    try:
        with open(path, 'rb') as file:
            size = os.fstat(file.fileno()).st_size
            return hashlib.blake2b(f'{size}\0'.encode() + file.read(HEAD), digest_size=4).hexdigest()
    except OSError as e:
        raise InputError(f'{os.fspath(path)} cannot be read ({e.strerror or e}).') from e


def find_in_bytes(content: bytes, texts: Sequence[str] = (), error: str | None = None,
                  decode: Decode | None = None) -> Found:
    """Return what the file of an image holds.

    Args:
        content: bytes of the file.
        texts: captions of the image.
        error: what else is wrong with it, or None.
        decode: decoder of the file; None takes Pillow.
    """
    try:
        image = decode(content) if decode else read_image(io.BytesIO(content))
    except InputError as e:
        return Found(None, hash_bytes(content), texts, str(e))
    return Found(None if error else image, hash_bytes(content), texts, error)


def find_in_image(image: Image.Image, texts: Sequence[str] = ()) -> Found:
    """Return what an image without a file of its own holds: a frame of a video, an entry of an archive."""
    image = read_image(image)
    head = f'{image.width}x{image.height}:'.encode()
    return Found(image, hash_bytes(head + image.tobytes()), texts)


def tell_flaws(flaws: Iterable[str], name: str, start: int, hidden: str = '') -> Iterator[Item]:
    """Yield an item for each flaw of a shard, such as a sample that is cut short, so that counts add up.

    Args:
        flaws: sentences.
        name: of the shard.
        start: number of the first item.
        hidden: path of the shard, which the sentences would otherwise name: results do not depend on places.
    """
    for number, flaw in enumerate(flaws):
        found = Found(None, error=flaw.replace(hidden, name) if hidden else flaw)
        yield Item(f'{name}/flaw-{number}', start + number, partial(give, found))


def give(found: Found, decode: Decode | None = None) -> Found:
    """Return what was found before; nothing is left to decode."""
    return found
