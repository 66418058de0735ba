"""The tab Video: the frames of a clip, their reconstructions, and which codes change from frame to frame.

Legend: T frames, H and W pixels, N tokens, Q codes per token.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dtbox.app.functions.images import read_upload
from dtbox.app.functions.partial import need_decoder
from dtbox.app.opened import Opened, find_grid
from dtbox.datasets import Video
from dtbox.drawing.sheets import to_uint8
from dtbox.errors import InputError
from dtbox.evaluation.frame_change import FrameChange
from dtbox.layout import Grid
from dtbox.serving.limits import Limits
from dtbox.structures import Batch, TokenizerOutput

MOST = 32
"""Frames that are read."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip through a tokenizer.

    Attributes:
        frames, made: uint8 [T,H,W,3], as the run sees them and as it gives them back.
        changed: stream -> [T - 1,rows,columns]: fraction of the codes of a place that differ from the frame before;
            streams whose tokens have no place are left out.
        table: (what, value) as texts: see `FrameChange`.
    """
    frames: np.ndarray
    made: np.ndarray
    changed: Mapping[str, np.ndarray]
    table: list[list[str]]


def read_frames(paths: Sequence[str], limits: Limits = Limits(), most: int = MOST) -> list[Any]:
    """Return the first frames of a video file, or several images in the order of their names, as PIL images.

    Raises:
        InputError: nothing was uploaded, one single image, a file that no video reader knows.
    """
    if not paths:
        raise InputError('there is no clip yet. Drop a video, or several images, its frames.')
    if len(paths) > 1:
        return [read_upload(path, limits) for path in sorted(paths, key=os.path.basename)[:most]]
    data = Video(paths[0], limit=most)
    return [data.sample(i, np.random.default_rng(0))['image'] for i in range(len(data))]


@torch.no_grad()
def measure_clip(opened: Opened, frames: Sequence[Any]) -> Clip:
    """Encode and decode the frames of a clip one by one.

    Args:
        opened: run.
        frames: T >= 2 images of any size.

    Raises:
        InputError: fewer frames, a run without decoder.
    """
    need_decoder(opened)
    if len(frames) < 2:
        raise InputError('a clip needs at least 2 frames; 1 came. Drop a video, or several images.')
    tokenizer = opened.tokenizer
    images = tokenizer.prepare(list(frames))
    codes = tokenizer.encode(images, list(tokenizer.model.streams))
    made = tokenizer.decode(codes)
    metric = FrameChange()
    kept = {name: codes[name] for name in opened.coded}
    metric.process(Batch(images, keys=[f'clip/{i:06d}' for i in range(len(images))]),
                   TokenizerOutput(images, reconstructions=made, codes=kept))
    changed = {}
    for name in opened.coded:
        grid = find_grid(tokenizer, name)
        if isinstance(grid, Grid) and grid.tokens == codes[name].shape[1]:
            differ = (codes[name][1:] != codes[name][:-1]).float().mean(-1)
            changed[name] = differ.view(-1, grid.rows, grid.columns).cpu().numpy()
    return Clip(to_uint8(images), to_uint8(made), changed, _format(metric.values()))


def _format(values: Mapping[str, float]) -> list[list[str]]:
    words = {'video_psnr': 'PSNR of frames [dB]', 'flicker': 'flicker', 'change/source': 'change of the source',
             'change/made': 'change of the reconstruction', 'frame_pairs': 'pairs of frames'}
    rows = []
    for name, value in values.items():
        if name in words:
            rows.append([words[name], f'{float(value):.4g}'])
        elif name.startswith('churn/'):
            rows.append([f'codes of {name[len("churn/"):]} that change', f'{float(value):.1%}'])
    return rows


def draw_changes(pixels: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """Tint an image where codes changed: uint8 [H,W,3] and fractions [rows,columns] -> uint8 [H,W,3]."""
    rows, columns = changed.shape
    height, width = pixels.shape[:2]
    down, right = (np.arange(side) * count // side for side, count in ((height, rows), (width, columns)))
    weight = 0.7 * changed[down][:, right][..., None]
    return (pixels * (1 - weight) + np.array([213, 94, 0]) * weight).round().astype(np.uint8)
