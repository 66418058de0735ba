"""Runs the parts of the GPU check within a time, and writes the report after each."""
from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from dtbox.diagnostics.gpu.parts import LIMIT, Part
from dtbox.diagnostics.gpu.results import DIED, LATE, SKIPPED, PartResult, format_markdown, to_dict
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.diagnostics.gpu.worker import serve
from dtbox.files import write_atomic

Say = Callable[[str], None]
GRACE = 15.0
"""Seconds that a part may take beyond its own: its process starts in them, too."""
PATIENCE = 10
"""Times as long may everything take on a CPU, where only the result counts: it may have other work."""
LEAST = 5.0
"""Seconds that have to be left for a part to start."""
JSON, MARKDOWN = 'gpu.json', 'gpu.md'


class Worker:
    """The process that runs the parts.

    Args:
        settings: see `serve`.
        variables: of its environment.
        threads: of PyTorch on the CPU, or None.
        method: how it starts, in the words of `multiprocessing`.
    """

    def __init__(self, settings: Settings, variables: Mapping[str, str], threads: int | None, method: str) -> None:
        context: Any = multiprocessing.get_context(method)
        self.variables = dict(variables)
        self.pipe: Connection
        self.pipe, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=serve, args=(other, settings, self.variables, threads),
                                                    daemon=False)
        self.process.start()
        other.close()

    def run(self, part: Part, seconds: float, keep: Callable[[PartResult], None]) -> tuple[PartResult, bool]:
        """Run a part.

        Args:
            part: that is run.
            seconds: after which it counts as too late.
            keep: called with the PartResult so far after each row.

        Returns:
            (PartResult, whether the process can run another part).
        """
        result, begun = PartResult(part.name, DIED), time.perf_counter()
        usable = False
        try:
            self.pipe.send(part)
            while True:
                rest = begun + seconds - time.perf_counter()
                if rest <= 0 or not self.pipe.poll(rest):
                    result.status, result.reason = LATE, f'it was ended after {seconds:.0f} s'
                    break
                kind, *values = self.pipe.recv()
                if kind == 'done':
                    result.status, result.reason, raised = values
                    usable = not raised
                    break
                result.rows.append(values[0])
                result.seconds = time.perf_counter() - begun
                keep(result)
        except (EOFError, ConnectionError):
            self.process.join(5)
            result.reason = f'its process ended with exit code {self.process.exitcode}'
        result.seconds = time.perf_counter() - begun
        return result, usable

    def close(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join(2)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Checker:
    """Runs parts, and writes what is known after each row.

    Args:
        settings: how the parts run.
        machine: facts of the report.
        folder: for gpu.json and gpu.md; made when the first row is there.
        say: called with lines of progress.
        limit: seconds of all parts together; None takes `LIMIT`, and more on a CPU.
        threads: of PyTorch on the CPU in the parts; None leaves its own choice.
    """
    method = 'spawn'
    """How the process of the parts starts; a GPU cannot be used by forks of a process that has used it."""

    def __init__(self, settings: Settings, machine: Mapping[str, Any], folder: str, say: Say = print,
                 limit: float | None = None, threads: int | None = None) -> None:
        self.settings, self.machine = settings, machine
        self.folder, self.say = folder, say
        self.patience = 1 if settings.gpu else PATIENCE
        self.limit, self.threads = limit or LIMIT * self.patience, threads
        self.results: list[PartResult] = []
        self._worker: Worker | None = None

    def run(self, parts: Sequence[Part]) -> list[PartResult]:
        """Run parts; returns a PartResult for each, also in `results` when it is interrupted."""
        end = time.perf_counter() + self.limit
        self.write(complete=False)
        try:
            for number, part in enumerate(parts, 1):
                self.say(f'{number} of {len(parts)}: {part.name}: {part.question}')
                result = self._run(part, end)
                self.results.append(result)
                self.write(complete=number == len(parts))
                self.say(f'    {result.status}, {result.seconds:.1f} s{"; " * bool(result.reason)}{result.reason}')
        finally:
            self._close()
        return self.results

    def _run(self, part: Part, end: float) -> PartResult:
        why = self.find_reason(part, end - time.perf_counter())
        if why:
            return PartResult(part.name, SKIPPED, reason=why)
        variables = {} if self.settings.gpu else {'CUDA_VISIBLE_DEVICES': ''}
        variables.update(part.variables if self.settings.gpu else {})
        if self._worker is not None and self._worker.variables != variables:
            self._close()
        if self._worker is None:
            self._worker = Worker(self.settings, variables, self.threads, self.method)
        most = min(part.seconds * self.patience + GRACE, end - time.perf_counter())
        result, usable = self._worker.run(part, most, lambda so_far: self.write(False, so_far))
        if not usable:
            if result.status == LATE:
                self._worker.process.kill()
            self._close()
        return result

    def find_reason(self, part: Part, seconds: float) -> str:
        """Return why a part cannot run here with so many seconds left, or ''."""
        missing = part.find_missing()
        if missing:
            return f'it needs {", ".join(missing)} (pip install; see --requirements)'
        if seconds < LEAST:
            return f'the {self.limit:.0f} s of all parts are over; run it alone with --only {part.name}'
        if self.settings.gpu and part.gigabytes > self.settings.gigabytes:
            return (f'it needs about {part.gigabytes:.0f} GB of GPU memory, and the card has '
                    f'{self.settings.gigabytes:.0f} GB')
        return ''

    def write(self, complete: bool, running: PartResult | None = None) -> None:
        """Write gpu.json and gpu.md, with the rows of a part that is still running."""
        results = self.results + ([replace(running, reason='it has not come to its end')] if running else [])
        told = to_dict(self.machine, results, asdict(self.settings), complete)
        os.makedirs(self.folder, exist_ok=True)
        write_atomic(os.path.join(self.folder, JSON), json.dumps(told, indent=1) + '\n')
        if running is None:
            write_atomic(os.path.join(self.folder, MARKDOWN), format_markdown(self.machine, results))

    def _close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None
