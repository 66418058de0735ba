"""What a multimodal language model hands to metrics."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.mllm_output import MLLMOutput, Reply
from dtbox.structures import take


def test_take():
    """Samples are selected in every field, as `SetEvaluator` does it."""
    replies = [[Reply('caption', 'what?', f'{i}', 'x')] for i in range(3)]
    output = MLLMOutput(torch.arange(3.)[:, None, None, None], replies=replies, prompts=['a', 'b', 'c'],
                        drawings={'s=1': torch.arange(3.)[:, None, None, None, None]},
                        nats=dict(pixel=torch.arange(6.).reshape(3, 2)))
    part = take(output, torch.tensor([2, 0]), 3)
    assert part.images.flatten().tolist() == [2, 0] and part.drawings['s=1'].flatten().tolist() == [2, 0]
    assert part.prompts == ['c', 'a'] and [r[0].truth for r in part.replies] == ['2', '0']
    assert part.nats['pixel'].tolist() == [[4, 5], [0, 1]] and part.nats_without == {}


def test_numbers_that_do_not_fit():
    images = torch.zeros(3, 3, 2, 2)
    with pytest.raises(InputError, match='3 images has 2 of replies'):
        MLLMOutput(images, replies=[[], []])
    with pytest.raises(InputError, match='3 images has 1 of drawings s=1'):
        MLLMOutput(images, drawings={'s=1': images[:1, None]})


def test_right_answers():
    assert Reply('caption', '', 'a', 'x', others=('b',)).truths == ('a', 'b')
