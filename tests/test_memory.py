"""Memory that is kept: a process that frees and makes large tensors in turn asks the system for their pages once."""
import json
import os
import platform
import subprocess
import sys

import pytest

CODE = """
import json, resource, sys, torch
from dtbox.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == 'kept' else None
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):  # until the holes that small tensors leave fit, too
    torch.ones(12_000_000).sum()
before = faults()
for _ in range(20):
    torch.ones(12_000_000).sum()
print(json.dumps([kept, faults() - before]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc' or 'malloc' in os.environ.get('LD_PRELOAD', ''),
                    reason='about the allocator of glibc')
def test_freed_memory_is_used_again():
    def run(how):
        done = subprocess.run([sys.executable, '-W', 'ignore', '-c', CODE, how], capture_output=True, text=True,
                              check=True)
        return json.loads(done.stdout)
    (kept, few), (_, many) = run('kept'), run('default')  # 48 MB each, of pages of 4 kB
    assert kept is True and few < many / 4


def test_where_there_is_no_mallopt(monkeypatch):
    import ctypes

    from dtbox.memory import keep_freed_memory
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: object())
    assert keep_freed_memory() is False
