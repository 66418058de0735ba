"""A tokenizer.json of somebody else, opened by the package `tokenizers`."""
from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from dtbox.errors import InputError, is_fault

if TYPE_CHECKING:
    from tokenizers import Tokenizer


MOST = 4096
"""Characters that may come of one."""


def open_tokenizer(file: str) -> Tokenizer:
    """Open a tokenizer.json; it neither pads nor cuts.

    Raises:
        InputError: a file that the package cannot read, or a normalizer that could make a text of any length.
    """
    from tokenizers import Tokenizer
    try:
        tokenizer = Tokenizer.from_file(file)
    except BaseException as e:
        if not is_fault(e):
            raise
        raise InputError(f'{file} is not a tokenizer.json that the `tokenizers` package can read: {e}') from e
    normalizer = tokenizer.normalizer
    if normalizer is not None and _grow(json.loads(normalizer.__getstate__())) > MOST:
        raise InputError(f'the normalizer of {file} may make a text more than {MOST:,} times as long: it is damaged.')
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _grow(node: dict[str, Any]) -> int:
    """Return the most characters that come of one."""
    if node.get('type') == 'Sequence':
        return math.prod(map(_grow, node.get('normalizers', ())))
    if node.get('type') == 'Prepend':
        return 1 + len(node.get('prepend', ''))
    if node.get('type') != 'Replace':
        return 1
    content, pattern = len(node.get('content', '')), node.get('pattern', {}).get('String')
    return max(1, -(-content // len(pattern)) if pattern else 1 + content)  # an expression may match between characters
