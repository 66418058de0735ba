"""A tiny open_clip model of random weights, and towers of dtbox that read them."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

NAME = 'dtbox-tiny-clip'
WORDS = ['a red apple', 'a face', 'the sea at night', 'two dogs', 'a chair', 'an old man']


@pytest.fixture(scope='session')
def tiny_clip(tmp_path_factory):
    """(checkpoint, model, preprocess, tokenizer) of open_clip, the model called `NAME`."""
    import open_clip
    folder = tmp_path_factory.mktemp('tiny_clip')
    vision = dict(image_size=32, layers=2, width=32, head_width=16, patch_size=8)
    text = dict(context_length=77, vocab_size=49408, width=32, heads=2, layers=1)
    (folder / f'{NAME}.json').write_text(json.dumps(dict(embed_dim=16, vision_cfg=vision, text_cfg=text)))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(NAME)
    torch.save(model.state_dict(), folder / 'clip.pt')
    return str(folder / 'clip.pt'), model.eval(), preprocess, open_clip.get_tokenizer(NAME)


def make_files(folder, count=6, seed=0, size=(40, 52)):
    """Write images NAME.png of smooth noise; returns their paths."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(count):
        small = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        paths.append(folder / f'{i}.png')
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(paths[-1])
    return paths
