"""Parts of a tokenizer that learn beside parts that stand still."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.registry import TOKENIZERS
from dtbox.training.optim import build_optim_wrappers


@pytest.fixture
def tokenizer():
    return TOKENIZERS.build(dict(
        type='VisualTokenizer', image_size=16,
        encoders=dict(trunk=dict(type='TimmViT', name='vit_base_patch16_siglip_224',
                                 model_args=dict(embed_dim=32, depth=2, num_heads=2, patch_size=8,
                                                 proj_drop_rate=0.5))),
        vocabularies={name: dict(taps=1, quantizer=dict(type='VQ', size=8, dim=4)) for name in ('pixel', 'other')},
        decoder=dict(type='ViTDecoder', reads=['pixel'], width=32, depth=1, heads=2), head=dict(type='TrunkPool')))


def test_the_rest_has_no_gradient(tokenizer):
    """Also after an optimizer has been built, which lets everything learn that nobody froze."""
    tokenizer.freeze_all_but(['decoder', 'vocabularies.other'])
    build_optim_wrappers(dict(generator=tokenizer), dict(generator=dict(optimizer=dict(type='Adam', lr=1e-3))))
    learns = {name for name, parameter in tokenizer.named_parameters() if parameter.requires_grad}
    assert learns == {name for name, _ in tokenizer.named_parameters()
                      if name.startswith(('decoder.', 'vocabularies.other.'))}


def test_frozen_parts_stay_in_evaluation_mode(tokenizer):
    """Their dropout is off and their codebooks collect nothing; what learns is in training mode."""
    tokenizer.freeze_all_but(['decoder', 'vocabularies.other'])
    tokenizer.train()
    assert tokenizer.training and all(module.training for module in tokenizer.decoder.modules())
    assert not any(module.training for module in tokenizer.encoders.modules())
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(tokenizer(images).features['pixel'], tokenizer(images).features['pixel'])
    tables = {name: v.quantizer.codebook.weight.clone() for name, v in tokenizer.vocabularies.items()}
    tokenizer.commit()
    assert torch.equal(tables['pixel'], tokenizer.vocabularies['pixel'].quantizer.codebook.weight)
    assert not torch.equal(tables['other'], tokenizer.vocabularies['other'].quantizer.codebook.weight)
    assert not any(module.training for module in tokenizer.eval().modules())


@pytest.mark.parametrize('names, says', [
    (['decodr'], 'trains: `decodr` is to learn, and the tokenizer has no such part. Name parts with weights: encoders, '
                 'vocabularies, decoder'), ([''], 'no such part'), (['head'], 'head is to learn, so that there are no '
                                                                     'weights to train'), ([], 'no part is to learn')])
def test_what_cannot_learn_is_named(tokenizer, names, says):
    with pytest.raises(InputError, match=says):
        tokenizer.freeze_all_but(names)
