"""What scores of drawings and captions are compared with: floors that know training data alone, and anchors that know
the right images.

- Floor of drawings: the real training image whose name shares most words with the prompt.
- Floor of captions: the name of the training image whose codes are nearest.
- Anchors: the real images, their reconstructions, and the real images of other prompts, judged as drawings are.

A model that does not beat its floor has learnt nothing beyond looking up.

Shapes: T names, n images, m training images, N places, e code width, E width of joint embeddings, H x W pixels.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.arguments import iterate, read_arguments, read_count, read_floats, read_strings
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.evaluation.drawing_ranks import REAL, RECONSTRUCTION, SHUFFLED, recall_pairs
from dtbox.evaluation.functional import cider_d, match_pairs, normalize_text, psnr, to_unit, word_f1

NEAREST_NAME = 'nearest name'


@read_arguments(names=read_strings, known=read_strings)
def find_nearest_names(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Return for each name the index of the known name that shares most words: those of both over those of either
    (Jaccard), case aside; the first one of equals.

    Raises:
        InputError: no known name.
    """
    if not known:
        raise InputError('there are no `known` names to be near to.')
    theirs = [set(normalize_text(name).split()) for name in known]
    owners: dict[str, list[int]] = {}
    for i, words in enumerate(theirs):
        for word in words:
            owners.setdefault(word, []).append(i)
    nearest = []
    for name in names:
        ours = set(normalize_text(name).split())
        candidates = sorted({i for word in ours for i in owners.get(word, ())}) or [0]
        nearest.append(max(candidates, key=lambda i: (len(ours & theirs[i]) / max(len(ours | theirs[i]), 1), -i)))
    return nearest


@read_arguments(rows=read_floats, known=read_floats, block=read_count())
def find_nearest_codes(rows: Tensor, known: Tensor, block: int = 256) -> Tensor:
    """Return for each image the index [n] of the training image whose code rows are nearest, by squared distance summed
    over places; the first one of equals.

    Args:
        rows: [n,N,e], of each place the sum over depths of its code rows.
        known: [m,N,e], those of the training images.
        block: images that are compared at a time.

    Raises:
        InputError: shapes that do not fit, or no training image.
    """
    if rows.ndim != 3 or rows.shape[1:] != known.shape[1:] or not len(known):
        raise InputError(f'expected code rows [n, N, e] of images and of at least one training image, got '
                         f'{list(rows.shape)} and {list(known.shape)}.')
    bank = known.detach().double().flatten(1)
    squares = bank.square().sum(1)
    parts = [(squares - 2 * part.detach().double().flatten(1) @ bank.T).argmin(1) for part in rows.split(block)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


def _read_functions(value: Any) -> Any:
    if not callable(value):
        raise InputError(f'got a {type(value).__name__}; expected a function.')
    return value


@read_arguments(images=read_floats, real=read_floats, names=read_strings, teacher=_read_functions,
                embed_text=_read_functions, block=read_count())
def judge_images(images: Tensor, real: Tensor, names: Sequence[str], teacher: Callable[[Tensor], Tensor],
                 embed_text: Callable[[list[str]], Tensor], block: int = 64) -> dict[str, float]:
    """Judge images as `DrawingScore` judges drawings.

    Args:
        images: [n,3,H,W], nominally in [-1, 1]: image i stands for name i.
        real: [n,3,H,W], the real images of the names.
        names: n names.
        teacher: images [B,3,H,W] -> embeddings [B,E].
        embed_text: names -> embeddings [T,E].
        block: images that are embedded at a time.

    Returns:
        dict with `t2i_r1`, `t2i_r5`, `i2t_r1`, `i2t_r5`, `cosine` to the real image's embedding, and `psnr` in dB.

    Raises:
        InputError: not one image and one real image for each name.
    """
    if not len(images) == len(real) == len(names) or not names:
        raise InputError(f'there are {format_count(len(names), "name")}, {format_count(len(images), "image")} and '
                         f'{len(real)} real images; expected one of each a name.')
    rows = [torch.cat([F.normalize(teacher(part).float(), dim=-1).cpu() for part in x.clamp(-1, 1).split(block)])
            for x in (images, real)]
    numbered = [str(i) for i in range(len(names))]
    firsts, texts, pairs = match_pairs(numbered, list(names))
    text = embed_text([names[int(i)] for i in texts]).float().cpu()
    return dict(recall_pairs(text, rows[0][firsts], pairs), cosine=float((rows[0] * rows[1]).sum(1).mean()),
                psnr=float(psnr(to_unit(images), to_unit(real)).mean()))


def measure_drawing_anchors(real: Tensor, names: Sequence[str], training: Tensor, training_names: Sequence[str],
                            teacher: Callable[[Tensor], Tensor], embed_text: Callable[[list[str]], Tensor],
                            reconstructions: Tensor | None = None) -> dict[str, dict[str, float]]:
    """Return anchor -> scores (see `judge_images`): 'real', 'reconstruction', 'shuffled' (image i is that of the name
    half the set further on) and the floor 'nearest name'.

    Args:
        real, names, teacher, embed_text: see `judge_images`.
        training: [m,3,H,W], images of the training set.
        training_names: m names.
        reconstructions: [n,3,H,W] of the real images, or None.
    """
    sides = {REAL: real, NEAREST_NAME: training[find_nearest_names(names, training_names)],
             SHUFFLED: real.roll(len(real) // 2, dims=0)}
    if reconstructions is not None:
        sides[RECONSTRUCTION] = reconstructions
    return {label: judge_images(images, real, names, teacher, embed_text) for label, images in sides.items()}


def _read_captions(value: Any) -> list[str]:
    return [normalize_text(text) for text in iterate(value, 'a list of strings')]


@read_arguments(captions=_read_captions, names=_read_captions)
def score_captions(captions: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Return `exact`, `f1` and `cider` of captions beside right names, as `CaptionScore` measures replies.

    Raises:
        InputError: not one caption for each name.
    """
    if len(captions) != len(names) or not names:
        raise InputError(f'there are {format_count(len(captions), "caption")} of {format_count(len(names), "name")}; '
                         'expected one for each.')
    n = len(names)
    return dict(exact=sum(a == b for a, b in zip(captions, names)) / n,
                f1=sum(word_f1(a, b) for a, b in zip(captions, names)) / n,
                cider=sum(cider_d(captions, [[name] for name in names])) / n)


def measure_caption_floor(rows: Tensor, names: Sequence[str], training: Tensor,
                          training_names: Sequence[str]) -> dict[str, float]:
    """Return `score_captions` of the names of the nearest training images.

    Args:
        rows: [n,N,e], of each place the sum over depths of its code rows.
        names: n names of these images.
        training: [m,N,e], code rows of the training images.
        training_names: m names.
    """
    nearest = find_nearest_codes(rows, training).tolist()
    return score_captions([training_names[i] for i in nearest], names)
