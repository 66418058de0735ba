"""SigLIP towers: every name, every layout of weights, equal to the published network."""
import json

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file

from dtbox.errors import InputError
from dtbox.registry import ENCODERS, TEXTS
from dtbox.weights.siglip_names import VARIANTS, find_sizes
from tests.conftest import write_published


@pytest.fixture(scope='module')
def folder(golden, tmp_path_factory):
    """A tiny SigLIP as Hugging Face lays it out: config.json, model.safetensors."""
    root = tmp_path_factory.mktemp('siglip')
    _, siglip = write_published(root, golden)
    state = {k.removeprefix('siglip_model.'): v.contiguous() for k, v in golden['state_dict'].items()
             if k.startswith('siglip_model.')}
    save_file(state, siglip / 'model.safetensors')
    return siglip


def state_of(folder):
    from safetensors.torch import load_file
    return load_file(folder / 'model.safetensors')


def vision(name, **args):
    encoder = ENCODERS.build(dict(type='SigLIP', name=str(name), **args))
    encoder.init_weights()
    return encoder.eval()


def text(name, **args):
    tower = TEXTS.build(dict(type='SigLIPText', name=str(name), **args))
    tower.init_weights()
    return tower.eval()


def check(golden, encoder=None, tower=None):
    """Equal to what the published network gave: blocks before the semantic codes take over, and texts."""
    with torch.no_grad():
        if encoder is not None:
            want = golden['intermediates']['hidden_states']
            _, found = encoder.run(encoder.embed(golden['inputs']['images']), 0, 5, set(range(1, 6)))
            for layer in range(1, 6):
                assert (found[layer] - want[layer]).abs().max() < 1e-5
            assert (encoder.pool(want[6]) - golden['intermediates']['pooler_output']).abs().max() < 1e-5
        if tower is not None:
            assert (tower(golden['inputs']['text']) - golden['intermediates']['text_pooled']).abs().max() < 1e-5
            assert float(tower.logit_scale) == float(golden['outputs']['logit_scale'])


def test_hugging_face(folder, golden):
    check(golden, vision(folder), text(folder))
    check(golden, vision(folder, weights=str(folder / 'model.safetensors')))


def sharded(folder, out):
    """Two shards with an index, bin files."""
    state = state_of(folder)
    names = {k: f'pytorch_model-{1 + (i % 2)}.bin' for i, k in enumerate(state)}
    for file in set(names.values()):
        torch.save({k: v for k, v in state.items() if names[k] == file}, out / file)
    (out / 'pytorch_model.bin.index.json').write_text(json.dumps(dict(weight_map=names)))


def open_clip_layout(folder, out):
    encoder, tower = vision(folder), text(folder)
    state = {**{f'visual.trunk.{k}': v for k, v in encoder.trunk.state_dict().items()},
             **{f'text.{k}': v for k, v in tower.tower.state_dict().items()},
             'logit_scale': tower.logit_scale.detach(), 'logit_bias': tower.logit_bias.detach()}
    save_file({k: v.contiguous() for k, v in state.items()}, out / 'open_clip_model.safetensors')


@pytest.mark.parametrize('write', [sharded, open_clip_layout])
def test_other_layouts(folder, golden, tmp_path, write):
    write(folder, tmp_path)
    check(golden, vision(folder, weights=str(tmp_path)), text(folder, weights=str(tmp_path)))


def test_timm_layout(folder, golden, tmp_path):
    save_file(vision(folder).trunk.state_dict(), tmp_path / 'model.safetensors')
    check(golden, vision(folder, weights=str(tmp_path)))
    with pytest.raises(InputError, match='holds no SigLIP text tower: .* Its first keys'):
        text(folder, weights=str(tmp_path))


def test_half_precision_files(folder, golden, tmp_path):
    save_file({k: v.bfloat16() for k, v in state_of(folder).items()}, tmp_path / 'model.safetensors')
    assert vision(folder, weights=str(tmp_path)).trunk.pos_embed.dtype == torch.float32


# ---- names -----------------------------------------------------------------------------------------------------------

def shapes(state, prefix=''):
    return {k.removeprefix(prefix): tuple(v.shape) for k, v in state.items() if k.startswith(prefix)}


@pytest.mark.parametrize('hub, model, clip', [
    ('google/siglip2-base-patch16-256', 'vit_base_patch16_siglip_256', 'ViT-B-16-SigLIP2-256'),
    ('google/siglip-large-patch16-256', 'vit_large_patch16_siglip_256', 'ViT-L-16-SigLIP-256'),
    ('google/siglip2-large-patch16-384', 'vit_large_patch16_siglip_384', 'ViT-L-16-SigLIP2-384'),
    ('google/siglip-so400m-patch14-384', 'vit_so400m_patch14_siglip_384', 'ViT-SO400M-14-SigLIP-384'),
    ('google/siglip2-so400m-patch16-256', 'vit_so400m_patch16_siglip_256', 'ViT-SO400M-16-SigLIP2-256'),
    ('google/siglip2-so400m-patch16-384', 'vit_so400m_patch16_siglip_384', 'ViT-SO400M-16-SigLIP2-384')])
def test_sizes_are_those_of_timm_and_open_clip(hub, model, clip):
    """One set of sizes under three kinds of names; the shapes of all weights are those that timm and open_clip have."""
    assert find_sizes(clip) == find_sizes(hub) == find_sizes(model + ('.v2_webli' if 'siglip2' in hub else '.webli'))
    with torch.device('meta'):
        own = ENCODERS.build(dict(type='SigLIP', name=clip))
        other = timm.create_model(model, num_classes=0)
        tower = TEXTS.build(dict(type='SigLIPText', name=hub)).tower
        theirs = open_clip.model._build_text_tower(1, open_clip.model.CLIPTextCfg(**{
            k: v for k, v in open_clip.get_model_config(clip)['text_cfg'].items() if k != 'proj_bias'}), False)
    assert shapes(own.trunk.state_dict()) == shapes(other.state_dict())
    found, want = shapes(tower.state_dict()), shapes(theirs.state_dict())
    assert {k: v for k, v in found.items() if 'text_projection' not in k} == {k: v for k, v in want.items()
                                                                              if 'text_projection' not in k}
    assert found['text_projection.weight'] == (own.width(1), own.width(1))
    assert {type(m).__name__ for m in own.modules() if 'GELU' in type(m).__name__} == {'GELUTanh'}


def test_patch_14_at_384_sees_27_rows():
    """6 pixels at the edges are not seen; 378 pixels, as timm and open_clip name it, make the same tokens."""
    assert find_sizes('ViT-SO400M-14-SigLIP2-378').hub == 'google/siglip2-so400m-patch14-384'
    with torch.device('meta'):
        encoder = ENCODERS.build(dict(type='SigLIP', name='siglip2-so400m-patch14-384',
                                      vision=dict(num_hidden_layers=2)))
    assert encoder.grid(1) == (27, 27) and encoder.depth == 2 and encoder.image_size == (384, 384)
    images = torch.randn(1, 3, 384, 384)
    small = ENCODERS.build(dict(type='SigLIP', name='siglip2-so400m-patch14-384', vision=dict(
        num_hidden_layers=1, hidden_size=16, intermediate_size=24, num_attention_heads=2)))
    other = images.clone()
    other[..., 378:, :], other[..., :, 378:] = 0, 0
    assert torch.equal(small.embed(images), small.embed(other)) and small.embed(images).shape == (1, 729, 16)


def test_published_variants_are_known():
    for version, names in VARIANTS.items():
        for name in names:
            assert find_sizes(f'siglip{"2" if version == 2 else ""}-{name}').version == version
    assert find_sizes('siglip2-base-patch32-256').vision['patch_size'] == 32
    assert find_sizes('ViT-B-16-SigLIP').vision['image_size'] == 224


@pytest.mark.parametrize('name, says', [
    ('google/siglip2-so400m-patch14-256', 'no SigLIP 2 `so400m-patch14-256`.*Did you mean'),
    ('google/clip-vit-base', 'is neither a SigLIP model nor a folder'),
    ('no/such/folder', 'is neither a SigLIP model nor a folder')])
def test_unknown_names(name, says):
    with pytest.raises(InputError, match=says):
        ENCODERS.build(dict(type='SigLIP', name=name))


# ---- what does not fit -----------------------------------------------------------------------------------------------

def test_weights_that_do_not_fit(folder, tmp_path, monkeypatch):
    with pytest.raises(InputError,
                       match=r'model.safetensors does not match VisionTransformer.*wrong shape: '
                             r'.*patch_embed.proj.weight'):
        vision('siglip2-base-patch16-224', weights=str(folder), vision=dict(num_hidden_layers=6))
    with pytest.raises(InputError,
                       match='does not have the keys that its config promises. 16 missing: '
                             'vision_model.encoder.layers.6'):
        vision(folder, vision=dict(num_hidden_layers=7))
    with pytest.raises(InputError, match='32 left over: vision_model.encoder.layers.4'):
        vision(folder, vision=dict(num_hidden_layers=4))
    whole = (folder / 'model.safetensors').read_bytes()
    (tmp_path / 'model.safetensors').write_bytes(whole[:len(whole) // 2])
    with pytest.raises(InputError, match='cannot be read .* half downloaded'):
        vision(folder, weights=str(tmp_path))
    with pytest.raises(InputError, match='expected entries of a vision_config'):
        vision(folder, vision=dict(depth=3))


def test_folders_that_miss_something(folder, tmp_path):
    (tmp_path / 'README.md').write_text('x')
    with pytest.raises(InputError, match='holds no weights: expected one of model.safetensors.* there are: README.md'):
        vision(folder, weights=str(tmp_path))
    sharded(folder, tmp_path)
    (tmp_path / 'pytorch_model-2.bin').unlink()
    with pytest.raises(InputError, match='names shards that are not there: pytorch_model-2.bin'):
        vision(folder, weights=str(tmp_path))
    torch.save({'a.b': torch.ones(1)}, tmp_path / 'x.pt')
    with pytest.raises(InputError, match='holds no SigLIP image tower: .* Its first keys: a.b'):
        vision(folder, weights=str(tmp_path / 'x.pt'))


def test_the_hub_that_cannot_be_reached(monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(InputError,
                       match='google/siglip2-base-patch16-256 is not in the local cache .* give its local folder'):
        vision('ViT-B-16-SigLIP2-256', weights='hub', vision=dict(num_hidden_layers=1))


# ---- texts -----------------------------------------------------------------------------------------------------------

def test_the_folder_brings_its_tokenizer(folder, tmp_path):
    from dtbox.texts.tokenizers import train_word_tokenizer
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    train_word_tokenizer(['a photo of a cat']).save(str(tmp_path / 'tokenizer.json'))
    # SigLIP's own, where the folder does not say
    with pytest.raises(InputError, match='has no token `</s>` to pad with'):
        text(tmp_path)
    (tmp_path / 'tokenizer_config.json').write_text(json.dumps(dict(pad_token='<pad>')))
    tower = text(tmp_path)
    assert tower.tokenizer(['a cat']).shape == (1, 8) and tower.tokenizer.pad_id == 0
    (tmp_path / 'tokenizer_config.json').write_text(json.dumps(dict(pad_token=dict(content='cat'))))
    assert text(tmp_path).tokenizer.pad_id == text(tmp_path).tokenizer.tokenizer.token_to_id('cat')
