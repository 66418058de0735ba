"""What a part of the GPU check finds, row by row, and all of it as text."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

OK = 'ok'
FAILS = 'fails'
SKIPPED = 'skipped'
LATE = 'over time'
DIED = 'died'
"""Status of a part, in this order: all checks hold, one does not or the part raised, it was left out, it took too long,
its process ended."""


class Skipped(Exception):
    """A part, or a row of it, cannot run here; the message says why."""


@dataclass(frozen=True)
class Row:
    """One line of a part.

    Attributes:
        what: that is checked or measured.
        ok: whether a check holds; None for a measurement, and for what was left out.
        value: measured number, or None.
        unit: of the value.
        detail: what else is to say.
    """
    what: str
    ok: bool | None = None
    value: float | None = None
    unit: str = ''
    detail: str = ''


@dataclass
class PartResult:
    """What became of a part.

    Attributes:
        name: of the part.
        status: `OK` to `DIED`.
        seconds: that it took.
        reason: why it was left out, or what went wrong; ''.
        rows: what it has found, as far as it came.
    """
    name: str
    status: str = SKIPPED
    seconds: float = 0.0
    reason: str = ''
    rows: list[Row] = field(default_factory=list)

    @property
    def bad(self) -> bool:
        """Whether something does not hold."""
        return self.status in (FAILS, LATE, DIED)


class Report:
    """Where a part says what it finds; each row is sent at once, so that it outlives the part.

    Args:
        send: takes a Row.
    """

    def __init__(self, send: Callable[[Row], None]) -> None:
        self._send = send
        self.failed = False

    def check(self, what: str, ok: bool, detail: str = '', value: float | None = None, unit: str = '') -> None:
        """Tell whether something holds, with the number that decides."""
        self.failed |= not ok
        self._send(make_row(what, bool(ok), value, unit, detail))

    def measure(self, what: str, value: float, unit: str, detail: str = '') -> None:
        """Tell a number that is neither right nor wrong."""
        self._send(make_row(what, None, value, unit, detail))

    def skip(self, what: str, why: str) -> None:
        """Tell what was left out, and why."""
        self._send(Row(what, detail=f'left out: {why}'))


def make_row(what: str, ok: bool | None, value: float | None, unit: str, detail: str) -> Row:
    """Return a Row; a value that is not finite, which JSON does not have, is told in the detail."""
    if value is None or not math.isfinite(value):
        told = '' if value is None else f'the value is {float(value)}'
        return Row(what, ok, None, '', '; '.join(filter(None, (told, detail))))
    return Row(what, ok, float(value), unit, detail)


def to_dict(machine: Mapping[str, Any], results: Sequence[PartResult], settings: Mapping[str, Any],
            complete: bool) -> dict[str, Any]:
    """Return everything as plain types for JSON; `complete` says whether all parts are done."""
    return dict(machine=dict(machine), settings=dict(settings), complete=complete,
                ok=not any(result.bad for result in results), parts=[asdict(result) for result in results])


def format_value(row: Row) -> str:
    """Return the number of a row with its unit, '' where it has none."""
    if row.value is None:
        return ''
    number = f'{row.value:.3g}' if abs(row.value) < 100 else f'{row.value:,.0f}'
    return f'{number} {row.unit}'.strip()


def list_lines(results: Sequence[PartResult]) -> list[tuple[str, str, str, str]]:
    """Return (part or row, status, value, detail) of all parts and their rows, in order."""
    lines = []
    for result in results:
        lines.append((result.name, result.status, f'{result.seconds:.1f} s', result.reason))
        for row in result.rows:
            status = '' if row.ok is None else OK if row.ok else FAILS
            lines.append((f'  {row.what}', status, format_value(row), row.detail))
    return lines


def format_markdown(machine: Mapping[str, Any], results: Sequence[PartResult]) -> str:
    """Return the report as Markdown."""
    lines = ['# GPU check', '', *(f'- {name}: {value}' for name, value in machine.items() if value not in (None, '')),
             '', '| part | status | value | detail |', '|---|---|---|---|']
    for what, status, value, detail in list_lines(results):
        shown = what.strip() if what.startswith(' ') else f'**{what}**'
        cells = (cell.replace('|', '/') for cell in (shown, status, value, detail))
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'
