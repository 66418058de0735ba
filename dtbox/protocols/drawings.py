"""Measures folders of drawings by protocols: Frechet distances to real images, and CLIPScore with their prompts."""
from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from dtbox import __version__
from dtbox.apis.drawing_layouts import Layout
from dtbox.arguments import allow_none, read_arguments, read_count, read_device, read_path
from dtbox.errors import InputError
from dtbox.evaluation import CLIPScore, EvalContext, Metric, Results
from dtbox.evaluation.drawings import DRAWN
from dtbox.evaluation.folders import compare_folders, find_statistics, hash_files, list_files, read_batches
from dtbox.evaluation.frechet_distance import Moments
from dtbox.evaluation.names import ALL
from dtbox.evaluation.stamps import compute_digest
from dtbox.protocols.base import Protocol


@torch.no_grad()
@read_arguments(drawn=read_path, real=allow_none(read_path), device=read_device, batch=read_count())
def measure_drawings(drawn: str, protocols: Sequence[Protocol], real: str | None = None, layout: Layout | None = None,
                     device: str | torch.device = 'cpu', batch: int = 32) -> Results:
    """Measure a folder of drawings.

    Args:
        drawn: folder of drawings.
        protocols: whose metrics are FID, TowerFrechet and CLIPScore.
        real: folder of real images, for Frechet distances.
        layout: prompts of the drawings, for CLIPScore; the folder then has to hold all its files.
        device: where networks run.
        batch: images at a time.

    Returns:
        Results whose values are called METRIC@PROTOCOL. The stamp of the data is that of names and sizes of the real
        images, and of the prompts.

    Raises:
        InputError: a metric that needs a model; drawings, prompts or real images that are missing; weights that are not
            given.
    """
    start, date = time.time(), time.strftime('%Y-%m-%d %H:%M:%S')
    names = [p.name for p in protocols]
    if not protocols or len(set(names)) < len(names):
        raise InputError(f'the protocols are {", ".join(names) or "none"}; expected at least one, each once.',
                         '--protocol')
    files = list_files(drawn)
    _check_layout(drawn, files, layout)
    prepared = [(p, metric) for p in protocols for metric in p.evaluator().prototypes]
    for p, metric in prepared:  # all that may be wrong is said before hours are spent
        _prepare(p, metric, real, layout, device)
    data = compute_digest([real and hash_files(real, list_files(real)), layout and layout.digest])
    parts = {p.name: Results({ALL: {}}, {ALL: len(files)}, protocols={p.name: dict(hash=p.hash, data=data)})
             for p in protocols}
    for p, metric in prepared:
        values, note = (_compare(metric, drawn, real, batch, device) if isinstance(metric, Moments) else
                        _score(metric, drawn, layout, batch, device))
        part = parts[p.name]
        parts[p.name] = replace(part, sets={ALL: {**part.sets[ALL], **values}}, infos=(*part.infos, *metric.infos()),
                                skipped={**part.skipped, **({metric.label: note} if note else {})})
    about = dict(drawings=str(drawn), drawings_hash=hash_files(drawn, files), real=real, time=date,
                 seconds=round(time.time() - start, 1), device=str(device), dtbox=__version__,
                 torch=str(torch.__version__))
    return replace(Results.join(parts), evaluation=about)


def _prepare(protocol: Protocol, metric: Metric, real: str | None, layout: Layout | None,
             device: str | torch.device) -> None:
    """Open what a metric needs; `InputError` where it cannot measure folders, or something is missing."""
    metric.check_files()
    metric.setup(EvalContext())
    if isinstance(metric, CLIPScore):
        if layout is None:
            raise InputError('CLIPScore compares drawings with their prompts, which are not given. Name --layout and '
                             '--prompts.', '--prompts')
        metric.towers.open(device)
    elif isinstance(metric, Moments):
        metric.open_features(device)
        find_statistics(metric, real)
    else:
        raise InputError(f'the protocol `{protocol.name}` measures {metric.label}, which needs a model. Folders are '
                         'measured by FID, TowerFrechet and CLIPScore: rfid_clean, frechet_tower, clip_score.',
                         '--protocol')


def _check_layout(drawn: str, files: Sequence[str], layout: Layout | None) -> None:
    if layout is None:
        return
    there = set(files)
    missing = [drawing.file for drawing in layout.drawings if drawing.file not in there]
    if missing:
        raise InputError(f'{drawn} lacks {len(missing):,} of {len(layout.drawings):,} drawings, such as {missing[0]}. '
                         'Continue drawing with `dtbox draw`.')


def _compare(metric: Moments, drawn: str, real: str | None, batch: int,
             device: str | torch.device) -> tuple[dict[str, float], str]:
    value, note = compare_folders(metric, drawn, real, batch, device)
    name = metric.folder_value
    return {f'{metric.prefix}/{name}' if metric.prefix else name: value}, note


def _score(metric: CLIPScore, drawn: str, layout: Layout | None, batch: int,
           device: str | torch.device) -> tuple[dict[str, float], str]:
    assert layout is not None  # `_prepare` has refused that
    files = [drawing.file for drawing in layout.drawings]
    for number, images in enumerate(read_batches(drawn, files, batch)):
        some: Any = layout.drawings[number * batch:number * batch + len(images)]
        metric.update_files(images, [drawing.prompt for drawing in some], DRAWN, device)
    return metric.compute(), metric.skipped


def describe_drawings(results: Results) -> str:
    """Return the title of the results of `measure_drawings`."""
    about = results.evaluation
    real = f', beside {os.fspath(about["real"])}' if about['real'] else ''
    return f'drawings    {about["drawings"]}{real}'
