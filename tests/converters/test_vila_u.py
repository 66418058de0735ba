"""VILA-U's vision tower through the converter: golden_A's towers and decoder (the reference's numbers) around a
quantizer written out here."""
import json
import re

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import dtbox
from tests.conftest import write_published
from tools.convert_checkpoint import main

SIZE = 32
DEPTH = 3
WIDTH = 64


def tower(golden, texts=True):
    """A tower's (config, state dict)."""
    made = torch.Generator().manual_seed(0)
    published = {k: v.float() for k, v in golden['state_dict'].items()}
    state = {k: v for k, v in published.items() if k.startswith(('siglip_model.vision_model.', 'decoder.'))}
    if texts:
        state.update({k: v for k, v in published.items()
                      if k.startswith(('siglip_model.text_model.', 'siglip_model.logit'))})
    table = golden['intermediates']['hidden_states'][5].flatten(0, 1)[:SIZE].clone()
    table += 0.3 * torch.randn(SIZE, WIDTH, generator=made)
    table[SIZE // 2:] *= 0.3
    for depth in range(DEPTH):
        state.update({f'quantizer.codebooks.{depth}.weight': torch.cat([table, torch.zeros(1, WIDTH)]),
                      f'quantizer.codebooks.{depth}.cluster_size_ema': torch.arange(1., SIZE + 1),
                      f'quantizer.codebooks.{depth}.embed_ema': table * torch.arange(1., SIZE + 1)[:, None]})
    state['post_quant_conv.weight'] = 0.2 * torch.randn(32, WIDTH, 1, 1, generator=made)
    state['post_quant_conv.bias'] = 0.2 * torch.randn(32, generator=made)
    old = golden['config']['rqvaesiglip']
    dd = {k: v for k, v in old['ddconfig'].items() if k != 'decoder_in_channels'}
    config = dict(hidden_size=WIDTH, embed_dim=WIDTH, n_embed=SIZE, latent_shape=[5, 5, WIDTH],
                  code_shape=[5, 5, DEPTH], decay=0.99, latent_loss_weight=0.25, shared_codebook=True,
                  restart_unused_codes=True, decoder_latent_shape=[4, 4], ddconfig=dict(dd, z_channels=32),
                  pretrained_model='google/siglip-large-patch16-256')
    return config, state


@pytest.fixture(scope='module')
def siglip(golden, tmp_path_factory):
    return write_published(tmp_path_factory.mktemp('siglip'), golden)[1]


def written(folder, config, state, wrapped=False):
    """Write a tower's folder: one .bin, or `wrapped` in two shards of safetensors, under the release's wrapper."""
    folder.mkdir()
    (folder / 'config.json').write_text(json.dumps(dict(rqvaesiglip=config, model_type='rqvaesiglip_model') if wrapped
                                                   else config))
    if not wrapped:
        torch.save(state, folder / 'pytorch_model.bin')
        return folder
    state = {f'rqvaesiglip.{k}': v.clone() for k, v in state.items()}
    names, half = list(state), len(state) // 2
    shards = {'model-1.safetensors': names[:half], 'model-2.safetensors': names[half:]}
    for file, part in shards.items():
        save_file({n: state[n] for n in part}, folder / file)
    (folder / 'model.safetensors.index.json').write_text(json.dumps(dict(weight_map={n: f for f, part in shards.items()
                                                                                     for n in part})))
    return folder


def by_hand(z, table):
    """Residual quantization of z [B,N,D]: codes [B,N,Q] and the sum of the rows."""
    left = z
    total = torch.zeros_like(z)
    codes = []
    for _ in range(DEPTH):
        best = (left[:, :, None] - table).pow(2).sum(-1).argmin(-1)
        left, total = left - table[best], total + table[best]
        codes.append(best)
    return torch.stack(codes, -1), total


@pytest.mark.parametrize('wrapped', [False, True])
def test_codes_pictures_and_texts(golden, converted, siglip, tmp_path, capsys, wrapped):
    config, state = tower(golden, texts=wrapped)
    main(['vila_u', str(written(tmp_path / 'tower', config, state, wrapped)), str(tmp_path / 'run'), '--siglip',
          str(siglip)])
    assert 'M parameters' in capsys.readouterr().out
    tok = dtbox.load(tmp_path / 'run')
    images = golden['inputs']['images']
    codes, total = by_hand(golden['intermediates']['hidden_states'][5].float(),
                           state['quantizer.codebooks.0.weight'][:SIZE])
    found = tok.encode(images)['unified']
    assert torch.equal(found, codes) and len(codes[..., 1:].unique()) > 8
    latent = F.interpolate(total.transpose(1, 2).unflatten(2, (5, 5)), (4, 4), mode='bilinear', align_corners=False)
    with torch.no_grad():
        expected = dtbox.load(converted).model.decoder.decoder(F.conv2d(latent, state['post_quant_conv.weight'],
                                                                        state['post_quant_conv.bias']))
    assert (tok.decode(dict(unified=codes)) - expected.clamp(-1, 1)).abs().max() < 5e-5
    book = tok.model.vocabularies['unified'].quantizer.codebooks[0]
    assert torch.equal(book.cluster_size, state['quantizer.codebooks.0.cluster_size_ema'])
    if wrapped:
        assert (tok.embed_text(golden['inputs']['text']) - golden['outputs']['text_embeds']).abs().max() < 2e-5
    else:
        assert tok.model.text is None


def drop(key):
    return lambda config, state: state.pop(key)


def other_table(config, state):
    state['quantizer.codebooks.2.weight'] = state['quantizer.codebooks.2.weight'] + 1


@pytest.mark.parametrize(('change', 'says'), [
    (drop('quantizer.codebooks.0.weight'), r'is no vision tower of VILA-U: .*first keys: siglip_model.*`vision_tower` '
                                           r'of the release'),
    (drop('siglip_model.vision_model.head.probe'), r'1 missing: siglip_model.vision_model.head.probe'),
    (drop('quantizer.codebooks.0.embed_ema'), r'1 missing: quantizer.codebooks.0.embed_ema'),
    (lambda config, state: state.update({'norm.weight': torch.ones(2)}), r'1 left over: norm.weight'),
    (lambda config, state: config.pop('code_shape'), r'config.json has no entry \'code_shape\'; expected the config '
                                                     r'of VILA-U'),
    (lambda config, state: config.update(n_embed=16), r'has 33 rows; expected 16 codes and a padding row'),
    (other_table, r'codebooks.2.weight differs from depth 0'),
    (drop('post_quant_conv.bias'), r'1 missing: decoder.post_quant_conv.bias')])
def test_what_is_no_tower(golden, siglip, tmp_path, capsys, change, says):
    config, state = tower(golden)
    change(config, state)
    with pytest.raises(SystemExit) as stopped:
        main(['vila_u', str(written(tmp_path / 'tower', config, state)), str(tmp_path / 'run'), '--siglip',
              str(siglip)])
    assert stopped.value.code == 2 and re.search(says, capsys.readouterr().err) and not (tmp_path / 'run').exists()


def test_sizes_by_name(golden, tmp_path, capsys):
    """Without --siglip the published name of the config gives the sizes; these weights are smaller."""
    config, state = tower(golden)
    with pytest.raises(SystemExit):
        main(['vila_u', str(written(tmp_path / 'tower', config, state)), str(tmp_path / 'run')])
    assert 'missing: siglip_model.vision_model.encoder.layers.6.' in capsys.readouterr().err
