"""Folders of images, and workers that are forks of a process that has imported what they need."""
import contextlib
import hashlib
import os
import signal
import subprocess

import numpy as np
from PIL import Image

from dtbox.tokens.encoder import Encoder, Settings
from dtbox.tokens.run import Work, encode
from dtbox.tokens.sources import find_source
from tests.child_processes import FORKS


def write_images(folder, count, seed=0, size=(40, 36)):
    """Write images 000.png, 001.png, ...; every fourth is a JPEG. Returns the folder as text."""
    rng = np.random.default_rng(seed)
    os.makedirs(folder, exist_ok=True)
    for number in range(count):
        pixels = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        image.save(os.path.join(folder, f'{number:03d}.{"jpg" if number % 4 == 0 else "png"}'))
    return str(folder)


def settings(run, **more):
    """Settings with batches of four images."""
    return Settings(str(run), **{'batch': 4, **more})


def make_encoder(run, **more):
    """An encoder with batches of four images."""
    return Encoder(settings(run, **more))


def hashes(folder):
    """File name -> sha256 of the token shards of a folder; unfinished files count, too."""
    return {name: hashlib.sha256(open(os.path.join(folder, name), 'rb').read()).hexdigest()
            for name in sorted(os.listdir(folder)) if '.parquet' in name}


def run_encode(run, src, out, work=Work(workers=1), per=4, **more):
    """Encode a data set by forked workers; returns the Result."""
    return encode(find_source(src, per=per), str(out), settings(run, **more), work)


class ForkedWorker:
    """The process of a local worker as a fork; as much of subprocess.Popen as the engine uses."""

    def __init__(self, pipe, env):
        self.process = FORKS.Process(target=serve, args=(pipe, env), daemon=True)
        self.process.start()
        self.pid = self.process.pid

    def wait(self, timeout=None):
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired('worker', timeout)
        return self.process.exitcode

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def serve(pipe, env):
    """What the fork does."""
    os.environ.update(env)
    from dtbox.tokens.engines.worker import serve
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        serve(pipe)
