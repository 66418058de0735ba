"""What the members of one sample of a shard say: captions and a class."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from dtbox.datasets.base import BrokenSample
from dtbox.datasets.captions import read_texts
from dtbox.datasets.shards.places import Place
from dtbox.errors import InputError, reason
from dtbox.files import parse_json


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        key: SHARD/KEY.
        place: of its shard.
        members: suffix -> (offset, size) in bytes.
        fetch: returns the bytes of such a pair.
    """
    key: str
    place: Place
    members: dict[str, tuple[int, int]]
    fetch: Callable[[tuple[int, int]], bytes]

    def read(self, suffix: str) -> bytes:
        """Return the content of a member."""
        return self.fetch(self.members[suffix])


def read_captions(sample: Sample, sources: Sequence[str]) -> list[str]:
    """Return the captions of a sample: those of the first source that has some, [] where none has.

    Args:
        sample: Sample.
        sources: 'txt' or 'json:KEY' each.

    Raises:
        BrokenSample: a member that cannot be read.
    """
    for source in sources:
        kind, _, name = source.partition(':')
        if kind not in sample.members:
            continue
        content = sample.read(kind)
        where = f'of sample {sample.key} in {sample.place}'
        try:
            value = parse_json(content).get(name) if kind == 'json' else content.decode('utf-8-sig')
        except UnicodeDecodeError as e:
            raise BrokenSample(sample.key, f'the text {where} is not UTF-8 ({reason(e)})') from e
        except (ValueError, AttributeError) as e:
            raise BrokenSample(sample.key, f'the member .json {where} is no JSON object ({e})') from e
        try:
            texts = read_texts(value, f'`{name or kind}` {where}')
        except InputError as e:
            raise BrokenSample(sample.key, str(e)) from e
        if texts:
            return texts
    return []


def read_label(sample: Sample, member: Optional[str], classes: Sequence[str]) -> int:
    """Return the class index of a sample, -1 where it has none.

    Args:
        sample: Sample.
        member: suffix of the member that holds it, or None.
        classes: names of the classes; () where they are not known.

    Raises:
        BrokenSample: it is no class index.
    """
    if member not in sample.members:
        return -1
    text = sample.read(member).decode('ascii', 'replace').strip()
    if not text.isdecimal() or len(text) > 18 or classes and int(text) >= len(classes):
        most = f'from 0 to {len(classes) - 1}' if classes else '>= 0'
        raise BrokenSample(sample.key, f'sample {sample.key} in {sample.place} has the class {text[:20]!r}; expected '
                                       f'an index {most}')
    return int(text)


def list_labels(samples: Iterable[Sample], member: Optional[str], classes: Sequence[str]) -> np.ndarray:
    """Return the class index of each sample [n] int64, -1 where it has none or `read_label` cannot read it."""
    labels = []
    for sample in samples:
        try:
            labels.append(read_label(sample, member, classes))
        except BrokenSample:  # reading the whole sample says why
            labels.append(-1)
    return np.array(labels, dtype=np.int64)
