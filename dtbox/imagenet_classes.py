"""The 1,000 classes of ImageNet-1k in their standard order: WordNet ids, the names that CLIP uses, and WordNet's words.

All come from files of installed packages (timm, open_clip).
"""
from __future__ import annotations

from pathlib import Path

from dtbox.counts import format_count

COUNT = 1000
"""Number of classes."""


def _find_info(name: str) -> Path:
    import timm.data
    return Path(timm.data.__file__).parent / '_info' / name


def list_wnids() -> list[str]:
    """Return the WordNet ids of the 1,000 classes in their standard order (sorted, as torchvision's ImageFolder has
    them)."""
    path = _find_info('imagenet_synsets.txt')
    ids = path.read_text().split()
    if len(ids) != COUNT or ids != sorted(ids):
        raise RuntimeError(f'{path} holds {format_count(len(ids), "id")}; expected 1,000 in order. Another version of '
                           'timm?')
    return ids


def list_class_names() -> list[str]:
    """Return the 1,000 class names that OpenAI and open_clip use for zero-shot classification, in the order of
    `list_wnids`."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
    return list(IMAGENET_CLASSNAMES)


def list_words() -> list[list[str]]:
    """Return WordNet's words for each class, in the order of `list_wnids`: 'cock' is one of class 7."""
    rows = (line.split('\t') for line in
            _find_info('imagenet_synset_to_lemma.txt').read_text(encoding='utf-8').split('\n'))
    words = {row[0]: row[1].split(', ') for row in rows if len(row) == 2}
    return [words[wnid] for wnid in list_wnids()]
