"""What a part of somebody else returns is checked where it is handed on: the error names the part and what was
expected."""
import re

import pytest
import torch
import torch.nn as nn

from dtbox.decoders.light import LightCNNDecoder
from dtbox.encoders.timm_vit import TimmViT
from dtbox.errors import InputError
from dtbox.heads.pools import MeanPool
from dtbox.losses.base import Loss
from dtbox.losses.criterion import Criterion
from dtbox.part_outputs import check_logits
from dtbox.quantizers.vq import VQ
from dtbox.registry import LOSSES
from dtbox.structures import QuantizerOutput
from tests.tokenizers.conftest import PLAIN, build, vocabulary

IMAGES = torch.zeros(2, 3, 16, 16)
QUANTIZER = dict(size=16, dim=8)


def refused(says, **changes):
    model = build(**changes)
    with pytest.raises(InputError, match=says):
        model(IMAGES)


def quantize_with(forward=lambda out: out, encode=lambda codes: codes, decode=lambda features: features):
    """Return vocabularies whose quantizer changes what a VQ returns."""
    class Changed(VQ):
        def forward(self, z):
            return forward(super().forward(z))

        def encode(self, z):
            return encode(super().encode(z))

        def decode(self, codes):
            return decode(super().decode(codes))
    return dict(pixel=vocabulary(2, quantizer=dict(type=Changed, **QUANTIZER)), semantic=vocabulary(3))


@pytest.mark.parametrize('change, says', [
    (lambda o: QuantizerOutput(o.features.half(), o.codes, o.losses),
     'Changed gave features that are a float16 tensor [2, 16, 8]; expected a float32 tensor [2, 16, 8]'),
    (lambda o: QuantizerOutput(o.features[..., :4], o.codes, o.losses),
     'Changed gave features that are a float32 tensor [2, 16, 4]; expected a float32 tensor [2, 16, 8]'),
    (lambda o: QuantizerOutput(None, o.codes, o.losses), 'Changed gave features that are None'),
    (lambda o: QuantizerOutput(o.features, o.codes, dict(commitment=0.5)),
     'Changed gave the term `commitment` that is 0.5; expected a scalar float tensor'),
    (lambda o: QuantizerOutput(o.features, o.codes, dict(commitment=o.features)), 'Changed gave the term `commitment`'),
    (lambda o: QuantizerOutput(o.features, o.codes, [1]), 'Changed gave terms that are [1]'),
    (lambda o: QuantizerOutput(o.features, o.codes[..., 0], o.losses), 'Changed gave codes that are an int64 tensor'),
    (lambda o: QuantizerOutput(o.features, o.codes.int(), o.losses), 'Changed gave codes that are an int32 tensor'),
    (lambda o: QuantizerOutput(o.features, None, o.losses), 'Changed gave codes that are None')])
def test_quantizers(change, says):
    refused(re.escape(says), vocabularies=quantize_with(change))


def test_a_quantizer_whose_other_methods_go_wrong():
    model = build(vocabularies=quantize_with(encode=lambda codes: codes.float()))
    with pytest.raises(InputError, match=r'gave codes that are a float32 tensor \[2, 16, 1\]; expected an int64'):
        model.encode(IMAGES)
    model = build(vocabularies=quantize_with(decode=lambda features: features[:, :3]))
    with pytest.raises(InputError, match=r'Changed gave features that are a float32 tensor \[2, 3, 8\]'):
        model.decode(model.encode(IMAGES))


def test_features_of_another_type_under_autocast():
    """There the type of what came in says nothing about that of what the next layer takes."""
    change = quantize_with(lambda o: QuantizerOutput(o.features.float(), o.codes, o.losses))
    with torch.autocast('cpu', torch.bfloat16):
        assert build(vocabularies=change)(IMAGES).reconstructions.isfinite().all()


@pytest.mark.parametrize('change, says', [
    (lambda tokens: tokens.half(), 'Changed gave the output of layer 0 that is a float16 tensor'),
    (lambda tokens: tokens[:, 1:], r'\[2, 15, 32\]; expected a float32 tensor \[2, 16, 32\]'),
    (lambda tokens: tokens[..., :8], r'\[2, 16, 8\]; expected a float32 tensor \[2, 16, 32\]'),
    (lambda tokens: tokens.long(), 'that is an int64 tensor')])
def test_encoders(change, says):
    class Changed(TimmViT):
        def patches(self, tokens):
            return change(super().patches(tokens))
    refused(says, encoders=dict(trunk={**PLAIN, 'type': Changed}))


def test_an_encoder_that_leaves_out_taps():
    class Forgetful(TimmViT):
        def run(self, tokens, start, stop, taps=()):
            return super().run(tokens, start, stop)
    refused(r'Forgetful gave taps that are \[\]; expected those of the layers \[1\], too',
            encoders=dict(trunk={**PLAIN, 'type': Forgetful}))


def test_decoders_heads_and_projections():
    class Decoder(LightCNNDecoder):
        def forward(self, features):
            return super().forward(features)[:, 1:]
    refused(r'Decoder gave images that are a float32 tensor \[2, 2, 16, 16\]; expected .* \[2, 3, any, any\]',
            decoder=dict(type=Decoder, reads=['pixel'], width=32, blocks=1))

    class Head(MeanPool):
        def forward(self, tokens, encoder):
            return super().forward(tokens, encoder)[:, None]
    refused(r'Head gave pooled embeddings that are a float32 tensor \[2, 1, 8\]; expected a float tensor \[2, 8\]',
            head=dict(type=Head, out_dim=8))

    class Projection(nn.Linear):
        def __init__(self, in_dim, out_dim):
            super().__init__(in_dim, out_dim + 1)
    refused(r'Projection gave projected tokens that are a float32 tensor \[2, 16, 9\]; expected .* \[2, 16, 8\]',
            vocabularies=dict(pixel=vocabulary(2, projection=dict(type=Projection)), semantic=vocabulary(3)))


@pytest.mark.parametrize('terms, says', [
    (dict(a=0.5), 'Given gave the term `a` that is 0.5'), (dict(a=torch.zeros(2)), r'a float32 tensor \[2\]'),
    (dict(a=torch.tensor(1)), 'an int64 tensor'), (torch.zeros(()), 'Given gave terms that are a float32 tensor')])
def test_losses(terms, says):
    class Given(Loss):
        def terms(self, outputs, batch):
            return terms
    LOSSES.register_module(name='Given', module=Given, force=True)
    try:
        criterion = Criterion(dict(given=dict(type='Given')))
    finally:
        LOSSES.module_dict.pop('Given')
    with pytest.raises(InputError, match=says) as e:
        criterion(build()(IMAGES), None)
    assert e.value.where == 'given'


@pytest.mark.parametrize('logits', [None, torch.zeros(3, 1), torch.zeros(4, dtype=torch.int64), torch.zeros(())])
def test_discriminators(logits):
    with pytest.raises(InputError, match='Linear gave logits that are'):
        check_logits(nn.Linear(1, 1), logits, 4)
