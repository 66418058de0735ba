"""Text tokens of a sequence: a tokenizer of the package `tokenizers` with the special tokens of images."""
from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.files import replacing
from dtbox.tokenizer_files import hash_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IMAGE, UNCOND = '<image>', '<uncond>'
GIVEN = ('<image_start>', '<image_end>')
"""Around an image that is given."""
DRAWN = ('<image_gen_start>', '<image_gen_end>')
"""Around an image that is generated."""
SPECIAL = (*GIVEN, *DRAWN, IMAGE, UNCOND)


class SequenceTokenizer:
    """Texts to ids and back. The special tokens of images are added where the tokenizer does not have them.

    Args:
        tokenizer: neither pads nor cuts.
        bos, eos, pad: begin of a sequence (None where the language model has none), end of an answer, padding (None
            takes that of the end; padding is never a target).
        chat_template: Jinja text, or None.
        source: where it comes from, for messages.
        rows: rows that a pretrained language model has for text ids; the new tokens come after them, and ids between
            are filled with tokens that no text becomes. None puts the new tokens right after the others.

    Attributes:
        vocab_size: number of ids; the language model needs so many rows.
        added: ids of the tokens that were added here, whose rows are new to a pretrained language model.
        bos, eos, pad, image, uncond: ids; `bos` may be None.
        given, drawn: (id of the start, id of the end) of a given and of a generated image.

    Raises:
        InputError: one of the tokens does not exist, or there are more ids than rows.
    """

    def __init__(self, tokenizer: Tokenizer, bos: str | None, eos: str, pad: str | None = None,
                 chat_template: str | None = None, source: str = 'the text tokenizer',
                 rows: int | None = None) -> None:
        self.tokenizer, self.source = tokenizer, source
        self.chat_template = chat_template
        new = [token for token in SPECIAL if tokenizer.token_to_id(token) is None]
        if new and rows is not None:
            self._fill(rows)
        self._add(SPECIAL)
        self.added = [self.find(token) for token in new]
        self.bos = None if bos is None else self.find(bos)
        self.eos = self.find(eos)
        self.pad = self.eos if pad is None else self.find(pad)
        self.image, self.uncond = self.find(IMAGE), self.find(UNCOND)
        self.given = self.find(GIVEN[0]), self.find(GIVEN[1])
        self.drawn = self.find(DRAWN[0]), self.find(DRAWN[1])
        self.vocab_size = self._count()

    @cached_property
    def special(self) -> dict[str, int]:
        """Every special token, with its id."""
        found = {token.content: i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}
        return {**found, **{self.name(i): i for i in (self.bos, self.eos, self.pad) if i is not None}}

    @property
    def digest(self) -> str:
        """SHA-256 of all tokens and their ids, 16 hex digits."""
        return hash_tokens(self.tokenizer)

    def find(self, token: str) -> int:
        """Return the id of a token; `InputError` where there is none."""
        number = self.tokenizer.token_to_id(token)
        if number is None:
            raise InputError(f'{self.source} has no token `{token}`. Name one that it has, or add it there.')
        return number

    def name(self, number: int) -> str:
        """Return the token of an id, '' where the ids have a gap."""
        return self.tokenizer.id_to_token(number) or ''

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; what looks like a special token is plain text."""
        return self._encode(text, True)

    def encode_marked(self, text: str) -> list[int]:
        """Return the ids of a text in which special tokens are themselves."""
        return self._encode(text, False)

    def decode(self, ids: Sequence[int], special: bool = False) -> str:
        """Return the text of ids, without special tokens unless `special`."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=not special)

    def find_special(self, text: str) -> str | None:
        """Return the first special token that a text spells out, or None."""
        hit = self._any_special.search(text)
        return hit and hit[0]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json and tokenizer_config.json (the names of the special tokens, the chat template), which
        `PretrainedTokenizer` and transformers read."""
        config: dict[str, Any] = dict(tokenizer_class='PreTrainedTokenizerFast', eos_token=self.name(self.eos),
                                      pad_token=self.name(self.pad))
        if self.bos is not None:
            config['bos_token'] = self.name(self.bos)
        if self.chat_template is not None:
            config['chat_template'] = self.chat_template
        with replacing(os.path.join(folder, 'tokenizer.json')) as temporary:
            self.tokenizer.save(temporary)
        with replacing(os.path.join(folder, 'tokenizer_config.json')) as temporary:
            with open(temporary, 'w', encoding='utf-8') as f:
                json.dump(config, f, indent=2, ensure_ascii=False)

    def _count(self) -> int:
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def _add(self, names: Sequence[str]) -> None:
        from tokenizers import AddedToken
        self.tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])

    def _fill(self, rows: int) -> None:
        size = self._count()
        if size > rows:
            raise InputError(f'{self.source} has {format_count(size, "id")}, the language model '
                             f'{format_count(rows, "row")} for them. Give the tokenizer that belongs to it.')
        self._add([f'<unused_{i}>' for i in range(size, rows)])
        if self._count() != rows:
            raise InputError(f'{self.source} has ids with gaps, which cannot be filled up to the '
                             f'{format_count(rows, "row")} of the language model.')

    def _encode(self, text: str, plain: bool) -> list[int]:
        try:
            text.encode()
        except UnicodeEncodeError as e:
            raise InputError(f'the text {text[:60]!r} is not Unicode that can be written as UTF-8 (half a surrogate '
                             'pair?). Repair it or leave it out.') from e
        self.tokenizer.encode_special_tokens = plain
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    @cached_property
    def _any_special(self) -> re.Pattern[str]:
        return re.compile('|'.join(re.escape(token) for token in sorted(self.special, key=len, reverse=True)))
