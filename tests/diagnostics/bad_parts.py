"""Parts of a GPU check that go wrong in every way."""
import os
import time

import torch

from dtbox.diagnostics.gpu.results import Skipped


def raise_error(settings, report):
    """Fail in the middle."""
    report.measure('before the error', 1.5, 'ms')
    raise RuntimeError('CUDA error: an illegal memory access was encountered')


def die(settings, report):
    """End the process."""
    report.check('before the end', True)
    os._exit(7)


def hang(settings, report):
    """Never come to an end."""
    report.check('before the wait', True)
    time.sleep(60)


def lack_memory(settings, report):
    """Ask for more than there is."""
    raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 9.00 GiB')


def leave_out(settings, report):
    """Say why there is nothing to do."""
    raise Skipped('there is nothing to do')


def find_wrong(settings, report):
    """Find one thing right and one wrong."""
    report.check('right', True)
    report.check('wrong', False, value=float('inf'))


def hold(settings, report):
    """Find everything right."""
    report.check('all', True)
