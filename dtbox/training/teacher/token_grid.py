"""A teacher on another grid than the student: its tokens are resized, and what does not fit is told before a run.

Legend: B batch, N tokens in row-major order, D width, h and w rows and columns.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from dtbox.errors import InputError
from dtbox.layers.map_resizing import area_matrix, bicubic_matrix, resize_map
from dtbox.layers.sizes import read_pair
from dtbox.layout import Grid, TokenLayout, need_grid
from dtbox.losses.criterion import Criterion
from dtbox.losses.semantic import SemanticLoss


class TokenResize:
    """Tokens of one grid on another of the same proportions: to fewer by area means, to more bicubically.

    Args:
        source: layout of the tokens, a Grid.
        target: (rows, columns) wanted, or one number for both.

    Raises:
        InputError: tokens without a grid, or grids of other proportions.
    """

    def __init__(self, source: TokenLayout, target: int | Sequence[int]) -> None:
        self.source = need_grid(source, 'token_grid')
        self.target = Grid(*read_pair(target, 'token_grid'))
        (h, w), (rows, columns) = self.source.map_shape, self.target.map_shape
        if h * columns != w * rows:
            raise InputError(f'the tokens of the teacher lie on a {self.source}, which does not fit a {self.target}: '
                             'rows and columns change by different factors. Take a grid of the same proportions, or '
                             'another size of the images.', 'token_grid')
        self.matrix = bicubic_matrix if rows > h else area_matrix

    def __call__(self, tokens: Tensor) -> Tensor:
        """tokens [B,N,D] -> [B,N',D]."""
        maps = tokens.transpose(1, 2).unflatten(2, self.source.map_shape)
        maps = resize_map(maps, self.target.map_shape, self.matrix)
        return maps.flatten(2).transpose(1, 2)


def check_student(teacher: Any, tokenizer: nn.Module, criterion: Criterion) -> None:
    """Raise `InputError` where a `SemanticLoss` compares features of a vocabulary with tokens of a teacher on another
    grid, or of another width.

    Args:
        teacher: Teacher.
        tokenizer: VisualTokenizer.
        criterion: the losses.
    """
    for loss in criterion.losses.values():
        name = loss.requires[0].partition('.')[2] if isinstance(loss, SemanticLoss) else ''
        if name not in tokenizer.vocabularies:
            continue
        vocabulary, theirs = tokenizer.vocabularies[name], teacher.layout
        mine = vocabulary.feature_layout
        if mine.tokens != theirs.tokens:
            shape = mine.map_shape if isinstance(mine, Grid) else None
            todo = f'Set token_grid={shape} of the teacher' if shape else 'Take a teacher of that layout'
            raise InputError(f'the teacher gives tokens on a {theirs}, the vocabulary `{name}` learns from them on '
                             f'a {mine}. {todo}, or other sizes of images and patches.', 'teacher.token_grid')
        width = teacher.encoder.width(teacher.layer)
        if vocabulary.out_dim != width:
            raise InputError(f'the tokens of the teacher have {width} channels, the features of `{name}` that '
                             f'learn from them {vocabulary.out_dim}. Set out_dim={width} of the vocabulary (without '
                             '`reinject`), or take a trunk of that width or another layer of the teacher.',
                             f'tokenizer.vocabularies.{name}.out_dim')
