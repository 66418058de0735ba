"""Golden files of published tokenizers, in the layout of their releases; their names and shapes at full size."""
import json

import pytest
import torch
import yaml
from safetensors.torch import save_file

from dtbox.converters.folding import CLIP_MEAN, CLIP_STD
from tests.conftest import DATA


def widen(node):
    """The same with floating tensors in float32, as they were when the values were computed."""
    if isinstance(node, dict):
        return {key: widen(value) for key, value in node.items()}
    if isinstance(node, list):
        return [widen(value) for value in node]
    return node.float() if torch.is_tensor(node) and node.is_floating_point() else node


def read_golden(name):
    """What a golden file holds, in float32."""
    return widen(torch.load(DATA / f'golden_{name}.pt', weights_only=True))


def read_keys(name):
    """Published name -> tensor of its shape, without memory."""
    lines = (DATA / f'keys_{name}.txt').read_text().splitlines()[1:]
    return {key: torch.empty(eval(shape), device='meta') for key, shape in (line.split(': ', 1) for line in lines)}


def is_near(got, want, limit):
    """Whether values differ by at most `limit` times the largest of them, or times 1."""
    return got.shape == want.shape and (got - want).abs().max() <= limit * max(1, want.abs().max())


def is_near_gradient(got, want):
    """Whether gradients differ by at most 3e-4 of the largest of them."""
    return (got - want).abs().max() <= 3e-4 * want.abs().max()


# ---- folders --------------------------------------------------------------------------------------------------------

def write_qlip(folder, golden, change=None):
    """Write QLIP's folder, after `change(config, state)`."""
    config, state = json.loads(json.dumps(golden['config'])), dict(golden['state_dict'])
    if change:
        change(config, state)
    folder.mkdir()
    (folder / 'config.json').write_text(json.dumps(config))
    save_file({name: value.clone() for name, value in state.items()}, folder / 'model.safetensors')
    return folder


def read_qlip_images(golden):
    """The golden images, which are normalised as CLIP's are, in [-1, 1]."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return (golden['inputs']['image'] * std + mean) * 2 - 1


def write_titok(folder, golden, state=None, **changes):
    """Write TiTok's folder, with some entries of model.vq_model changed (None: left out)."""
    model = {**golden['config']['model']['vq_model'], **changes}
    config = dict(golden['config'], model=dict(vq_model={k: v for k, v in model.items() if v is not None}))
    folder.mkdir(exist_ok=True)
    (folder / 'config.json').write_text(json.dumps(config))
    torch.save(golden['state_dict'] if state is None else state, folder / 'pytorch_model.bin')
    return folder


SMALL_CLIP = 'dtbox-titok'
RAE_MODELS = dict(dinov2='dinov2_with_registers', siglip2='siglip', mae='vit_mae')


def write_rae(folder, golden):
    """Write RAE's decoder, the statistics, a checkpoint of training, and a Hugging Face folder for each encoder."""
    state = golden['state_dict']
    folder.mkdir(exist_ok=True)
    torch.save(state['decoder'], folder / 'model.pt')
    torch.save(state['stat'], folder / 'stat.pt')
    whole = {**{f'decoder.{k}': v for k, v in state['decoder'].items()},
             **{f'encoder.encoder.{k}': v for k, v in state['encoders']['dinov2'].items()}}
    torch.save(dict(model=whole, ema={k: v.clone() for k, v in whole.items()}, step=3), folder / 'checkpoint.pt')
    for name, kind in RAE_MODELS.items():
        config = {k: v for k, v in golden['config'][name].items() if k not in ('encoder_input_size', 'image_mean',
                                                                               'image_std')}
        config = dict(model_type=kind, **(dict(vision_config=config) if name == 'siglip2' else config))
        (folder / name).mkdir()
        (folder / name / 'config.json').write_text(json.dumps(config))
        torch.save(state['encoders'][name], folder / name / 'pytorch_model.bin')
    means = {key: golden['config']['dinov2'][key] for key in ('image_mean', 'image_std')}
    (folder / 'dinov2' / 'preprocessor_config.json').write_text(json.dumps(means))
    return folder


def write_atoken(folder, golden):
    """Write AToken's file and the yaml of its release."""
    folder.mkdir(exist_ok=True)
    torch.save(golden['state_dict'], folder / 'atoken-sod.pt')
    (folder / 'sod.yaml').write_text(yaml.safe_dump(dict(model=dict(arch_cfg=golden['config']))))
    return folder


@pytest.fixture
def small_clip(tmp_path, monkeypatch):
    """The file of a CLIP with random weights that the option --clip takes in place of ViT-L-14-336."""
    import open_clip

    from dtbox.converters import titok
    sizes = dict(context_length=7, vocab_size=49408, width=20, heads=2, layers=2)
    (tmp_path / f'{SMALL_CLIP}.json').write_text(json.dumps(dict(
        embed_dim=6, quick_gelu=True, vision_cfg=dict(image_size=8, layers=1, width=8, head_width=8, patch_size=8),
        text_cfg=sizes)))
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    torch.save(open_clip.create_model(SMALL_CLIP).state_dict(), tmp_path / 'clip.pt')
    read_text = titok.read_text
    monkeypatch.setattr(titok, 'read_text', lambda path, decoder: read_text(path, decoder, SMALL_CLIP))
    return tmp_path / 'clip.pt'
