"""Trials as processes of this machine, sharing its cores and GPUs."""
from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from dtbox.ablation.engines.process import build_command, build_environment
from dtbox.ablation.machine import count_cores
from dtbox.counts import format_count
from dtbox.runs import RunFolder


class LocalEngine:
    """Run trials on this machine.

    Args:
        threads: CPU threads of a trial.
        workers: trials at a time; None takes one a GPU, or without GPUs as many as the cores allow.

    Attributes:
        remark: what to tell the user about the workers, or ''.
    """

    def __init__(self, threads: int, workers: int | None = None):
        self.threads, self.gpus = threads, list_visible_gpus()
        fitting = len(self.gpus) or max(1, count_cores() // threads)
        self.workers = workers or fitting
        self.free = list(range(self.workers))
        self.remark = ''
        if not self.gpus and self.workers * threads > count_cores():
            self.remark = (f'{format_count(self.workers, "worker")} of {format_count(threads, "thread")} use '
                           f'{format_count(count_cores(), "core")}: they slow one another down.')

    def start(self, folder: str) -> LocalTrial:
        """Start the trial of a folder; its output goes to log.txt there."""
        slot = self.free.pop(0)
        device = self.gpus[slot % len(self.gpus)] if self.gpus else None
        with open(RunFolder(folder).console, 'ab') as log:
            process = subprocess.Popen(build_command(folder), stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=subprocess.STDOUT, env=build_environment(self.threads, device))
        return LocalTrial(process, lambda: self.free.append(slot))

    def close(self) -> None:
        """Nothing to put away."""


class LocalTrial:
    """A trial's process.

    Args:
        process: subprocess.Popen.
        release: called once when it has ended.
    """
    why = ''

    def __init__(self, process: subprocess.Popen, release: Callable[[], None]):
        self.process = process
        self.release: Callable[[], None] | None = release

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        code = self.process.poll()
        if code is not None and self.release:
            self.release()
            self.release = None
        return code

    def has_begun(self) -> bool:
        """True: nothing stands between this machine and its processes."""
        return True

    def stop(self) -> None:
        """Stop it and wait until it is gone."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.poll()


def list_visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    import torch
    if not torch.cuda.is_available():
        return []
    count, named = torch.cuda.device_count(), os.environ.get('CUDA_VISIBLE_DEVICES')
    return [name.strip() for name in named.split(',')][:count] if named else [str(i) for i in range(count)]
