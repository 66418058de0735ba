"""How close reconstructions come to the images: PSNR, SSIM, L1, LPIPS. Each image counts once, whatever its batch."""
from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from dtbox.errors import InputError
from dtbox.evaluation.base import Metric
from dtbox.evaluation.context import EvalContext
from dtbox.evaluation.functional import absolute_error, psnr, ssim, to_unit
from dtbox.evaluation.inception import check_given
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.means import describe_mean
from dtbox.layers.lpips_network import SMALLEST, URLS, lpips, open_network
from dtbox.registry import METRICS
from dtbox.structures import Batch, TokenizerOutput


class PerImage(Metric):
    """Mean over images of one number per image, and its standard error `NAME/stderr` from two images on.

    The name is that of its one info.

    A subclass writes `score(outputs) -> [B]`: `outputs.images` and `outputs.reconstructions` are [B,3,H,W], nominally
    in [-1, 1]; images are in that range, reconstructions may lie beyond it. `functional.to_unit` clamps both and takes
    them to [0, 1].
    """
    requires = ('reconstructions',)

    @property
    def name(self) -> str:
        """Name of the value."""
        if not self.info:
            self.infos()  # which says what to write
        return self.info[0].name

    def score(self, outputs: TokenizerOutput) -> Tensor:
        """Return [B], one number per image."""
        raise NotImplementedError(f'{type(self).__name__} must write score(outputs).')

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """See Metric."""
        score = self.score(outputs).double()
        self.add('sum', score.sum())
        self.add('squares', score.square().sum())
        self.keep(self.name, score)

    def values(self) -> dict[str, float]:
        """See Metric."""
        return describe_mean(self.name, *(self.state[k].item() for k in ('images', 'sum', 'squares')))


@METRICS.register_module()
class PSNR(PerImage):
    """Peak signal-to-noise ratio in dB of each image, averaged; reconstructions clamped, range [0, 1].

    See `functional.psnr`.
    """
    info = [MetricInfo('psnr', 'PSNR', 'dB', '.2f', 'higher', 'reconstruction', order=1, headline=1)]

    def score(self, outputs: TokenizerOutput) -> Tensor:
        """See PerImage."""
        return psnr(to_unit(outputs.reconstructions), to_unit(outputs.images))


@METRICS.register_module()
class SSIM(PerImage):
    """Structural similarity of each image, averaged; reconstructions clamped, range [0, 1]. See `functional.ssim`."""
    info = [MetricInfo('ssim', 'SSIM', '', '.4f', 'higher', 'reconstruction', order=2, headline=4)]

    def available(self, outputs: TokenizerOutput, batch: Batch) -> Literal[True] | str:
        """See Metric."""
        height, width = outputs.images.shape[-2:]
        if min(height, width) < 11:
            return f'SSIM needs images of at least 11 x 11 pixels, got {height} x {width}'
        return super().available(outputs, batch)

    def score(self, outputs: TokenizerOutput) -> Tensor:
        """See PerImage."""
        return ssim(to_unit(outputs.reconstructions), to_unit(outputs.images))


@METRICS.register_module()
class L1(PerImage):
    """Mean absolute error in units of [-1, 1]; reconstructions as they are, not clamped."""
    info = [MetricInfo('l1', 'L1 in [-1, 1]', '', '.4f', 'lower', 'reconstruction', order=3)]

    def score(self, outputs: TokenizerOutput) -> Tensor:
        """See PerImage."""
        return absolute_error(outputs.reconstructions, outputs.images)


@METRICS.register_module()
class LPIPS(PerImage):
    """LPIPS (arXiv 1801.03924) of each image, averaged; reconstructions as they are, not clamped, as DualToken measures
    it.

    Where no weights are given, the value is absent and `skipped` says which file belongs there; a path of a file that
    does not exist is an error before the pass.

    Args:
        net: 'alex' (the paper's choice for measuring) or 'vgg'.
        weights: path of torchvision's weights of that trunk, or 'download'.
        prefix: see Metric.
    """
    info = [MetricInfo('lpips', 'LPIPS', '', '.4g', 'lower', 'reconstruction', order=20)]

    def __init__(self, net: str = 'alex', weights: str | None = None, prefix: str = '') -> None:
        self.net, self.weights = net, weights
        self.shared: dict[str, Any] = {}
        super().__init__(prefix)

    def check_files(self) -> None:
        """See Metric."""
        check_given(self.weights, f'torchvision\'s {self.net} weights of LPIPS', URLS[self.net])

    def setup(self, context: EvalContext) -> None:
        """See Metric."""
        super().setup(context)
        self.shared = {}

    def available(self, outputs: TokenizerOutput, batch: Batch) -> Literal[True] | str:
        """See Metric."""
        if not self.shared:
            try:
                self.shared['network'] = open_network(self.net, self.weights, 'LPIPS').to(outputs.images.device)
            except InputError as e:
                self.shared['lacks'] = str(e).rstrip('.')
        if 'network' in self.shared and min(outputs.images.shape[-2:]) < SMALLEST[self.net]:
            return f'LPIPS of {self.net} needs images of at least {SMALLEST[self.net]} pixels'
        return self.shared.get('lacks') or super().available(outputs, batch)

    def score(self, outputs: TokenizerOutput) -> Tensor:
        """See PerImage."""
        return lpips(self.shared['network'], outputs.reconstructions.float(), outputs.images.float())
