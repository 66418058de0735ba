"""How much longer the normalizer of a tokenizer.json makes a text."""
from __future__ import annotations

import json
import math
from typing import Any

from dtbox.errors import InputError


MOST = 4096
"""Characters that may come of one."""


def check_growth(normalizer: Any, file: str) -> None:
    """Raise `InputError` where a normalizer of the package `tokenizers`, or None, could make a text of any length;
    `file` is whose it is."""
    if normalizer is not None and _grow(json.loads(normalizer.__getstate__())) > MOST:
        raise InputError(f'the normalizer of {file} may make a text more than {MOST:,} times as long: it is damaged.')


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
