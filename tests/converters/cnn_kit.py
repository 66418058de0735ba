"""What tests of the convolutional tokenizers share: golden files, converters without a run folder, comparisons."""
import re

import torch

from dtbox.registry import TOKENIZERS
from dtbox.weights.state_dicts import load_into
from tests.conftest import DATA


def widen(node):
    """The same with floating tensors in float32, as they were when the values were computed."""
    if isinstance(node, dict):
        return {key: widen(value) for key, value in node.items()}
    return node.float() if torch.is_tensor(node) and node.dtype not in (torch.float64, torch.int64) else node


def read_golden(name):
    return widen(torch.load(DATA / f'golden_{name}.pt', weights_only=True))


def read_keys(name):
    """Published name -> tensor of its shape on no memory."""
    lines = (DATA / f'keys_{name}.txt').read_text().splitlines()[1:]
    return {key: torch.empty([int(n) for n in re.findall(r'\d+', shape)], device='meta')
            for key, shape in (line.strip().split(': ', 1) for line in lines)}


def build(new):
    """The VisualTokenizer of a `Converted`, in evaluation."""
    model = TOKENIZERS.build(new.config)
    load_into(model, new.state, new.source)
    return model.eval()


def check_whole(config, state):
    """Every name and shape of the tokenizer is in `state`, and no other."""
    with torch.device('meta'):
        model = TOKENIZERS.build(config)
    assert {name: value.shape for name, value in state.items()} == {
        name: value.shape for name, value in model.state_dict().items()}
    return model


def is_near(got, want, limit=1e-5):
    return (got - want).abs().max() <= limit * max(1, want.abs().max())


def check_gradients(model, want, names, limit):
    """Compare gradients, each with its own largest value; `names`: published name -> ours."""
    found = dict(model.named_parameters())
    for theirs, ours in names.items():
        grad = found[ours].grad.view_as(want[theirs])
        assert (grad - want[theirs]).abs().max() <= limit * want[theirs].abs().max(), theirs


def our_name(name):
    """Published name of a CNN's parameter (taming's) -> that of a VisualTokenizer with one vocabulary."""
    name = re.sub(r'^encoder\.', 'encoders.cnn.', name)
    name = re.sub(r'^decoder\.', 'decoder.decoder.', name)
    name = re.sub(r'^quant_conv\.', 'vocabularies.pixel.projections.0.fc.', name)
    return re.sub(r'^post_quant_conv\.', 'vocabularies.pixel.post_projection.fc.', name)


def to_map(tokens, grid):
    """tokens [B,N,D] -> [B,D,h,w]."""
    return tokens.transpose(1, 2).unflatten(2, grid)
