"""A classifier of photographs as a staged encoder: the stages of a timm EfficientNet are the layers, each with its own
width and grid.

Frozen, it is the teacher of photographs that comes by pip (see `dtbox.layers.classifiers`): a stage's map gives tokens,
its logits are an embedding whose axes have names (`ClassNames` is the text tower beside it).

Legend: B batch, N tokens in row-major order, D width of a layer, E width of the pooled output, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from dtbox.encoders.base import Encoder
from dtbox.errors import InputError
from dtbox.layers.classifiers import (
    LITE0,
    build_classifier,
    list_grids,
    list_widths,
    open_classifier,
    run_stem,
)
from dtbox.layers.sizes import read_pair
from dtbox.registry import ENCODERS

POOLS = ('features', 'logits')


@ENCODERS.register_module()
class StagedClassifier(Encoder):
    """A timm EfficientNet by name. Layer 0 is the first convolution, layer l stage l.

    Its batch norms use the statistics of the file, also while it trains.

    Args:
        name: timm model name of that family.
        image_size: pixels, an int or (height, width).
        weights: None; a file, `dtbox://` or `package://` name (see `open_classifier`); or 'timm', fetched by timm.
        input_size: pixels, an int or (height, width), that images are resized to first (bicubic, no antialias); None
            takes them as they are.
        pooled: what `pool` gives: 'features', the mean over the map before the classifier, or 'logits' of its classes.
    """
    example = dict(name='test_efficientnet', image_size=64)

    def __init__(self, name: str = LITE0, image_size: int | Sequence[int] = 224, weights: str | None = None,
                 input_size: int | Sequence[int] | None = None, pooled: str = 'features') -> None:
        super().__init__()
        if pooled not in POOLS:
            raise InputError(f'`pooled` is {pooled!r}; expected one of {", ".join(POOLS)}.', 'pooled')
        self.image_size = read_pair(image_size, 'image_size')
        self.input_size = self.image_size if input_size is None else read_pair(input_size, 'input_size')
        self.name, self.weights = name, weights
        self.pooled = pooled
        self.trunk = build_classifier(name)
        self.depth = len(self.trunk.blocks)
        self.pooled_dim = self.trunk.num_classes if pooled == 'logits' else self.trunk.num_features
        if pooled == 'features':
            self.trunk.classifier = nn.Identity()
        self._widths, self._grids = list_widths(self.trunk), list_grids(self.trunk, self.input_size)

    def train(self, mode: bool = True) -> StagedClassifier:
        """Keep the batch norms in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def width(self, layer: int) -> int:
        """Return the channels D of `layer`."""
        return self._widths[layer]

    def grid(self, layer: int) -> tuple[int, int]:
        """Return the token grid (rows, columns) of `layer`."""
        return self._grids[layer]

    def embed(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1,1] -> tokens [B,N,D] of the first convolution."""
        if self.input_size != self.image_size:
            images = F.interpolate(images, self.input_size, mode='bicubic', align_corners=False)
        return _flatten(run_stem(self.trunk, images))

    def step(self, tokens: Tensor, layer: int) -> Tensor:
        """Run stage `layer` (1-based): tokens [B,N,D] -> tokens of this layer's grid."""
        # channels first in memory, in which convolutions of one channel each are faster on a CPU
        maps = tokens.transpose(1, 2).contiguous().unflatten(2, self.grid(layer - 1))
        return _flatten(self.trunk.blocks[layer - 1](maps))

    def pool(self, tokens: Tensor) -> Tensor:
        """tokens [B,N,D] after the last stage -> [B, pooled_dim]."""
        last = self.trunk.bn2(self.trunk.conv_head(tokens.transpose(1, 2).unsqueeze(3)))
        return self.trunk.classifier(self.trunk.global_pool(last))

    def init_weights(self) -> None:
        """Load `weights`; `InputError` where they are those of another network."""
        if self.weights is None:
            return
        whole = open_classifier(self.name, self.weights)
        if self.pooled == 'features':
            whole.classifier = nn.Identity()
        self.trunk.load_state_dict(whole.state_dict())


def _flatten(x: Tensor) -> Tensor:
    """x [B,D,h,w] -> [B,N,D]."""
    return x.flatten(2).transpose(1, 2)
