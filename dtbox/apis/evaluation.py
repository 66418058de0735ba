"""Evaluate a run on its held-out sets, as training does at its end."""
from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from mmengine.config import Config

from dtbox import __version__
from dtbox.apis.loading import open_config
from dtbox.errors import InputError
from dtbox.evaluation import Results, SetEvaluator, format_table
from dtbox.evaluation.dump import check_dump
from dtbox.evaluation.loop import evaluate
from dtbox.extend.record import records, warn_changes
from dtbox.files import unused_path
from dtbox.runs import RunFolder, name_samples
from dtbox.training import checkpoint as checkpoints
from dtbox.training.build import build_parts, check_required, val_dataloader
from dtbox.weights.state_dicts import load_into, resize_positions, with_prefix


def evaluate_run(run: str, checkpoint: str | None = None, options: dict | None = None, plugins: Sequence[str] = ()) -> Results:
    """Measure a trained tokenizer; returns the first of the two that `measure_run` returns."""
    return measure_run(run, checkpoint, options, plugins)[0]


def measure_run(run: str, checkpoint: str | None = None, options: dict | None = None, plugins: Sequence[str] = (),
                dump: str | None = None) -> tuple[Results, dict[str, np.ndarray]]:
    """Measure a trained tokenizer with the metrics and the held-out data of its config.

    Args:
        run: run folder; or a config file, together with `checkpoint`.
        checkpoint: checkpoint file or run folder; None takes the run folder's checkpoint.pth.
        options: dict of dotted config key -> value to override (`data_root`, ...).
        plugins: plugins that the config does not name, or has at a place where they no longer are.
        dump: new folder for the images that metrics measure, as their networks get them (see `dtbox.evaluation.dump`).

    Returns:
        tuple: Results, whose `evaluation` names config, checkpoint, time, seconds, device, versions and plugins; and the arrays that training
        writes to samples.npz (see `dtbox.evaluation.samples`).

    Raises:
        InputError: a missing file, a checkpoint of another model or of another teacher, a config without held-out data or
            metrics, or a folder for images that is not empty.
    """
    start, date = time.time(), time.strftime('%Y-%m-%d %H:%M:%S')
    cfg, path = open_config(run, checkpoint, options, plugins)
    check_required(cfg, ('val_dataloader', 'val_evaluator'))
    evaluator = SetEvaluator(cfg.val_evaluator)
    check_dump(dump, evaluator.prototypes)
    model, state = open_model(cfg, path)
    results = evaluate(model, val_dataloader(cfg.val_dataloader), evaluator, dump)
    about = dict(config=str(run), checkpoint=path, time=date, seconds=round(time.time() - start, 1), device=model.iteration.device.type,
                 dtbox=__version__, torch=str(torch.__version__), plugins=records(cfg))
    return replace(results, iteration=state.get('iteration'), evaluation=about), evaluator.samples()


def open_model(cfg, path, resize=False):
    """Build the model of a resolved config and load a checkpoint: (TokenizerTask on its device, the checkpoint).

    Args:
        cfg: resolved Config.
        path: of the checkpoint.
        resize: fit learned position tables to the config's image size.

    Raises:
        InputError: a checkpoint of another model or of another teacher.
    """
    state = checkpoints.load(path)
    warn_changes((state.get('meta') or {}).get('plugins'), cfg, path)
    if cfg.get('threads'):
        torch.set_num_threads(int(cfg.threads))
    model = build_parts(Config({k: v for k, v in cfg.items() if k != 'val_dataloader'}), int(cfg.get('seed', 0)), training=False)['model']
    weights = with_prefix(state['state_dict'], 'tokenizer.')
    load_into(model.tokenizer, resize_positions(weights, model.tokenizer) if resize else weights, f'the checkpoint {path}')
    load_teacher(model, state, path)
    return model.to('cuda' if torch.cuda.is_available() else 'cpu').eval(), state


def load_teacher(model, state, path):
    """Load the weights of the model's teacher, where it has one, and check that the checkpoint was trained with the same.

    Args:
        model: TokenizerTask.
        state: the checkpoint.
        path: its file, for the message.

    Raises:
        InputError: the weights cannot be read, or their hash is not the checkpoint's.
    """
    if model.teacher is None:
        return
    try:
        model.teacher.init_weights()
    except InputError as e:
        raise e.within('model.teacher') from e.__cause__
    trained = (state.get('meta') or {}).get('teacher')
    if trained is not None and trained != model.teacher.digest():
        raise InputError(f'the checkpoint {path} was trained with the teacher {trained}, but the config\'s teacher is '
                         f'{model.teacher.digest()} (hashes of their weights); scores against another teacher would mean nothing. '
                         'Name the weights that it was trained with in model.teacher.encoder.weights.', 'model.teacher')


def report(results):
    """Return the results of `evaluate_run` as text: what was measured, when and how, and the table."""
    about = results.evaluation
    done = '' if results.iteration is None else f', iteration {results.iteration}'
    lines = [f'checkpoint  {about["checkpoint"]}{done}', f'config      {about["config"]}',
             f'evaluated   {about["time"]}, {about["seconds"]:.1f} s on {about["device"]}, dtbox {about["dtbox"]}']
    if about.get('command'):
        lines.append(f'command     {about["command"]}')
    return '\n'.join([*lines, '', format_table(results)])


def results_path(checkpoint, out=None, protocols=False):
    """Return where results go: `out` (replaced if it is there), or beside the checkpoint metrics.json (or protocols.json), or the first
    free of metrics.1.json, metrics.2.json, ...

    Raises:
        InputError: `out` is a folder.
    """
    if out is None:
        run = RunFolder(os.path.dirname(checkpoint))
        return unused_path(run.protocols if protocols else run.metrics)
    if os.path.isdir(out):
        raise InputError(f'cannot write results to {out}: it is a folder. Name a file, such as {RunFolder(out).metrics}.')
    return out


def samples_path(path):
    """Return where the scores of single samples go beside the results at `path`: samples.npz beside metrics.json, samples.1.npz beside
    metrics.1.json; None where the file has another name."""
    return name_samples(path)

