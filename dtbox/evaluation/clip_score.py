"""CLIPScore of drawings and their prompts (Hessel et al., arXiv 2104.08718), in the scale of torchmetrics: 100 times
the cosine of image and text, by any pair of towers."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.evaluation.context import REASONS
from dtbox.evaluation.drawing_ranks import REAL
from dtbox.evaluation.drawings import ANCHORS, describe_anchor, list_images
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.likelihood import take_drawn
from dtbox.evaluation.means import Means
from dtbox.evaluation.names import is_stderr
from dtbox.evaluation.towers import LazyTowers, Towers, to_levels
from dtbox.mllm_output import MLLMOutput
from dtbox.registry import METRICS
from dtbox.structures import Batch

NAME = 'clip_score'
SCORE = MetricInfo('clip_score/{tower}/{label}', 'CLIPScore of {tower}', '', '.2f', 'higher', 'drawing', order=6,
                   beside=[(ANCHORS[REAL], 'clip_score/{tower}/real')])


@METRICS.register_module()
class CLIPScore(Means):
    """`clip_score/TOWER/LABEL`: mean over images of 100 cos(image, text), and 0 where that mean is negative, as
    torchmetrics computes it; the paper's own score has the factor 2.5 instead and clamps each image.

    Of a multimodal language model: the drawings and their prompts, a LABEL for each way of sampling, mean over sampling
    seeds. Of a tokenizer: the reconstructions and the texts of the data. The real images stand beside them as `real`.
    Images become levels of 8 bits, and are resized and cropped to the encoder's size. Texts that are too long are cut.

    Args:
        tower: name of an open_clip model, such as 'ViT-L-14-quickgelu' for OpenAI's weights, torchmetrics' choice.
        weights: its checkpoint, or 'hub:TAG'. Without it the value is absent, and `skipped` says so.
        encoder, text: configs of other towers, with their weights; `tower` then is what to call them.
        prefix: see Metric.
    """
    info = [describe_anchor(SCORE, REAL), SCORE]
    uses = ('reconstructions', 'drawings', 'prompts', 'batch.texts')

    def __init__(self, tower: str = 'ViT-L-14-quickgelu', weights: str | None = None,
                 encoder: Mapping[str, Any] | None = None, text: Mapping[str, Any] | None = None,
                 prefix: str = '') -> None:
        self.tower = tower
        self.towers = LazyTowers(tower, weights, encoder, text, reads_texts=True)
        super().__init__(prefix)

    def check_files(self) -> None:
        """See Metric."""
        self.towers.check_files()

    def available(self, outputs: Any, batch: Batch) -> Literal[True] | str:
        """See Metric."""
        lack = self.towers.find_lack(outputs.images.device)
        if lack:
            return lack
        if hasattr(outputs, 'drawings'):
            return True if outputs.drawings and outputs.prompts else REASONS['drawings']
        if outputs.reconstructions is None:
            return REASONS['reconstructions']
        return True if batch.texts else REASONS['batch.texts']

    def update(self, batch: Batch, outputs: Any) -> None:
        """See Metric."""
        if not hasattr(outputs, 'prompts'):  # of a tokenizer: the captions of the data
            outputs = MLLMOutput(outputs.images, outputs.reconstructions, prompts=[t.strip() for t in batch.texts])
        outputs, rows = take_drawn(self, outputs)
        if not len(rows):
            return
        towers = self.towers.open(outputs.images.device)
        embedded = towers.embed_texts(outputs.prompts)
        for label, images in {REAL: outputs.images[:, None], **list_images(outputs)}.items():
            scores = [score_images(towers, to_levels(images[:, s]), embedded) for s in range(images.shape[1])]
            self.note(f'{NAME}/{self.tower}/{label}', torch.stack(scores).mean(0), rows)

    def update_files(self, images: Sequence[np.ndarray], prompts: Sequence[str], label: str,
                     device: torch.device | str = 'cpu') -> None:
        """Add images of files.

        Args:
            images: B images uint8 [H,W,3], of any sizes.
            prompts: B texts.
            label: of the value.
            device: where the towers run.
        """
        towers = self.towers.open(device)
        self.add('images', torch.tensor(len(images)))
        self.note(f'{NAME}/{self.tower}/{label}', score_images(towers, images, towers.embed_texts(prompts)))

    def values(self) -> dict[str, float]:
        """See Metric."""
        return {name: value if is_stderr(name) else max(value, 0.0) for name, value in self.means().items()}


def score_images(towers: Towers, images: Sequence[np.ndarray], texts: Tensor) -> Tensor:
    """Return 100 cos of B images and their texts, [B] float64.

    Args:
        towers: of images and texts.
        images: uint8 [H,W,3], of any sizes.
        texts: embeddings [B,E].
    """
    return 100 * F.cosine_similarity(towers.embed_levels(images).double(), texts.double(), dim=-1)
