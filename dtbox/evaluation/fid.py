"""rFID: Frechet Inception distance of images and their reconstructions (Heusel et al., arXiv 1706.08500), by the rules
of a library."""
from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dtbox.errors import InputError, reason
from dtbox.evaluation.context import EvalContext
from dtbox.evaluation.dump import ImageDump
from dtbox.evaluation.frechet_distance import RECONSTRUCTION, SOURCE, Moments
from dtbox.evaluation.functional import frechet_distance
from dtbox.evaluation.inception import FILES, check_given, open_inception
from dtbox.evaluation.info import MetricInfo
from dtbox.registry import METRICS
from dtbox.structures import Batch, TokenizerOutput
from dtbox.values import Positive

WRITTEN = ('png', 'jpeg')
AGAINST = ('images', 'statistics')


@METRICS.register_module()
class FID(Moments):
    """`rfid`: Frechet distance of Inception features of images and reconstructions; statistics stream in float64.

    Where no weights are given, the value is absent and `skipped` says which file belongs there; a path of a file that
    does not exist is an error before the pass.

    Args:
        library: 'clean-fid' or 'torch-fidelity', see `dtbox.evaluation.inception`.
        weights: path of its Inception, or 'download'.
        written: how images become bytes: 'png' rounds to the nearest of 256 levels; 'jpeg' is DualToken's way: images
            and reconstructions are truncated to levels and pass through OpenCV's JPEG at its default quality of 95.
        size: resize both to this side first (Pillow, bicubic, antialiased), such as 256 for a model of 384; None keeps
            the model's.
        against: 'images', or 'statistics' that come from a file.
        reference: that file, .npz with `mu` and `sigma` (ADM's reference batches, such as
            VIRTUAL_imagenet256_labeled.npz).
        prefix: see Metric.
    """
    info = [MetricInfo('rfid', 'rFID', '', '.4g', 'lower', 'reconstruction', order=21),
            MetricInfo('drawing_fid', 'FID of drawings', '', '.4g', 'lower', 'drawing', order=7)]
    folder_value = 'drawing_fid'
    requires = ('reconstructions',)
    dumps = True

    def __init__(self, library: str = 'clean-fid', weights: str | None = None, written: str = 'png',
                 size: Positive | None = None, against: str = 'images', reference: str | None = None,
                 prefix: str = '') -> None:
        if library not in FILES:
            raise InputError(f'`library` is {library!r}; expected one of {", ".join(FILES)}.', 'library')
        if written not in WRITTEN:
            raise InputError(f'`written` is {written!r}; expected one of {", ".join(WRITTEN)}.', 'written')
        if against not in AGAINST or (reference and against == 'images'):
            now = " 'pictures' is now called 'images'." if against == 'pictures' else ''
            raise InputError(f"`against` is {against!r} with reference={reference!r}; expected 'images', or "
                             f"'statistics' and their file.{now}", 'against')
        self.library, self.weights = library, weights
        self.written, self.size = written, size
        self.against, self.reference = against, reference
        self.shared: dict[str, Any] = {}
        super().__init__(prefix)

    def check_files(self) -> None:
        """See Metric."""
        check_given(self.weights, f'the weights of {self.library}\'s Inception', FILES[self.library])
        if self.reference and not os.path.isfile(self.reference):
            raise InputError(f'the statistics {self.reference} do not exist.', 'reference')
        if self.weights and self.weights != 'download':
            open_inception(self.library, self.weights)
        if self.reference:
            read_statistics(self.reference)

    def setup(self, context: EvalContext) -> None:
        """See Metric."""
        super().setup(context)
        self.shared = {}  # of the copies for each set: the network, or why there is none; where images are written
        if context.dump:
            self.shared['dump'] = ImageDump(os.path.join(context.dump, self.label))

    def available(self, outputs: TokenizerOutput, batch: Batch) -> Literal[True] | str:
        """See Metric."""
        if 'network' not in self.shared and 'lacks' not in self.shared:
            try:
                self.shared['network'] = open_inception(self.library, self.weights, outputs.images.device)
                statistics = read_statistics(self.reference) if self.against == 'statistics' else None
                self.shared['reference'] = statistics
            except InputError as e:
                self.shared['lacks'] = str(e).rstrip('.')
        return self.shared.get('lacks') or super().available(outputs, batch)

    def process(self, data_batch: Batch, outputs: TokenizerOutput | Sequence[TokenizerOutput]) -> None:
        """See Metric. Images are written also where the network is missing."""
        only, = outputs if isinstance(outputs, (list, tuple)) else (outputs,)
        if 'dump' in self.shared and only.reconstructions is not None:
            levels = self.bytes(only.images), self.bytes(only.reconstructions)
            self.shared['dump'].write(data_batch.sets, data_batch.keys, *levels)
        super().process(data_batch, outputs)

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """See Metric."""
        size = len(outputs.images)
        if self.shared['reference'] is None:
            self.collect(SOURCE, self.shared['network'](self.bytes(outputs.images)), size)
        self.collect(RECONSTRUCTION, self.shared['network'](self.bytes(outputs.reconstructions)), size)

    def open_features(self, device: torch.device | str = 'cpu') -> Callable[[Sequence[np.ndarray]], Tensor]:
        """See Moments."""
        network = open_inception(self.library, self.weights, device)

        def features(images: Sequence[np.ndarray]) -> Tensor:
            sizes: dict[tuple[int, ...], list[Tensor]] = {}
            for image in images:
                level = torch.from_numpy(image).permute(2, 0, 1)
                level = self.bytes(level[None].float() / 127.5 - 1)[0]
                sizes.setdefault(tuple(level.shape), []).append(level)
            return torch.cat([network(torch.stack(group)).cpu() for group in sizes.values()])
        return features

    def bytes(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1, 1] -> uint8 [B,3,H,W] as they would be read back from files; `InputError` for NaN,
        as samples without an image have in its place."""
        if images.isnan().any():
            raise InputError('the images hold NaN; expected samples with an image each: give those without a set of '
                             'their own.')
        levels = (images.detach().float().clamp(-1, 1) + 1) * 127.5
        # 1e-3: bytes that went to floats and back stay
        levels = (levels + 1e-3).floor() if self.written == 'jpeg' else levels.round()
        levels = levels.to(torch.uint8)
        if self.size is None and self.written == 'png':
            return levels
        arrays = [self._written(image) for image in levels.permute(0, 2, 3, 1).cpu().numpy()]
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)

    def _written(self, image: np.ndarray) -> np.ndarray:
        if self.size is not None and image.shape[:2] != (self.size, self.size):
            resized = Image.fromarray(image).resize((self.size, self.size), Image.Resampling.BICUBIC)
            image = np.asarray(resized)
        if self.written == 'jpeg':
            import cv2
            file = cv2.imencode('.jpg', image[..., ::-1])[1].tobytes()
            image = np.asarray(Image.open(io.BytesIO(file)).convert('RGB'))
        return image

    def values(self) -> dict[str, float]:
        """See Metric."""
        n = self.enough()
        if not n:
            return {}
        mean, covariance = self.shared['reference'] if self.shared.get('reference') else self.moments(SOURCE, n)
        return dict(rfid=frechet_distance(mean, covariance, *self.moments(RECONSTRUCTION, n)))


def read_statistics(path: str | os.PathLike | None) -> tuple[Tensor, Tensor]:
    """Return (mean [E], covariance [E,E]) in float64 from an .npz with `mu` and `sigma`, as ADM and pytorch-fid write
    them."""
    if not path:
        raise InputError('the file with the statistics to compare with is not given: an .npz with `mu` and `sigma`, '
                         'such as ADM\'s VIRTUAL_imagenet256_labeled.npz (github.com/openai/guided-diffusion, '
                         'evaluations)')
    try:
        with np.load(path, allow_pickle=False) as f:
            if 'mu' not in f or 'sigma' not in f:
                raise InputError(f'{path} holds {", ".join(f.files)}; expected `mu` and `sigma` of Inception features.')
            mean, covariance = (torch.from_numpy(np.asarray(f[name], dtype=np.float64)) for name in ('mu', 'sigma'))
    except InputError:
        raise
    except Exception as e:  # numpy and zipfile raise anything
        raise InputError(f'the statistics {path} cannot be read ({reason(e)}).') from e
    if not (mean.isfinite().all() and covariance.isfinite().all()):
        raise InputError(f'{path} holds NaN or infinity; expected the mean and the covariance of Inception features.')
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise InputError(f'{path}: `mu` has the shape {list(mean.shape)} and `sigma` {list(covariance.shape)}; '
                         'expected [E] and [E, E].')
    return mean, covariance
