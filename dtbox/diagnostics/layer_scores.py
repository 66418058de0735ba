"""Scores of one layer's probes on held-out images, kept for each image and query so that layers can be compared in
pairs.

Legend: B batch, E width of the text embeddings.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dtbox.evaluation.functional import match_pairs, places, psnr, ssim, topk_places
from dtbox.evaluation.functional.image_quality import to_unit
from dtbox.evaluation.functional.ranking import TIE

WINDOW = 11
"""Pixels that SSIM needs on each side."""


class LayerScores:
    """Scores of a layer.

    Attributes:
        psnr, ssim: of each image, dB and [0, 1]; `ssim` is empty for images smaller than its window.
        hits: 't2i' and 'i2t' -> for each query whether the first answer is right; empty without texts.
        zeroshot: 0-based place of the right class for each image that has one; None without classes.
    """

    def __init__(self):
        self.psnr = []
        self.ssim = []
        self.embeddings = []
        self.hits = {}
        self.zeroshot = None

    def add(self, images: torch.Tensor, made: torch.Tensor, embedding: torch.Tensor | None = None) -> None:
        """Add images [B,3,H,W] in [-1, 1], their reconstructions, and embeddings [B,E] or None."""
        images, made = to_unit(images), to_unit(made)
        self.psnr += psnr(images, made).tolist()
        if min(images.shape[-2:]) >= WINDOW:
            self.ssim += ssim(images, made).tolist()
        if embedding is not None:
            self.embeddings.append(embedding.cpu())

    def finish(self, keys: Sequence, sets: Sequence, texts: Sequence, labels: Sequence, classes: Any = None) -> None:
        """Compare the embeddings with the texts, set by set, and with the classes.

        Samples of one key are one image and equal captions one text, as in the metric Retrieval; images without a
        caption are left out.

        Args:
            keys, sets: of each image.
            texts: (caption, embedding [E] or None) of each image.
            labels: class of each image, -1 where it has none.
            classes: embeddings [K,E] of the classes, or None.
        """
        if not self.embeddings:
            return
        embeddings = torch.cat(self.embeddings)
        found = {'t2i': [], 'i2t': []}
        for name in dict.fromkeys(sets):
            index = [i for i, s in enumerate(sets) if s == name and texts[i][0].strip()]
            if index:
                first, captions, pairs = match_pairs([keys[i] for i in index], [texts[i][0].strip() for i in index])
                images = embeddings[index][first]
                told = torch.stack([texts[i][1] for i in index])[captions]
                found['t2i'].append(places(told, images, pairs.flip(1), TIE) < 1)
                found['i2t'].append(places(images, told, pairs, TIE) < 1)
        if found['t2i']:
            self.hits = {way: torch.cat(parts).double().numpy() for way, parts in found.items()}
        classed = [i for i, label in enumerate(labels) if label >= 0]
        if classes is not None and classed:
            self.zeroshot = topk_places(embeddings[classed].double() @ classes.double().T,
                                        torch.tensor(labels)[classed], TIE).numpy()
        self.embeddings = []

    def row(self) -> dict[str, float]:
        """Return dict of the means: `psnr`, `psnr_ci95` (half the 95 % interval over images), `ssim`, `t2i_r1`,
        `i2t_r1`, `zeroshot_top1`, `zeroshot_top5`, as far as they were measured."""
        values = np.array(self.psnr)
        row = dict(psnr=float(values.mean()), psnr_ci95=float(1.96 * values.std(ddof=1) / len(values) ** 0.5)
                   if len(values) > 1 else float('inf'))
        if self.ssim:
            row['ssim'] = float(np.mean(self.ssim))
        row.update({f'{way}_r1': float(hits.mean()) for way, hits in self.hits.items()})
        if self.zeroshot is not None:
            row.update({f'zeroshot_top{k}': float((self.zeroshot < k).mean()) for k in (1, 5)})
        return row
