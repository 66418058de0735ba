"""Evaluate a run on its held-out sets, as training does at its end."""
from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from dtbox import __version__
from dtbox.apis.loading import open_config
from dtbox.apis.opening import open_task
from dtbox.arguments import allow_none, read_arguments, read_flag, read_path
from dtbox.errors import InputError
from dtbox.evaluation import Results, SetEvaluator, format_table
from dtbox.evaluation.dump import check_dump
from dtbox.evaluation.loop import evaluate
from dtbox.evaluation.stamps import hash_file
from dtbox.extend.record import make_records
from dtbox.files import find_unused_path
from dtbox.runs import RunFolder, choose_run_folder, name_samples
from dtbox.training.build import check_required
from dtbox.training.dataloaders import build_val_dataloader
from dtbox.weights.exported_folders import is_pretrained
from dtbox.weights.hub import find_cached_name


def evaluate_run(run: str, checkpoint: str | None = None, options: dict | None = None,
                 plugins: Sequence[str] = ()) -> Results:
    """Measure a trained tokenizer; returns the first of the two that `measure_run` returns."""
    return measure_run(run, checkpoint, options, plugins)[0]


@read_arguments(dump=allow_none(read_path))
def measure_run(run: str, checkpoint: str | None = None, options: dict | None = None, plugins: Sequence[str] = (),
                dump: str | None = None) -> tuple[Results, dict[str, np.ndarray]]:
    """Measure a trained tokenizer with the metrics and the held-out data of its config.

    Args:
        run: run folder; `dtbox://NAME`, a packaged model, with the data and metrics of the config that it was trained
            by; or a config file, together with `checkpoint`.
        checkpoint: checkpoint file, run folder, or folder of `save_pretrained`; None takes the run folder's
            checkpoint.pth.
        options: dict of dotted config key -> value to override (`data_root`, ...).
        plugins: plugins that the config does not name, or has at a place where they no longer are.
        dump: new folder for the images that metrics measure, as their networks get them (see `dtbox.evaluation.dump`).

    Returns:
        tuple: Results, whose `evaluation` names config, checkpoint, time, seconds, device, versions and plugins; and
        the arrays that training writes to samples.npz (see `dtbox.evaluation.samples`).

    Raises:
        InputError: a missing file, a checkpoint of another model or of another teacher, a config without held-out data
            or metrics, or a folder for images that is not empty.
    """
    start, date = time.time(), time.strftime('%Y-%m-%d %H:%M:%S')
    cfg, path = open_config(run, checkpoint, options, plugins)
    check_required(cfg, ('val_dataloader', 'val_evaluator'))
    evaluator = SetEvaluator(cfg.val_evaluator, where='val_evaluator')
    check_dump(dump, evaluator.prototypes)
    model, state = open_task(cfg, path)
    results = evaluate(model, build_val_dataloader(cfg.val_dataloader), evaluator, dump)
    about = dict(config=str(run), checkpoint=path, checkpoint_hash=hash_file(path), time=date,
                 seconds=round(time.time() - start, 1), device=model.iteration.device.type, dtbox=__version__,
                 torch=str(torch.__version__), plugins=make_records(cfg))
    return replace(results, iteration=state.get('iteration'), evaluation=about), evaluator.samples()


def report(results: Results) -> str:
    """Return the results of `evaluate_run` as text: what was measured, when and how, and the table."""
    about = results.evaluation
    done = '' if results.iteration is None else f', iteration {results.iteration}'
    lines = [f'checkpoint  {about["checkpoint"]}{done}, sha256 {about["checkpoint_hash"]}',
             f'config      {about["config"]}',
             f'evaluated   {about["time"]}, {about["seconds"]:.1f} s on {about["device"]}, dtbox {about["dtbox"]}']
    if about.get('command'):
        lines.append(f'command     {about["command"]}')
    return '\n'.join([*lines, '', format_table(results)])


@read_arguments(checkpoint=allow_none(read_path), out=allow_none(read_path), protocols=read_flag)
def choose_results_path(checkpoint: str | None, out: str | None = None, protocols: bool = False) -> str:
    """Return where results go: `out` (replaced if it is there), or beside the checkpoint metrics.json (or
    protocols.json), or the first free of metrics.1.json, metrics.2.json, ... Results of a packaged model NAME, and of
    a folder NAME of `save_pretrained`, go to work_dirs/NAME, and so do those of a model OWNER/NAME on the hub.

    Raises:
        InputError: `out` is a folder.
    """
    if out is None:
        run = RunFolder(os.path.dirname(checkpoint or ''))
        hub = find_cached_name(run.path)
        if hub or is_pretrained(run.path):
            run = choose_run_folder(f'{hub or run.name}.py')
        return find_unused_path(run.protocols, '') if protocols else find_unused_path(run.metrics)
    if os.path.isdir(out):
        raise InputError(f'cannot write results to {out}: it is a folder. Name a file, such as '
                         f'{RunFolder(out).metrics}.', 'out')
    return out


def choose_images_folder(path: str) -> str:
    """Return where images and clips go beside the results at `path`: the folder of its name, or the first free one of
    NAME.1, NAME.2, ... where that holds something and `path` does not exist, so that they are not its own."""
    folder = os.path.splitext(path)[0]
    return folder if os.path.isfile(path) else find_unused_path(folder)


def choose_samples_path(path: str) -> str | None:
    """Return where the scores of single samples go beside the results at `path`: samples.npz beside metrics.json,
    samples.1.npz beside metrics.1.json; None where the file has another name."""
    return name_samples(path)

