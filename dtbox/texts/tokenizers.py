"""Text tokenizers: strings to token ids [T, L], from local files.

`FileTokenizer` reads a Hugging Face `tokenizer.json` (the small word-level one of the zoo, or SigLIP's);
`OpenCLIPTokenizer` is the BPE that open_clip packages.

Legend: T texts, L ids of a text.
"""
from __future__ import annotations

import os
import re
import string
import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError, Remark, is_fault, reason
from dtbox.files import replacing
from dtbox.registry import TEXT_TOKENIZERS
from dtbox.tokenizer_files import open_tokenizer
from dtbox.values import Positive
from dtbox.weights.state_dicts import find_local_path

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def canonicalize(text: str) -> str:
    """Turn underscores into spaces, delete ASCII punctuation, lower the case, collapse white space: SigLIP's rule
    (big_vision's `get_lowercase` pipeline; open_clip's `canonicalize_text`). Accents, vowel signs and emoji stay."""
    return ' '.join(text.replace('_', ' ').translate(_NO_PUNCTUATION).lower().split())


def keep_words(text: str) -> str:
    """Lower the case, turn underscores into spaces, keep letters, digits and white space alone: the rule of
    `train_word_tokenizer` and of the word-level tokenizers that it has made."""
    text = re.sub(r'[^\w\s]', '', text.replace('_', ' ').lower())
    return re.sub(r'\s+', ' ', text).strip()


LONGEST = 256
"""Characters of a text for each id that the tower reads, after which it is cut before it is tokenized."""
MOST_GAPS = 8
"""Times the number of tokens that ids may reach."""
_NO_PUNCTUATION = str.maketrans('', '', string.punctuation)


class TextTokenizer:
    """Base class of text tokenizers.

    Attributes:
        context_length: number of ids L per text.
        vocab_size: number of ids.
        file: path of the file that defines it, or None; a run folder keeps a copy.
        warned: whether it has warned that it cuts texts.
        warned_of_unknown: whether it has warned of words that it does not know.
        unknown_id: id of words that have none of their own, or None.
    """
    context_length: int = 0
    vocab_size: int = 0
    file: str | None = None
    warned: bool = False
    warned_of_unknown: bool = False
    unknown_id: int | None = None

    def ids(self, text: str) -> list[int]:
        """Return the ids of one text, of any length."""
        raise NotImplementedError

    def find_unknown(self, text: str) -> list[str]:
        """Return the words of a text that have no id of their own."""
        return []

    def pack(self, ids: list[int]) -> list[int]:
        """Pad or cut ids to `context_length`."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike) -> None:
        """Write the file that defines it, where there is one."""

    def __call__(self, texts: Sequence[str], truncate: bool = True) -> Tensor:
        """Tokenize.

        Args:
            texts: strings.
            truncate: cut texts that are too long (with one warning); False raises an `InputError`.

        Returns:
            [T, L] int64.
        """
        rows, unknown = [], []
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f'text {i} is {type(text).__name__}; expected a string.')
            if not text.strip():
                raise InputError(f'text {i} is empty; expected at least one word.')
            try:
                text.encode()
            except UnicodeEncodeError as e:
                raise InputError(f'text {i} is {text[:60]!r}, which is not Unicode that can be written as UTF-8 (half '
                                 'a surrogate pair?). Repair it or leave it out.') from e
            ids = self._find_ids(i, text, truncate)
            if len(ids) > self.context_length:
                message = (f'text {i} has {format_count(len(ids), "token")}, but the text tower reads at most '
                           f'{self.context_length} ("{text[:60]}...").')
                if not truncate:
                    raise InputError(message + ' Shorten it, or pass truncate=True to have it cut.')
                if not self.warned:
                    warnings.warn(message + ' It is cut, as are others that are too long.', Remark,
                                  stacklevel=2)
                    self.warned = True
            if not self.warned_of_unknown and self.unknown_id in ids:
                unknown += self.find_unknown(text[:LONGEST * self.context_length])
            rows.append(self.pack(ids))
        if unknown:
            self._warn_of_unknown(Counter(unknown), len(rows))
        return torch.tensor(rows, dtype=torch.int64).view(len(rows), self.context_length)

    def _warn_of_unknown(self, unknown: Counter, count: int) -> None:
        """Count and name the unknown words of the first `count` texts that have some."""
        self.warned_of_unknown = True
        some = ', '.join(f'"{word[:40]}"' for word, _ in unknown.most_common(5))
        named = some + (', ...' if len(unknown) > 5 else '')
        warnings.warn(f'in {format_count(count, "text")}, {format_count(sum(unknown.values()), "word", "is")} not in '
                      f'the vocabulary of the text tokenizer: {named}. They become the token for unknown words, as do '
                      'those of later texts. '
                      '`dtbox train-text-tokenizer` makes a tokenizer of other texts, for a text tower that is '
                      'trained with it.', Remark, stacklevel=4)

    def _find_ids(self, i: int, text: str, truncate: bool) -> list[int]:
        """Return the ids of the text at position `i`; of a very long one those of its beginning, where it may be cut:
        the time that a tokenizer takes can grow with the square of the length."""
        most = LONGEST * self.context_length
        if len(text) > most and not truncate:
            raise InputError(f'text {i} has {format_count(len(text), "character")}, and the text tower reads at most '
                             f'{format_count(self.context_length, "token")}. Shorten it, or pass truncate=True to '
                             'have it cut.')
        try:
            return self.ids(text[:most])
        except BaseException as e:
            if not is_fault(e):  # regular expressions of `tokenizers` are bounded
                raise
            raise InputError(f'the text tokenizer {self.file} cannot read text {i}, "{text[:40]}" ({reason(e)}): a '
                             'regular expression in it takes too long, or it is damaged.') from e


@TEXT_TOKENIZERS.register_module()
class FileTokenizer(TextTokenizer):
    """A tokenizer.json of the `tokenizers` package.

    Args:
        file: path, or `dtbox://NAME/tokenizer.json`.
        context_length: ids per text; shorter texts are padded at the end.
        pad: the padding token's text.
        clean: canonicalise the text first, as SigLIP does; for a word-level tokenizer by `keep_words`.
    """

    def __init__(self, file: str, context_length: Positive = 64, pad: str = '<pad>', clean: bool = True) -> None:
        if not isinstance(context_length, int) or not 0 < context_length <= 1 << 20:
            raise InputError(f'`context_length` is {context_length!r}; expected the ids of a text, an int from 1 to '
                             f'{1 << 20:,}.', 'context_length')
        self.file = find_local_path(file)
        if not os.path.isfile(self.file):
            raise InputError(f'the tokenizer file {file} does not exist. Give the path of a tokenizer.json.')
        self.tokenizer = open_tokenizer(self.file)
        words = type(self.tokenizer.model).__name__ == 'WordLevel'
        self.clean = (keep_words if words else canonicalize) if clean else str
        self.context_length = context_length
        ids = self.tokenizer.get_vocab(with_added_tokens=True).values()
        self.vocab_size = max(ids, default=-1) + 1
        if self.vocab_size > MOST_GAPS * max(len(ids), 1000):
            raise InputError(f'the tokenizer file {file} has {format_count(len(ids), "token")} and an id of '
                             f'{self.vocab_size - 1:,}: it is damaged.')
        self.special = {i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}
        pad_id = self.tokenizer.token_to_id(pad)
        if pad_id is None:
            raise InputError(f'{file} has no token `{pad}` to pad with; set `pad` to its padding token.')
        self.pad_id: int = pad_id
        unknown = getattr(self.tokenizer.model, 'unk_token', None)
        self.unknown_id = self.tokenizer.token_to_id(unknown) if unknown else None

    def find_unknown(self, text: str) -> list[str]:
        """Return the words of a text that become the unknown token."""
        cleaned = self.clean(text)
        encoding = self.tokenizer.encode(cleaned)
        return [cleaned[start:end] for number, (start, end) in zip(encoding.ids, encoding.offsets)
                if number == self.unknown_id]

    def ids(self, text: str) -> list[int]:
        """Return the ids of one text."""
        return self.tokenizer.encode(self.clean(text)).ids

    def save(self, path: str | os.PathLike) -> None:
        """Write tokenizer.json."""
        with replacing(path) as temporary:
            self.tokenizer.save(temporary)

    def pack(self, ids: list[int]) -> list[int]:
        """Pad at the end, or cut, to `context_length`; a special token (end of text) at the end stays there."""
        if len(ids) > self.context_length and ids[-1] in self.special:
            return ids[:self.context_length - 1] + ids[-1:]
        return (ids + [self.pad_id] * self.context_length)[:self.context_length]


@TEXT_TOKENIZERS.register_module()
class OpenCLIPTokenizer(TextTokenizer):
    """CLIP's byte-pair encoding as open_clip packages it (start and end token, zero padding).

    Args:
        context_length: ids per text; a longer text keeps its end token.
    """

    def __init__(self, context_length: int = 77) -> None:
        from open_clip.tokenizer import SimpleTokenizer
        self.tokenizer = SimpleTokenizer(context_length=context_length)
        self.context_length, self.vocab_size = context_length, self.tokenizer.vocab_size

    def ids(self, text: str) -> list[int]:
        """Return the ids of one text, with start and end token."""
        return [self.tokenizer.sot_token_id, *self.tokenizer.encode(text), self.tokenizer.eot_token_id]

    def pack(self, ids: list[int]) -> list[int]:
        """Pad with zeros, or cut and end with the end token."""
        if len(ids) > self.context_length:
            return ids[:self.context_length - 1] + [self.tokenizer.eot_token_id]
        return ids + [0] * (self.context_length - len(ids))


def train_word_tokenizer(texts: Collection[str], min_count: int = 1) -> Tokenizer:
    """Make a word-level tokenizer from texts: <pad> = 0, <unk> = 1, then the words by falling count.

    Args:
        texts: strings; see `keep_words`.
        min_count: words seen less often become <unk>.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    counts = Counter(word for text in texts for word in keep_words(text).split())
    words = [w for w, n in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0])) if n >= min_count]
    if not words:
        raise InputError(f'none of the {format_count(sum(1 for _ in texts), "text")} has a word; a tokenizer needs '
                         'some.')
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(['<pad>', '<unk>', *words])}, unk_token='<unk>'))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer
