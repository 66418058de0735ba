"""A tokenizer's output and a batch, small enough to compute terms by hand."""
import pytest
import torch

from dtbox.structures import Batch, TeacherOutput, TokenizerOutput


@pytest.fixture
def batch():
    return Batch(images=torch.zeros(2, 3, 2, 2), texts=['a cat', 'a dog'])


@pytest.fixture
def outputs(batch):
    features = torch.tensor([[[1., 0.], [0., 2.]], [[1., 0.], [0., 2.]]], requires_grad=True)
    tokens = torch.tensor([[[2., 0.], [2., 0.]], [[2., 0.], [2., 0.]]])
    return TokenizerOutput(
        images=batch.images, reconstructions=torch.full((2, 3, 2, 2), .5, requires_grad=True),
        features=dict(semantic=features, pixel=features.detach()),
        losses=dict(pixel=dict(commitment=torch.tensor(.25, requires_grad=True)),
                    semantic=dict(commitment=torch.tensor(.5), entropy=torch.tensor(3.))),
        pooled=torch.tensor([[3., 4.], [1., 0.]], requires_grad=True), text_pooled=torch.tensor([[2., 0.], [0., 5.]]),
        logit_scale=torch.tensor([0.], requires_grad=True), logit_bias=torch.tensor(-1., requires_grad=True),
        teacher=TeacherOutput(tokens=tokens, pooled=torch.tensor([[4., 3.], [1., 0.]])))
