"""The one module that reads and writes the names of metric values.

The name of a value is `[SET/]METRIC[@PROTOCOL][/PART...][/SIDE | /depthN][/stderr]`:

- `all/psnr`: the metric `psnr` of the set `all`, measured by the recipe's own metrics;
- `val/psnr@reconstruction`: `psnr` of the set `val`, measured by the protocol `reconstruction`;
- `val/zeroshot_top1@zeroshot/tokens`: a value with a side, of the student's `tokens` or of the `teacher`;
- `all/usage/pixel/depth1`: a value of the vocabulary `pixel` at the quantizer depth 1, counted from 0;
- `all/psnr/stderr`: the standard error of `all/psnr`; it has no row or column of its own.

A name without set and protocol is called plain.
"""
from __future__ import annotations

import re
from dataclasses import dataclass

ALL = 'all'
"""The column that merges every held-out set."""
SIDES = ('teacher', 'tokens')
"""Sides of a value: what the frozen teacher scores, and what the tokens score."""
STDERR = '/stderr'
_DEPTH = re.compile(r'(.+)/depth([0-9]+)')


@dataclass(frozen=True)
class MetricName:
    """The parts of a name.

    Attributes:
        set: held-out set, '' where the name has none.
        protocol: name of the protocol, '' for the recipe's own metrics.
        plain: name without set and protocol: 'zeroshot_top1/tokens'.
        value: plain name without `side`, `depth` and `/stderr`: 'zeroshot_top1'.
        side: 'teacher', 'tokens' or ''.
        depth: depth of the quantizer from 0, or None.
        is_stderr: whether it is the standard error of another value.
    """
    set: str
    protocol: str
    plain: str
    value: str
    side: str
    depth: int | None
    is_stderr: bool

    @property
    def key(self) -> str:
        """The plain name without side: values of one key stand side by side in one row."""
        return self.plain[:-len(self.side) - 1] if self.side else self.plain


def read_name(name: str, has_set: bool = True) -> MetricName:
    """Read a name of the form SET/METRIC, or METRIC where `has_set` is false."""
    part, rest = split_set(name) if has_set else ('', name)
    plain, protocol = split_protocol(rest)
    value, side = split_side(plain[:-len(STDERR)] if is_stderr(plain) else plain)
    match = _DEPTH.fullmatch(value)
    value, depth = (match[1], int(match[2])) if match else (value, None)
    return MetricName(part, protocol, plain, value, side, depth, is_stderr(plain))


def split_set(name: str) -> tuple[str, str]:
    """Split SET/METRIC: 'all/psnr/stderr' -> ('all', 'psnr/stderr')."""
    part, _, rest = name.partition('/')
    return part, rest


def split_side(name: str) -> tuple[str, str]:
    """Split off the side: 't2i_r1/tokens' -> ('t2i_r1', 'tokens'), 'psnr' -> ('psnr', '')."""
    head, _, last = name.rpartition('/')
    return (head, last) if head and last in SIDES else (name, '')


def add_protocol(name: str, protocol: str) -> str:
    """Name a metric of a protocol: ('zeroshot_top1/tokens', 'P') -> 'zeroshot_top1@P/tokens'."""
    head, slash, rest = name.partition('/')
    return f'{head}@{protocol}{slash}{rest}'


def split_protocol(name: str) -> tuple[str, str]:
    """Undo `add_protocol`: 'zeroshot_top1@P/tokens' -> ('zeroshot_top1/tokens', 'P'); a plain name has the protocol
    ''."""
    head, slash, rest = name.partition('/')
    head, _, protocol = head.partition('@')
    return f'{head}{slash}{rest}', protocol


def is_stderr(name: str) -> bool:
    """Whether a name is that of a standard error."""
    return name.endswith(STDERR)
