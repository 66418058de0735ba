"""What reconstruction does to motion: change from frame to frame, in the source and in the reconstruction, and how many
codes change."""
from __future__ import annotations

from typing import Any

import torch

from dtbox import distributed
from dtbox.evaluation.base import Metric
from dtbox.evaluation.functional import psnr, to_unit
from dtbox.evaluation.info import MetricInfo
from dtbox.registry import METRICS
from dtbox.structures import Batch, TokenizerOutput


@METRICS.register_module()
class FrameChange(Metric):
    """`video_psnr` [dB] of single frames, and change from frame to frame.

    Over pairs of neighbouring frames of a clip, in units of [0, 1], means over pixels and pairs:

    - `change/source`, `change/made`: |x_t - x_(t-1)| of the source and of the reconstruction;
    - `flicker`: |(y_t - y_(t-1)) - (x_t - x_(t-1))|, change that the source does not have, 0 for a still reconstruction
      of a still scene;
    - `churn/NAME`: fraction of the codes of a vocabulary that differ from those of the frame before;
    - `frame_pairs`: their number.

    Keys are CLIP/FRAME with the number of the frame, as `Video` gives them, in order. Pairs across the parts of two
    ranks count too. A frame after one that could not be read makes no pair.
    """
    info = [MetricInfo('video_psnr', 'PSNR of frames', 'dB', '.2f', 'higher', 'reconstruction', order=30),
            MetricInfo('flicker', 'flicker', '', '.4f', 'lower', 'reconstruction', order=31),
            MetricInfo('change/source', 'change of the source', '', '.4f'),
            MetricInfo('change/made', 'change of reconstruction', '', '.4f'),
            MetricInfo('churn/{vocabulary}', 'codes changed', '', '.1%', 'lower', 'codes', order=4),
            MetricInfo('frame_pairs', 'pairs of frames', '', '.0f')]
    requires = ('reconstructions', 'batch.keys')
    uses = ('codes',)
    merges = False

    def reset(self) -> None:
        """See Metric."""
        super().reset()
        self.first: dict[str, Any] | None = None
        self.last: dict[str, Any] | None = None
        self.gap: int | None = None

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """See Metric."""
        reconstruction = to_unit(outputs.reconstructions).float().cpu()
        source = to_unit(outputs.images).float().cpu()
        score = psnr(reconstruction, source)
        self.add('psnr', score.sum())
        self.keep('video_psnr', score)
        codes = {name: value.cpu() for name, value in outputs.codes.items()}
        for i, key in enumerate(batch.keys):
            clip, _, number = key.rpartition('/')
            frame = dict(clip=clip, number=int(number), source=source[i], reconstruction=reconstruction[i],
                         codes={name: value[i] for name, value in codes.items()})
            if self.last is None:
                self.first = frame
            else:
                self._pair(self.last, frame)
            self.last = frame

    def _pair(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        if before['clip'] != now['clip']:
            return
        gap = now['number'] - before['number']
        self.gap = gap if self.gap is None else self.gap
        if gap != self.gap:
            self.leave_out('frames after one that could not be read', 1)
            return
        source, reconstruction = (now[side] - before[side] for side in ('source', 'reconstruction'))
        self.add('pairs', torch.tensor(1))
        self.add('source', source.abs().double().mean())
        self.add('reconstruction', reconstruction.abs().double().mean())
        self.add('flicker', (reconstruction - source).abs().double().mean())
        for name, codes in now['codes'].items():
            self.add(f'churn/{name}', (codes != before['codes'][name]).double().mean())

    def sync(self) -> None:
        """See Metric."""
        if self.synced:
            return
        parts = distributed.gather_objects((self.first, self.last, self.gap))
        mine = distributed.get_rank()
        if mine and self.first is not None:  # this rank adds the pair across its own beginning
            before = next((last for _, last, _ in reversed(parts[:mine]) if last is not None), None)
            self.gap = next((gap for *_, gap in parts if gap is not None), None)
            if before is not None:
                self._pair(before, self.first)
        super().sync()

    def values(self) -> dict[str, float]:
        """See Metric."""
        values = dict(video_psnr=self.state['psnr'] / self.state['images'])
        if 'pairs' in self.state:
            n = self.state['pairs']
            values.update({'change/source': self.state['source'] / n, 'change/made': self.state['reconstruction'] / n,
                           'flicker': self.state['flicker'] / n, 'frame_pairs': n})
            values.update({k: v / n for k, v in self.state.items() if k.startswith('churn/')})
        return values
