"""Video frame by frame: scores over time as a plot, and a file with source and reconstruction side by side."""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dtbox import distributed
from dtbox.datasets import collate
from dtbox.drawing.sheets import to_uint8
from dtbox.drawing.video_curves import draw_over_time
from dtbox.errors import InputError
from dtbox.evaluation import Results, SetEvaluator
from dtbox.protocols.base import Protocol
from dtbox.protocols.subject import Subject
from dtbox.registry import PROTOCOLS


@PROTOCOLS.register_module()
class VideoScores(Protocol):
    """Metrics over frames in their order (FrameChange and others); leaves psnr_over_time.png and CLIP.mp4.

    Args:
        metrics: as in Protocol.
        clips: clips of which a file is written, the first ones.
        frames: frames of such a file at most.
        rate: frames a second where the source does not tell.
        enlarge: least side of a frame in the file, in pixels; smaller ones are enlarged pixel by pixel.
    """

    def __init__(self, metrics: Sequence | dict = (), clips: int = 3, frames: int = 250, rate: float = 8.0,
                 enlarge: int = 192) -> None:
        super().__init__(metrics)
        self.clips, self.frames = clips, frames
        self.rate, self.enlarge = rate, enlarge

    def finish(self, subject: Subject, evaluator: SetEvaluator, results: Results, folder: str) -> list[str]:
        """See Protocol."""
        data, lines = subject.loader.dataset, []
        samples = evaluator.samples()
        if distributed.get_rank() != 0:
            return []
        if 'video_psnr' in samples:
            curves = {}
            for key, value in zip(samples['keys'].tolist(), samples['video_psnr'].tolist()):
                clip, _, number = key.rpartition('/')
                curves.setdefault(clip, []).append((int(number), value))
            path = os.path.join(folder, 'psnr_over_time.png')
            draw_over_time(curves, path, 'PSNR of single frames')
            lines.append(f'written to {path}')
        for clip in list(dict.fromkeys(k.rpartition('/')[0] for k in samples['keys'].tolist()))[:self.clips]:
            lines.append(f'written to {self._file(subject, data, clip, folder)}')
        return lines

    @torch.no_grad()
    def _file(self, subject: Subject, data: Any, clip: str, folder: str) -> str:
        """Write a clip, source and reconstruction side by side; returns its path."""
        import cv2
        places = [i for i, (name, *_) in enumerate(data.clips) if name == clip]
        start = data.ends[places[0] - 1] if places[0] else 0
        stop = min(data.ends[places[0]], start + self.frames)
        path = os.path.join(folder, f'{os.path.splitext(clip)[0]}.mp4')
        os.makedirs(folder, exist_ok=True)
        writer, step = None, subject.loader.batch_size
        for at in range(start, stop, step):
            batch = collate([data[i] for i in range(at, min(at + step, stop))])
            if not len(batch):
                continue
            batch = subject.model.prepare(batch)
            reconstructions = subject.model.predict(batch).reconstructions
            frames = np.concatenate([to_uint8(batch.images), to_uint8(reconstructions)], axis=2)
            zoom = -(-self.enlarge // min(frames.shape[1], frames.shape[2] // 2))
            frames = frames.repeat(zoom, axis=1).repeat(zoom, axis=2)
            if writer is None:
                size = frames.shape[2], frames.shape[1]
                writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*'mp4v'), data.rate(clip) or self.rate, size)
                if not writer.isOpened():
                    raise InputError(f'OpenCV cannot write {path} here (MPEG-4).')
            for frame in frames:
                writer.write(np.ascontiguousarray(frame[..., ::-1]))
        if writer is not None:
            writer.release()
        return path
