"""Text tokenizers of the package `tokenizers`: the tokenizer.json of somebody else, and a byte-level BPE."""
from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from dtbox.counts import format_count
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
    return check_tokenizer(tokenizer, file)


def check_tokenizer(tokenizer: Tokenizer, source: str) -> Tokenizer:
    """Return a tokenizer that neither pads nor cuts.

    Args:
        tokenizer: of the package `tokenizers`.
        source: where it comes from, for messages.

    Raises:
        InputError: its normalizer could make a text of any length.
    """
    normalizer = tokenizer.normalizer
    if normalizer is not None and _grow(json.loads(normalizer.__getstate__())) > MOST:
        raise InputError(f'the normalizer of {source} may make a text more than {MOST:,} times as long: it is damaged.')
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def hash_tokens(tokenizer: Tokenizer) -> str:
    """Return the SHA-256 of all tokens and their ids, 16 hex digits."""
    listing = json.dumps(sorted(tokenizer.get_vocab(with_added_tokens=True).items()))
    return hashlib.sha256(listing.encode('utf-8', 'surrogatepass')).hexdigest()[:16]


def train_byte_bpe(texts: Collection[str], size: int, special: Sequence[str] = ()) -> Tokenizer:
    """Train a byte-level BPE (GPT-2: Radford et al., 2019), which can write every text.

    Args:
        texts: strings.
        size: most entries, special ones and the 256 bytes included; few texts give fewer.
        special: tokens that no text becomes; they have the first ids.

    Raises:
        InputError: no text, or a size without room for the bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    least = 256 + len(special)
    if size < least:
        raise InputError(f'a byte-level BPE of {format_count(size, "entry")} has no room for 256 bytes and '
                         f'{len(special)} special tokens. Set `size` to at least {least}.', 'size')
    if not any(text.strip() for text in texts):
        raise InputError(f'none of the {format_count(len(texts), "text")} has a word; a tokenizer needs some.')
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(texts, trainer)
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
