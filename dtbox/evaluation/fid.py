"""rFID: Frechet Inception distance of pictures and their reconstructions (Heusel et al., arXiv 1706.08500), by the rules of a library."""
from __future__ import annotations

import io
import os

import numpy as np
import torch
from PIL import Image

from dtbox.errors import InputError, reason
from dtbox.evaluation.dump import ImageDump
from dtbox.evaluation.frechet_distance import Moments
from dtbox.evaluation.functional import frechet_distance
from dtbox.evaluation.inception import FILES, open_inception
from dtbox.evaluation.info import MetricInfo
from dtbox.registry import METRICS
from dtbox.structures import Batch, TokenizerOutput

WRITTEN = ('png', 'jpeg')


@METRICS.register_module()
class FID(Moments):
    """`rfid`: Frechet distance of Inception features of pictures and reconstructions; statistics stream in float64.

    Where weights are missing, the value is absent and `skipped` says which file belongs there.

    Args:
        library: 'clean-fid' or 'torch-fidelity', see `dtbox.evaluation.inception`.
        weights: path of its Inception, or 'download'.
        written: how pictures are turned to bytes: 'png' rounds to the nearest of 256 levels; 'jpeg' is DualToken's way: truncated to
            levels, then through OpenCV's JPEG at its default quality of 95, pictures and reconstructions alike.
        size: resize both to this side first (Pillow, bicubic, antialiased), such as 256 for a model of 384; None keeps the model's.
        against: 'images', or 'statistics' that come from a file.
        reference: that file, .npz with `mu` and `sigma` (ADM's reference batches, such as VIRTUAL_imagenet256_labeled.npz).
        prefix: see Metric.
    """
    info = [MetricInfo('rfid', 'rFID', '', '.4g', 'lower', 'reconstruction', order=21)]
    requires = ('reconstructions',)
    dumps = True

    def __init__(self, library='clean-fid', weights=None, written='png', size=None, against='images', reference=None, prefix=''):
        if library not in FILES:
            raise InputError(f'`library` is {library!r}; expected one of {", ".join(FILES)}.', 'library')
        if written not in WRITTEN:
            raise InputError(f'`written` is {written!r}; expected one of {", ".join(WRITTEN)}.', 'written')
        if against not in ('images', 'statistics') or (reference and against == 'images'):
            now = " 'pictures' is now called 'images'." if against == 'pictures' else ''
            raise InputError(f"`against` is {against!r} with reference={reference!r}; expected 'images', or 'statistics' and their file.{now}",
                             'against')
        self.against = against
        self.library, self.weights, self.written, self.size, self.reference = library, weights, written, size, reference
        self.shared = {}
        super().__init__(prefix)

    def setup(self, context):
        super().setup(context)
        self.shared = {}  # of the copies for each set: the network, or why there is none; where images are written
        if context.dump:
            self.shared['dump'] = ImageDump(os.path.join(context.dump, self.label))

    def available(self, outputs, batch):
        if 'network' not in self.shared and 'lacks' not in self.shared:
            try:
                self.shared['network'] = open_inception(self.library, self.weights, outputs.images.device)
                self.shared['reference'] = read_statistics(self.reference) if self.against == 'statistics' else None
            except InputError as e:
                self.shared['lacks'] = str(e).rstrip('.')
        return self.shared.get('lacks') or super().available(outputs, batch)

    def process(self, data_batch: Batch, outputs: TokenizerOutput | list[TokenizerOutput]) -> None:
        """See Metric. Images are written also where the network is missing."""
        only, = outputs if isinstance(outputs, (list, tuple)) else (outputs,)
        if 'dump' in self.shared and only.reconstructions is not None:
            self.shared['dump'].write(data_batch.sets, data_batch.keys, self.bytes(only.images), self.bytes(only.reconstructions))
        super().process(data_batch, outputs)

    def update(self, batch, outputs):
        size = len(outputs.images)
        for side, images in (('real', outputs.images), ('fake', outputs.reconstructions)):
            if side == 'fake' or self.shared['reference'] is None:
                self.collect(side, self.shared['network'](self.bytes(images)), size)

    def bytes(self, images):
        """images [B,3,H,W] in [-1,1] -> uint8 [B,3,H,W] as they would be read back from files."""
        levels = (images.detach().float().clamp(-1, 1) + 1) * 127.5
        levels = (levels + 1e-3).floor() if self.written == 'jpeg' else levels.round()  # 1e-3: bytes that went to floats and back stay
        levels = levels.to(torch.uint8)
        if self.size is None and self.written == 'png':
            return levels
        return torch.from_numpy(np.stack([self._written(image) for image in levels.permute(0, 2, 3, 1).cpu().numpy()])).permute(0, 3, 1, 2)

    def _written(self, image):
        if self.size is not None and image.shape[:2] != (self.size, self.size):
            image = np.asarray(Image.fromarray(image).resize((self.size, self.size), Image.Resampling.BICUBIC))
        if self.written == 'jpeg':
            import cv2
            image = np.asarray(Image.open(io.BytesIO(cv2.imencode('.jpg', image[..., ::-1])[1].tobytes())).convert('RGB'))
        return image

    def values(self):
        n = self.enough()
        if not n:
            return {}
        real = self.shared['reference'] if self.shared.get('reference') else self.moments('real', n)
        return dict(rfid=frechet_distance(*real, *self.moments('fake', n)))


def read_statistics(path):
    """Return (mean [E], covariance [E, E]) in float64 from an .npz with `mu` and `sigma`, as ADM and pytorch-fid write them."""
    if not path:
        raise InputError('the file with the statistics to compare with is not given: an .npz with `mu` and `sigma`, such as ADM\'s '
                         'VIRTUAL_imagenet256_labeled.npz (github.com/openai/guided-diffusion, evaluations)')
    try:
        with np.load(path, allow_pickle=False) as f:
            if 'mu' not in f or 'sigma' not in f:
                raise InputError(f'{path} holds {", ".join(f.files)}; expected `mu` and `sigma` of Inception features.')
            mean, covariance = (torch.from_numpy(np.asarray(f[name], dtype=np.float64)) for name in ('mu', 'sigma'))
    except InputError:
        raise
    except Exception as e:  # numpy and zipfile raise anything
        raise InputError(f'the statistics {path} cannot be read ({reason(e)}).') from e
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise InputError(f'{path}: `mu` has the shape {list(mean.shape)} and `sigma` {list(covariance.shape)}; expected [E] and [E, E].')
    return mean, covariance
