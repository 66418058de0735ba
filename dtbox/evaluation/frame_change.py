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

AFTER_LOST = 'frames after one that could not be read'


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
    ranks count too. A frame after one that could not be read makes no pair: neighbours lie the stride of the data set
    (`context.stride`) apart, or, where it is not known, as far as the closest frames do.
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
        """Add a pair to the sums of its distance in frames; `values` knows which distance is that of neighbours."""
        if before['clip'] != now['clip']:
            return
        gap = now['number'] - before['number']
        source, reconstruction = (now[side] - before[side] for side in ('source', 'reconstruction'))
        self.add(f'pairs@{gap}', torch.tensor(1))
        self.add(f'change/source@{gap}', source.abs().double().mean())
        self.add(f'change/made@{gap}', reconstruction.abs().double().mean())
        self.add(f'flicker@{gap}', (reconstruction - source).abs().double().mean())
        for name, codes in now['codes'].items():
            self.add(f'churn/{name}@{gap}', (codes != before['codes'][name]).double().mean())

    def sync(self) -> None:
        """See Metric."""
        if self.synced:
            return
        parts = distributed.gather_objects((self.first, self.last))
        mine = distributed.get_rank()
        if mine and self.first is not None:  # this rank adds the pair across its own beginning
            before = next((last for _, last in reversed(parts[:mine]) if last is not None), None)
            if before is not None:
                self._pair(before, self.first)
        super().sync()

    def values(self) -> dict[str, float]:
        """See Metric."""
        values = dict(video_psnr=self.state['psnr'] / self.state['images'])
        pairs = {int(name[len('pairs@'):]): int(n) for name, n in self.state.items() if name.startswith('pairs@')}
        stride = self.context.stride or min(pairs, default=0)
        behind = sum(n for gap, n in pairs.items() if gap != stride)
        if behind:
            self.reasons[AFTER_LOST] = behind
        if stride in pairs:
            sums = {name[:-len(f'@{stride}')]: value for name, value in self.state.items()
                    if name.endswith(f'@{stride}')}
            n = sums.pop('pairs')
            values.update({name: value / n for name, value in sums.items()}, frame_pairs=n)
        return values
