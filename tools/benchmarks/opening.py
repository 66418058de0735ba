"""How long `dtbox.load` takes beside reading the file: converted tokenizers of published size, in turn in one process.

    python tools/benchmarks/opening.py [--only TEXT] [--rounds 5] [--folder DIR]

A published file with random weights is converted as a user converts it, and exported. Then reading (torch.load of the
run's checkpoint; safetensors' load_file of the exported folder, each tensor copied, as the file is only mapped without)
and opening take turns, so that a machine that slows down slows down both. The files lie in the system's memory.
"""
from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from measuring import check_counts
from safetensors.torch import load_file, save_file

import dtbox
from dtbox.cli.guard import main_guard
from dtbox.converters.run_folder import convert
from dtbox.errors import InputError
from dtbox.packaged import IMPORT_ROOT
from dtbox.runs import RunFolder
from dtbox.weights.exported_folders import WEIGHTS

KEYS = os.path.join(IMPORT_ROOT, 'tests', 'data')
"""Folder of lists of published names and shapes."""
ZERO = ('encoder.pos_embed', 'zero_k_bias')
"""Ends of names of tensors that are zero in the published files."""
State = dict[str, torch.Tensor]


def make_state(kind: str) -> State:
    """Return the tensors of a published file, with random values."""
    path = os.path.join(KEYS, f'keys_{kind}.txt')
    if not os.path.isfile(path):
        raise InputError(f'{path} does not exist. Run the script in a clone of the repository.')
    with open(path, encoding='utf-8') as file:
        rows = [line.strip().split(': ', 1) for line in file if not line.startswith('#')]
    shapes = {name: [int(n) for n in re.findall(r'\d+', shape)] for name, shape in rows}
    return {name: torch.zeros(shape) if name.endswith(ZERO) else torch.randn(shape) * 0.02
            for name, shape in shapes.items()}


def write_var(folder: str) -> str:
    """Write VAR's file; returns its path."""
    torch.save(make_state('var'), path := os.path.join(folder, 'vae_ch160v4096z32.pth'))
    return path


def write_unitok(folder: str) -> str:
    """Write UniTok's file; returns its path."""
    args = dict(model='vitamin_large', img_size=256, vocab_size=32768, vocab_width=64, vocab_norm=True, num_codebooks=8,
                vq_beta=0.25, quant_proj='attn', embed_dim=768, num_query=0, drop_path=0.0, text_width=768,
                text_heads=12, text_layers=12, text_vocab_size=49408, text_context_length=77)
    torch.save(dict(args=args, trainer=dict(unitok=make_state('unitok'))),
               path := os.path.join(folder, 'unitok_tokenizer.pth'))
    return path


def write_qlip(folder: str) -> str:
    """Write the folder of QLIP-B-16-256; returns it."""
    tower = dict(subln=True, swiglu=True, rope=True, k_bias=False, layer_norm_eps=1e-6, num_attention_heads=12)
    config = dict(vision_config=tower, decoder_config=tower, text_config=dict(num_attention_heads=8))
    with open(os.path.join(folder, 'config.json'), 'w', encoding='utf-8') as file:
        json.dump(config, file)
    save_file(make_state('qlip'), os.path.join(folder, 'model.safetensors'))
    return folder


RELEASES: dict[str, Callable[[str], str]] = dict(var=write_var, qlip=write_qlip, unitok=write_unitok)
"""Kind of `dtbox convert` -> what writes its published file of full size."""


def read_checkpoint(run: str) -> Any:
    """Read the checkpoint of a run as torch does."""
    return torch.load(RunFolder(run).checkpoint, map_location='cpu', weights_only=True, mmap=False)


def read_exported(folder: str) -> State:
    """Read the weights of an exported folder as safetensors does, into memory."""
    return {name: value.clone() for name, value in load_file(os.path.join(folder, WEIGHTS)).items()}


def release_memory() -> None:
    """Give freed memory back to the system: else whoever reads second gets warm memory, which is several times as fast
    as a process has that opens one model."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def measure(folder: str, read: Callable[[str], Any], rounds: int) -> dict[str, list[float]]:
    """Return contender -> seconds of every round, after one to warm up."""
    calls: dict[str, Callable[[str], Any]] = dict(read=read, open=dtbox.load)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-1, rounds):
        for name in sorted(calls, reverse=number % 2 == 1):
            release_memory()
            begun = time.perf_counter()
            found = calls[name](folder)
            if number >= 0:
                times[name].append(time.perf_counter() - begun)
            del found
    return times


def format_row(name: str, what: str, size: int, times: dict[str, list[float]]) -> str:
    """Return a row of the table: medians, and the median over rounds of the ratio."""
    reading, opening = (statistics.median(times[key]) for key in ('read', 'open'))
    ratio = statistics.median(b / a for a, b in zip(times['read'], times['open']))
    return f'| {name} | {what} | {size / 1e9:.2f} | {reading:.2f} | {opening:.2f} | {ratio:.2f} |'


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Time dtbox.load against reading the file: converted tokenizers of '
                                                 'published size, with random weights.')
    parser.add_argument('--only', metavar='TEXT', default='', help='kinds whose name holds TEXT, such as var')
    parser.add_argument('--rounds', type=int, default=5, metavar='N',
                        help='rounds in which both take turns (default: 5)')
    parser.add_argument('--folder', metavar='DIR', help='where the files are written for the time of the measurement '
                                                        '(default: the folder for temporary files)')
    args = parser.parse_args(argv)
    check_counts(rounds=args.rounds)
    kinds = [kind for kind in RELEASES if args.only in kind]
    if not kinds:
        raise InputError(f'no kind holds {args.only}. There are: {", ".join(RELEASES)}.')
    print(f'{torch.get_num_threads()} thread(s), torch {torch.__version__}\n')
    print('| kind | folder | GB | read [s] | open [s] | ratio |\n|---|---|---|---|---|---|')
    for kind in kinds:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            run, exported = os.path.join(folder, 'run'), os.path.join(folder, 'exported')
            with tempfile.TemporaryDirectory(dir=folder) as release:
                convert(kind, RELEASES[kind](release), run)
            dtbox.load(run).save_pretrained(exported)
            for what, place, read, file in (('run', run, read_checkpoint, RunFolder(run).checkpoint),
                                            ('exported', exported, read_exported, os.path.join(exported, WEIGHTS))):
                print(format_row(kind, what, os.path.getsize(file), measure(place, read, args.rounds)), flush=True)


if __name__ == '__main__':
    main()
