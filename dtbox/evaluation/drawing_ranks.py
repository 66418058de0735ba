"""Places of drawings: where a prompt finds its drawing, and a drawing its prompt; of all, and of each.

Letters: n samples, T texts, I images, P pairs of an image and a text of it, S sampling seeds, E width of joint
embeddings.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dtbox.evaluation.functional import match_pairs, places, recall_at
from dtbox.evaluation.functional.ranking import TIE

REAL = 'real'
RECONSTRUCTION = 'reconstruction'
SHUFFLED = 'shuffled'
"""Labels of the anchors: what the real images score, their reconstructions, and the images of other prompts."""
WAYS = ('t2i', 'i2t')
"""A text looks for its image; an image looks for its text."""


def recall_pairs(texts: Tensor, images: Tensor, pairs: Tensor, ks: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Return `t2i_rK` and `i2t_rK`: whether a text finds its image among all, and an image its text.

    Args:
        texts: embeddings [T,E].
        images: embeddings [I,E].
        pairs: [P,2] int64, (image, text) that belong together.
        ks: the K.
    """
    return {f'{way}_r{k}': recall_at(rank, k) for way, rank in find_places(texts, images, pairs).items() for k in ks}


def find_places(texts: Tensor, images: Tensor, pairs: Tensor) -> dict[str, Tensor]:
    """Return the places of `recall_pairs`, counted from 0: `t2i` [T] and `i2t` [I]."""
    return dict(t2i=places(texts, images, pairs.flip(1), TIE), i2t=places(images, texts, pairs, TIE))


@dataclass(frozen=True)
class Ranking:
    """Places and cosines of the drawings of a set.

    Attributes:
        keys: I, of the images.
        prompts: T, of the texts.
        pairs: [P,2] int64, (image, text).
        places: 't2i' or 'i2t' -> label of the way of sampling -> [T] or [I] of each of S seeds.
        cosines: label -> [n,S] of all samples, to the embedding of the real image.
        samples: [I], the first sample of each image.
    """
    keys: list[str]
    prompts: list[str]
    pairs: Tensor
    places: dict[str, dict[str, list[Tensor]]]
    cosines: dict[str, Tensor]
    samples: Tensor

    @property
    def seeds(self) -> int:
        """Most seeds of a way of sampling."""
        return max(value.shape[1] for value in self.cosines.values())

    def list_keys(self) -> list[str]:
        """Return the key of the image of each row of `table`."""
        return [self.keys[i] for i, _ in self.pairs.tolist() for _ in range(self.seeds)]

    def table(self) -> dict[str, np.ndarray]:
        """Return columns with a row for each pair and seed [P S].

        `prompt` (text), `seed`, and for each label `cosine_LABEL`, `t2i_LABEL` (how many images of other prompts the
        prompt prefers to its own) and `i2t_LABEL` (how many other prompts the image prefers): 0 is a hit. NaN for seeds
        that a label does not have. A text of several images, or an image of several texts, has its place in the first
        of their rows, so that the fraction of places below K is R@K.
        """
        images, texts = self.pairs[:, 0], self.pairs[:, 1]
        first = dict(t2i=_mark_first(texts), i2t=_mark_first(images))
        columns: dict[str, np.ndarray] = dict(
            prompt=np.array([self.prompts[t] for t in texts.tolist() for _ in range(self.seeds)], dtype=np.str_),
            seed=np.tile(np.arange(self.seeds, dtype=np.float64), len(self.pairs)))
        for label, cosines in self.cosines.items():
            columns[f'cosine_{label}'] = self._widen(cosines[self.samples[images]].double(), first['i2t'])
            for way, owners in dict(t2i=texts, i2t=images).items():
                seeds = torch.stack([seed[owners] for seed in self.places[way][label]], 1).double()
                columns[f'{way}_{label}'] = self._widen(seeds, first[way])
        return columns

    def _widen(self, values: Tensor, first: Tensor) -> np.ndarray:
        """Return values [P,s] of s seeds as a column [P S], NaN where `first` [P] is not true."""
        whole = torch.full((len(values), self.seeds), float('nan'), dtype=torch.float64)
        whole[:, :values.shape[1]] = values
        whole[~first] = float('nan')
        return whole.flatten().numpy()


def _mark_first(owners: Tensor) -> Tensor:
    """Return where in [P] each number stands for the first time."""
    first = {owner: row for row, owner in reversed(list(enumerate(owners.tolist())))}
    return torch.tensor([first[owner] == row for row, owner in enumerate(owners.tolist())], dtype=torch.bool)


def rank_drawings(pairs: Sequence[tuple[str, str]], rows: Mapping[str, Tensor]) -> Ranking:
    """Rank drawings, each seed by itself, and the anchor `SHUFFLED`: each prompt with the real image that stands half
    the set away in the order of keys.

    Args:
        pairs: (key, prompt) of each of n samples.
        rows: 'text' [n,E], and label -> [n,S E], normalised embeddings of the images of each way of sampling; `REAL` is
            among them.
    """
    images, texts, joined = match_pairs(*zip(*pairs))
    rows = dict(rows)
    text = rows.pop('text')[texts]
    order = sorted(range(len(pairs)), key=lambda i: pairs[i])
    half = torch.empty(len(order), dtype=torch.int64)
    half[order] = torch.tensor(order).roll(len(order) // 2)
    rows[SHUFFLED] = rows[REAL][half]
    found: dict[str, dict[str, list[Tensor]]] = {way: {} for way in WAYS}
    for label, value in rows.items():
        each = [find_places(text, seed, joined) for seed in value[images].split(text.shape[1], dim=1)]
        for way in WAYS:
            found[way][label] = [one[way] for one in each]
    real = rows[REAL]
    cosines = {label: (value.unflatten(1, (-1, real.shape[1])) * real[:, None]).sum(-1)
               for label, value in rows.items()}
    keys, prompts = [pairs[i][0] for i in images.tolist()], [pairs[i][1] for i in texts.tolist()]
    return Ranking(keys, prompts, joined, found, cosines, images)
