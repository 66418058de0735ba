"""What a tokenizer of any size takes to open and to use on this machine: with random weights, since a time does not ask what they are."""
import contextlib
import os
import subprocess
import sys
import time

import torch

from dtbox.apis.loading import load
from dtbox.config.text import dump_config
from dtbox.errors import InputError
from dtbox.memory import Peak
from dtbox.registry import TOKENIZERS
from dtbox.training import checkpoint


def make_run(source, cfg, folder):
    """Write a run folder with random weights for a config.

    Args:
        source: Config as `load_config` returns it.
        cfg: the same, resolved.
        folder: new folder.

    Returns:
        bytes of its checkpoint.
    """
    os.makedirs(folder)
    tokenizer = TOKENIZERS.build({'type': 'VisualTokenizer', **cfg.model.tokenizer}, where='model.tokenizer')
    dump_config(source, os.path.join(folder, 'config.py'), header='Random weights, for a benchmark.')
    path = os.path.join(folder, checkpoint.NAME)
    checkpoint.save(dict(meta={}, state_dict={f'tokenizer.{k}': v for k, v in tokenizer.state_dict().items()}), path)
    return os.path.getsize(path)


MEASURE = '''
import json, sys, time
import torch
import dtbox, dtbox.apis.loading, dtbox.registry
import timm, open_clip
from dtbox.memory import Peak, resident_megabytes
what, path = sys.argv[1:]
def read():
    with open(path + '/checkpoint.pth', 'rb', buffering=0) as f:
        data, done = bytearray({size}), 0
        view = memoryview(data)
        while done < len(view):
            done += f.readinto(view[done:done + (1 << 24)])
        return data
dtbox.apis.loading.open_config(path)
before, begun = resident_megabytes(), time.perf_counter()
with Peak() as peak:
    kept = read() if what == 'read' else dtbox.load(path)
seconds = time.perf_counter() - begun
print(json.dumps(dict(seconds=seconds, megabytes=peak.megabytes - before)))
'''


def measure_loading(folder, rounds=3):
    """Time `dtbox.load` and a plain read of the checkpoint, in turn, each in a process of its own, the file in the system's cache.

    Returns:
        dict: `load` and `read`, lists of dict(seconds, megabytes).
    """
    import json
    size = os.path.getsize(os.path.join(folder, checkpoint.NAME))
    found = dict(read=[], load=[])
    for _ in range(rounds):
        for what in found:
            done = subprocess.run([sys.executable, '-c', MEASURE.format(size=size), what, folder], capture_output=True, text=True, check=False)
            if done.returncode:
                raise InputError(f'the measuring process ended with {done.returncode}: {done.stderr.strip()[-300:]}')
            found[what].append(json.loads(done.stdout.strip().splitlines()[-1]))
    return found


def measure_use(folder, images, rounds=3, say=print):
    """Time encoding, decoding and embedding, alternating within each round; the first round warms up.

    Args:
        folder: run folder.
        images: tensor [B,3,H,W] in [-1,1], or anything else that `Tokenizer` takes.
        rounds: that count.
        say: called with lines of progress.

    Returns:
        tuple: dict name -> list of seconds; dict name -> 10^6 bytes of the process at its peak, weights included, or None where that cannot be told;
        dict vocabulary -> share of bfloat16's codes that equal float32's at each depth.
    """
    images, codes, times, peaks = _use(load(folder), images, rounds, say)
    half = load(folder, dtype='bfloat16')
    prepared = half.prepare(images.to(half.dtype))
    other = half.encode(prepared)
    equal = {n: (codes[n] == other[n]).float().mean(dim=(0, 1)).tolist() for n in codes}
    more = _timed({'encode all, bfloat16': lambda: half.encode(prepared)}, rounds, say)
    return {**times, **more[0]}, {**peaks, **more[1]}, equal


def _use(tokenizer, images, rounds, say):
    """Return (prepared images, their codes, seconds and peak of each job); the tokenizer is gone afterwards."""
    images = tokenizer.prepare(images)
    names = list(tokenizer.streams)
    jobs = {'encode all': lambda: tokenizer.encode(images), **{f'encode {n}': lambda n=n: tokenizer.encode(images, [n]) for n in names}}
    codes = tokenizer.encode(images)
    if tokenizer.model.decoder is not None:
        jobs['decode'] = lambda: tokenizer.decode(codes)
    if tokenizer.model.head is not None:
        jobs['embed'] = lambda: tokenizer.embed_image(images)
    return images, codes, *_timed(jobs, rounds, say)


def _timed(jobs, rounds, say):
    """Return the seconds of each job in each round, and its peak in the first, which warms up."""
    times, peaks = {name: [] for name in jobs}, {}
    for i in range(rounds + 1):
        for name, job in jobs.items():
            begun = time.perf_counter()
            with torch.no_grad(), contextlib.nullcontext() if i else Peak() as peak:
                job()
            if i:
                times[name].append(time.perf_counter() - begun)
            else:
                peaks[name] = peak.megabytes
        say(f'round {i} of {rounds}')
    return times, peaks
