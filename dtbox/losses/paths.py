"""Every path of a TokenizerOutput that a loss may name in `requires`. The table of `losses/README.md` is this one."""
from __future__ import annotations

from dtbox.errors import InputError, closest

PATHS = {
    'images': 'the input [B, 3, H, W] in [-1, 1]',
    'reconstructions': 'the decoder\'s images [B, 3, H, W], nominally in [-1, 1], not clamped',
    'codes.NAME': 'codes [B, N, Q] int64; no gradient',
    'features.NAME': 'features of a vocabulary after its post-projection [B, N, D]',
    'losses': 'dict of dicts: all terms of all quantizers, by the name of the vocabulary or shared quantizer',
    'losses.NAME': 'dict: the terms of one quantizer',
    'losses.NAME.TERM': 'one scalar term of a quantizer, such as `losses.pixel.commitment`',
    'pooled': 'output of the head [B, E], not normalised',
    'last': 'tokens that the head reads: trunk [B, P + N, D] or vocabulary [B, N, D]',
    'text_pooled': 'output of the text tower [B, E], not normalised, for the texts of the batch',
    'logit_scale': 'scalar of the contrastive loss, a logarithm; there beside `text_pooled`',
    'logit_bias': 'scalar of the contrastive loss; there beside `text_pooled`',
    'teacher.tokens': 'raw output of the teacher\'s layer [B, N, D]; frozen',
    'teacher.pooled': 'the teacher\'s pooled output [B, E], not normalised; frozen',
    'teacher.last': 'the teacher\'s tokens after its last block [B, P + N, D]; frozen',
}
"""Path -> what it holds. NAME and TERM stand for one name each.

B images, N tokens, P prefix tokens, Q codes per token, D and E widths.
"""


def match_path(path: str) -> str | None:
    """Return the entry of `PATHS` that a path is one of (`features.pixel` -> `features.NAME`), or None."""
    if path in PATHS:
        return path
    parts = path.split('.')
    for known in PATHS:
        words = known.split('.')
        if len(words) == len(parts) and all(w == p or (w.isupper() and p.isidentifier()) for w, p in zip(words, parts)):
            return known
    return None


def check_paths(paths: tuple[str, ...] | list[str], reader: str) -> None:
    """Raise `InputError` where a path is not one that a loss may require.

    Args:
        paths: dotted names of TokenizerOutput fields.
        reader: who requires them, for the message.
    """
    for path in paths:
        if match_path(path) is None:
            raise InputError(f'{reader} requires `{path}`, which is not a field of a tokenizer\'s '
                             f'output.{closest(path, PATHS)} '
                             f'Legal are: {", ".join(PATHS)} (see dtbox/losses/README.md).')
