"""The process that runs parts of the GPU check, one after another, and sends each row as soon as it is known.

A fault on the GPU (an illegal address, a failed assertion in a kernel) spoils all later work of its process, and a
kernel may hang: that is why the parts run here, and the process that writes the report waits outside.
"""
from __future__ import annotations

import gc
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

import torch

from dtbox.diagnostics.gpu.parts import Part
from dtbox.diagnostics.gpu.results import FAILS, OK, SKIPPED, Report, Row, Skipped
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.processes import end_with_parent


def serve(pipe: Connection, settings: Settings, variables: Mapping[str, str], threads: int | None) -> None:
    """Run the parts that come through a pipe, until it closes.

    Sends ('row', Row) for each row, and ('done', status, reason, raised) at the end of a part.

    Args:
        pipe: to the process that writes the report.
        settings: Settings.
        variables: of the environment, set before PyTorch looks at the GPU.
        threads: of PyTorch on the CPU; None leaves its own choice.
    """
    os.environ.update(variables)
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that writes the report
    warnings.simplefilter('ignore')
    if threads:
        torch.set_num_threads(threads)
    if torch.device(settings.device_name).type == 'cuda':
        torch.cuda.set_device(settings.device_name)
    while True:
        try:
            part = pipe.recv()
        except EOFError:
            return
        pipe.send(('done', *run_part(part, settings, lambda row: pipe.send(('row', row)))))


def run_part(part: Part, settings: Settings, send: Callable[[Row], None]) -> tuple[str, str, bool]:
    """Run a part; return (status, reason, whether it raised, so that this process should end)."""
    report = Report(send)
    torch.manual_seed(0)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        part.find_function()(settings, report)
    except Skipped as e:
        return SKIPPED, str(e), False
    except Exception as e:
        if isinstance(e, (torch.cuda.OutOfMemoryError, MemoryError)):
            size = f' of {settings.gigabytes:.0f} GB' if settings.gigabytes else ''
            return SKIPPED, f'the memory{size} is too small for it ({" ".join(str(e).split())[:160]})', True
        place = traceback.extract_tb(e.__traceback__)[-1]
        said = ' '.join(str(e).split())[:400]
        return FAILS, f'{type(e).__name__}: {said} ({os.path.basename(place.filename)}:{place.lineno})', True
    finally:
        gc.collect()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            try:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
            except RuntimeError:  # the fault that the part has met already
                pass
    return (FAILS, 'a check does not hold', False) if report.failed else (OK, '', False)
