"""A teacher on another grid than the student: tokens are resized, or one sentence says what does not fit."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.layout import Grid, Sequence
from dtbox.registry import MODELS
from dtbox.training.teacher import Teacher
from dtbox.training.teacher.token_grid import TokenResize

CLASSIFIER = dict(type='StagedClassifier', input_size=64, pooled='logits')


def test_fewer_tokens_by_area_means():
    """Each of four tokens is the mean of its four."""
    tokens = torch.arange(16.).view(1, 16, 1)
    found = TokenResize(Grid(4, 4), 2)(tokens)
    assert found.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_more_tokens_bicubically():
    """As torch interpolates; rows and columns do not change places."""
    maps = torch.randn(2, 5, 2, 3)
    found = TokenResize(Grid(2, 3), (4, 6))(maps.flatten(2).transpose(1, 2))
    wanted = torch.nn.functional.interpolate(maps, (4, 6), mode='bicubic', align_corners=False)
    assert torch.allclose(found, wanted.flatten(2).transpose(1, 2), atol=1e-6)


def test_grids_of_other_proportions():
    with pytest.raises(InputError, match=r'lie on a 4 x 4 token grid, which does not fit a 4 x 6 token grid: rows and'):
        TokenResize(Grid(4, 4), (4, 6))
    with pytest.raises(InputError, match='token_grid'):
        TokenResize(Sequence(7), 2)


def test_teacher():
    """Stage 6 of 64 pixels has 2 x 2 tokens; a student of 4 x 4 gets 16, the last tokens stay. The cache tells the
    settings apart."""
    teacher = Teacher(CLASSIFIER, layer=6, image_size=32, token_grid=4)
    output = teacher(torch.rand(2, 3, 32, 32))
    assert output.tokens.shape == (2, 16, 192) and output.last.shape == (2, 4, 320) and output.pooled.shape == (2, 1000)
    assert teacher.layout == Grid(4, 4) and teacher.settings == '_at64x64_on4x4'
    plain = Teacher(dict(CLASSIFIER, input_size=None), layer=6, image_size=32)
    assert plain.settings == '' and plain.layout == Grid(1, 1)


@pytest.mark.parametrize('teacher, width, says', [
    (dict(layer=6), 192, r'^teacher\.token_grid: the teacher gives tokens on a 2 x 2 token grid, the vocabulary '
                         r'`semantic` learns from them on a 4 x 4 token grid\. Set token_grid=\(4, 4\) of the teacher'),
    (dict(layer=6, token_grid=(4, 4)), 32, r'the tokens of the teacher have 192 channels, the features of `semantic` '
                                           r'that learn from them 32\. Set out_dim=192 of the vocabulary'),
    (dict(layer=6, token_grid=(4, 4)), 192, None)])
def test_what_does_not_fit_the_student(teacher, width, says):
    """The grid, then the width, is told before a step."""
    encoder = dict(type='TimmViT', name='vit_base_patch16_siglip_224', model_args=dict(
        embed_dim=32, depth=2, num_heads=2, patch_size=8))
    config = dict(type='TokenizerTask', teacher=dict(encoder=CLASSIFIER, **teacher), losses=dict(
        semantic=dict(type='SemanticLoss')), tokenizer=dict(
            image_size=32, encoders=dict(trunk=encoder), vocabularies=dict(semantic=dict(
                taps=2, quantizer=dict(type='FSQ', levels=[4, 4]), projection=dict(type='LinearProjection'),
                out_dim=width))))
    if says is None:
        assert MODELS.build(config).teacher.layer == 6
        return
    with pytest.raises(InputError, match=says):
        MODELS.build(config)
