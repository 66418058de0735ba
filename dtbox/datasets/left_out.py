"""What lies with the data and is not used, in sentences: how many, of which kind, and why."""
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence

from dtbox.counts import format_count

DOCUMENTS = ('.md', '.rst', '.pdf', '.html', '.htm', '.py', '.ipynb', '.sh', '.log', '.db', '.ini', '.url')
"""How the names of files end that belong to nobody's data."""
NAMES = ('readme', 'license', 'licence', 'copying', 'notice', 'authors', 'changelog', 'makefile')
"""Files without a suffix of which the same is true, in lower case."""
TEXTS = ('.txt', '.json', '.jsonl', '.csv', '.tsv')
"""How the names of files end that may hold texts."""
EXTRA = {'.heic': 'pillow-heif', '.heif': 'pillow-heif', '.jxl': 'pillow-jxl-plugin'}
"""Kind of image -> the package by which Pillow could be taught to read it; convert such files to PNG or JPEG."""
TOLD = 5
"""Names that a sentence holds at most."""


def get_suffix(name: str) -> str:
    """Return how the name of a file ends, in lower case, under which it is counted; '' where nobody misses the file:
    a document, or one that a system hides (`._a.jpg`, `.DS_Store`)."""
    stem, suffix = os.path.splitext(name.lower())
    if stem.startswith('.') or suffix in DOCUMENTS or not suffix and stem in NAMES:
        return ''
    return suffix or 'no suffix'


def describe_suffixes(counts: Counter[str], kinds: str = 'the kinds of images that are read', texts: str = '',
                      what: str = 'file') -> list[str]:
    """Return a sentence for each kind of file that is left out.

    Args:
        counts: suffix, as `get_suffix` returns it -> number of files.
        kinds: what they are not among.
        texts: why files that could hold texts are left out, where that is another reason.
        what: 'file', or 'member' of an archive.
    """
    sentences = []
    for suffix, count in sorted(counts.items()):
        if suffix and count > 0:
            one = {'no suffix': 'has no suffix', 'link': 'is a link'}.get(suffix, f'ends in {suffix}')
            many = {'no suffix': 'have no suffix', 'link': 'are links'}.get(suffix, f'end in {suffix}')
            end = f'{one} is' if count == 1 else f'{many} are'
            extra = f', which Pillow reads with the package {EXTRA[suffix]}; convert them' if suffix in EXTRA else ''
            why = texts if texts and suffix in TEXTS else f'not among {kinds}{extra}'
            sentences.append(f'{format_count(count, what)} that {end} left out: {why}')
    return sentences


def name_some(names: Iterable[str]) -> str:
    """Return the first names as text, with '...' where there are more."""
    names = list(names)
    return ', '.join(names[:TOLD]) + (', ...' if len(names) > TOLD else '')


def describe_unnamed(folder: str | os.PathLike[str], names: Iterable[str], suffixes: Sequence[str],
                     source: object) -> list[str]:
    """Return a sentence on the images of a folder (not of those in it) that a list does not name; [] where it names
    all.

    Args:
        folder: of the images.
        names: names of the files that are used.
        suffixes: of images.
        source: what the list is, for the sentence.
    """
    known = {os.path.basename(name) for name in names}
    with os.scandir(os.fspath(folder)) as entries:
        others = sorted(e.name for e in entries if e.name not in known and not e.name.startswith('.')
                        and os.path.splitext(e.name)[1].lower() in suffixes)
    return [f'{format_count(len(others), "image", "is")} left out in {folder}: not named by {source}, such as '
            f'{name_some(others)}'] if others else []
