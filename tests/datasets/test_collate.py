"""Samples become a Batch."""
import torch

from dtbox.datasets import collate


def test_texts_of_a_batch_without_any_where_others_have_some():
    item = dict(image=torch.zeros(3, 4, 4, dtype=torch.uint8))
    assert collate([item]).texts is None and collate([item], with_texts=True).texts == ['']
