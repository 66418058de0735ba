"""The tiny tokenizer and the tiny language model as the page opens them."""
import pytest

import dtbox
from dtbox.app.functions.images import show_image
from dtbox.app.opened import Opened


@pytest.fixture(scope='session')
def opened(tiny_run):
    """A tokenizer of 32 pixels: 4 x 4 tokens, streams pixel and semantic of 2 depths of 64 codes; 8 held-out images."""
    return Opened('tiny', str(tiny_run), dtbox.load(tiny_run))


@pytest.fixture(scope='session')
def talking(mllm_run, mllm):
    """A language model on its codes, whose tokenizer names no images."""
    return Opened('talking', str(mllm_run), mllm)


@pytest.fixture(scope='session')
def shown(opened):
    """Two held-out images."""
    data = opened.dataset
    return [show_image(opened, data[i]['image'].permute(1, 2, 0).numpy()) for i in (0, 1)]
