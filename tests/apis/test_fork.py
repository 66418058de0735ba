"""A forked process encodes, also where its parent has computed with OpenMP."""
import os
import sys
import time

import pytest
import torch

SECONDS = 60


def run_forked(function):
    """Run a function in a fork of this process; returns what it returns as text, None where it does not end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(function()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    end = time.monotonic() + SECONDS
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return None
        time.sleep(0.01)
    with os.fdopen(reader) as pipe:
        return pipe.read()


@pytest.mark.skipif(sys.platform != 'linux', reason='forks, and OpenMP of GNU')
def test_encode_after_a_fork(tok):
    """On two threads the parent fills OpenMP's pool, of which a fork has nothing: the child computes on one."""
    torch.set_num_threads(2)
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    torch.ones(1 << 20).exp()  # large enough to be divided among threads
    codes = tok.encode(images)

    def work():
        torch.ones(1 << 20).exp()
        same = all(torch.equal(codes[name], value) for name, value in tok.encode(images).items())
        return same, torch.get_num_threads()
    assert run_forked(work) == '(True, 1)'
    assert torch.get_num_threads() == 2
