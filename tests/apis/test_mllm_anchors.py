"""Floors and anchors that a tokenizer run gives, with a stand-in of its task."""
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dtbox.apis import mllm_anchors
from dtbox.apis.mllm_anchors import measure_run_anchors, read_drawings
from dtbox.datasets import TwemojiDraw, TwemojiTalk
from dtbox.errors import InputError
from dtbox.evaluation import EvalContext


class Quantizer:
    """Two depths: rows are tens and ones."""

    def decode(self, codes):
        return (codes[..., :1] * 10 + codes[..., 1:]).float()


class Task:
    """A tokenizer of one place, whose codes are the mean brightness in 0..99."""
    tokenizer = SimpleNamespace(
        streams=dict(pixel=SimpleNamespace(quantizer=Quantizer())), decoder=True, guided=False,
        encode=lambda images: dict(pixel=torch.stack([(x := ((images.mean((1, 2, 3)) + 1) * 49.5).round().long()) // 10,
                                                      x % 10], -1)[:, None]),
        decode=lambda codes, texts: (Quantizer().decode(codes['pixel'])[..., None] / 49.5 - 1).expand(-1, 3, 32, 32))

    def prepare(self, batch):
        return replace(batch, images=batch.images.float() / 127.5 - 1)

    def eval_context(self, dataset):
        return EvalContext(teacher=lambda images: torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1),
                           embed_text=lambda texts: torch.nn.functional.one_hot(torch.arange(len(texts)) % 12, 12) * 1.)


@pytest.fixture
def task(monkeypatch):
    task = Task()
    monkeypatch.setattr(mllm_anchors, 'open_config', lambda *args: ({}, ''))
    monkeypatch.setattr(mllm_anchors, 'open_task', lambda *args: (task, {}))
    return task


def test_anchors_of_a_run(task):
    """The training set holds the held-out emoji themselves: the floors find them."""
    data = dict(type='TwemojiDraw', split='variants', limit=8, size=32)
    found = measure_run_anchors('run', heldout=data, training=dict(data), block=3)
    assert set(found['drawings']) == {'real', 'reconstruction', 'nearest name', 'shuffled'}
    assert found['drawings']['nearest name'] == found['drawings']['real']
    assert found['drawings']['shuffled']['cosine'] < found['drawings']['real']['cosine'] == pytest.approx(1)
    assert found['drawings']['reconstruction']['psnr'] < 80
    images, names = read_drawings(TwemojiDraw('variants', limit=8, size=32))
    bright = ((images.float() / 127.5 - 1).mean((1, 2, 3)) * 49.5 + 49.5).round().tolist()
    right = sum(bright.index(value) == i for i, value in enumerate(bright))  # the first of equal codes is taken
    assert found['captions']['pixel']['exact'] == right / len(names)


def test_a_run_without_a_judge(task, monkeypatch):
    monkeypatch.setattr(task, 'eval_context', lambda dataset: EvalContext(), raising=False)
    with pytest.raises(InputError, match='no teacher with a text tower'):
        measure_run_anchors('run')


def test_data_without_drawings():
    with pytest.raises(InputError, match="no conversation of the kind 'draw'"):
        read_drawings(TwemojiTalk('variants', limit=2, size=32))
