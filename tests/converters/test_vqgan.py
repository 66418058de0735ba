"""Published VQGANs through the converter, against what taming-transformers' own modules gave (golden_vqgan.pt: 16 x 16
tokens, attention at 16)."""
import argparse
import re

import pytest
import torch
import torch.nn.functional as F

import dtbox
from dtbox.errors import InputError
from tests.conftest import DATA
from tools.convert_checkpoint import main


@pytest.fixture(scope='module')
def vqgan():
    data = torch.load(DATA / 'golden_vqgan.pt', weights_only=True)
    data['state_dict'] = {k: v.float() for k, v in data['state_dict'].items()}
    return dict(data, images=data['images'].float())


def converted(state, folder, *more):
    torch.save(state, folder / 'source.ckpt')
    main(['vqgan', str(folder / 'source.ckpt'), str(folder / 'run'), '--image-size', '32', *more])
    return dtbox.load(folder / 'run')


def test_taming(vqgan, tmp_path, capsys):
    tok = converted(dict(epoch=3, state_dict={**vqgan['state_dict'],
                                              'loss.discriminator.main.0.weight': torch.ones(1)}), tmp_path)
    assert '0.74 M parameters' in capsys.readouterr().out
    images = vqgan['images']
    codes = tok.encode(images)
    assert torch.equal(codes['pixel'][..., 0], vqgan['codes'])
    assert (tok.decode(codes).clamp(-1, 1) - vqgan['reconstructions'].clamp(-1, 1)).abs().max() < 2e-5


def test_values_that_are_not_finite(vqgan, tmp_path, capsys):
    """They are told by the names of the file, and nothing is written."""
    with pytest.raises(SystemExit):
        converted({**vqgan['state_dict'], 'decoder.conv_in.bias': torch.full((64,), float('nan'))}, tmp_path)
    assert 'source.ckpt holds NaN or infinite values in 1 of ' in (said := capsys.readouterr().err)
    assert 'tensors: decoder.conv_in.bias.' in said and not (tmp_path / 'run').exists()


def llamagen(state):
    """The same weights under LlamaGen's names."""
    def renamed(name):
        for i, part in enumerate(('block_1', 'attn_1', 'block_2')):
            name = name.replace(f'coder.mid.{part}.', f'coder.mid.{i}.')
        name = re.sub(r'^encoder\.down\.(\d)\.block', r'encoder.conv_blocks.\1.res', name)
        name = re.sub(r'^encoder\.down', 'encoder.conv_blocks', name)
        name = re.sub(r'^decoder\.up\.(\d)\.', lambda m: f'decoder.conv_blocks.{1 - int(m[1])}.', name)
        return re.sub(r'^(decoder\.conv_blocks\.\d)\.block', r'\1.res', name)
    return {**{renamed(k): v for k, v in state.items()}, 'quantize.codebook_used': torch.zeros(8)}


def test_llamagen(vqgan, tmp_path):
    """Directions: the codes of the highest cosine, features of unit length."""
    tok = converted(dict(model=llamagen(vqgan['state_dict']), steps=1), tmp_path)
    table = F.normalize(vqgan['state_dict']['quantize.embedding.weight'], dim=1)
    latent = F.normalize(vqgan['latent'].flatten(2).transpose(1, 2), dim=-1)
    codes = tok.encode(vqgan['images'])['pixel'][..., 0]
    assert torch.equal(codes, (latent @ table.T).argmax(-1)) and not torch.equal(codes, vqgan['codes'])
    quantizer = tok.model.vocabularies['pixel'].quantizer
    torch.testing.assert_close(quantizer.decode(codes[..., None]), table[codes])


def test_what_is_no_vqgan(vqgan, tmp_path, capsys):
    state = vqgan['state_dict']
    cases = [({'a.b': torch.ones(1)}, 'is no VQGAN of taming-transformers or LlamaGen: .* its first keys: a.b'),
             ({k: v for k, v in state.items() if 'mid.attn_1.q' not in k}, r'4 missing: .*mid.attn_1.q.weight|missing'),
             ({**state, 'encoder.extra.weight': torch.ones(1)}, 'left over: encoders.cnn.extra.weight')]
    for i, (wrong, says) in enumerate(cases):
        torch.save(wrong, tmp_path / f'{i}.ckpt')
        with pytest.raises(SystemExit) as stopped:
            main(['vqgan', str(tmp_path / f'{i}.ckpt'), str(tmp_path / f'run{i}'), '--image-size', '32'])
        assert stopped.value.code == 2 and re.search(says,
                                                     capsys.readouterr().err) and not (tmp_path / f'run{i}').exists()
    with pytest.raises(InputError, match='cannot be halved 1 time; give a multiple of 2'):
        from dtbox.converters.vqgan import build_tokenizer_config, find_sizes
        build_tokenizer_config(find_sizes(state, 'x'), False, 33)


class Callback:
    """What Lightning leaves in a checkpoint."""


def test_checkpoints_that_hold_more_than_tensors(vqgan, tmp_path, capsys):
    torch.save(dict(state_dict=vqgan['state_dict'], callbacks=Callback()), tmp_path / 'x.ckpt')
    with pytest.raises(SystemExit):
        main(['vqgan', str(tmp_path / 'x.ckpt'), str(tmp_path / 'run')])
    assert re.search('holds more than tensors, as Lightning\'s checkpoints do.*write its `state_dict` alone',
                     capsys.readouterr().err)


def test_published_files_with_several_sets(vqgan, tmp_path, capsys):
    """LlamaGen's loader prefers the average; `--weights` takes another; a part of a larger model is found."""
    good = vqgan['state_dict']
    old = {name: value * 0.5 for name, value in good.items()}
    cases = [(dict(ema=good, model=old, args=argparse.Namespace(lr=1)), ()),
             (dict(ema=old, model=good), ('--weights', 'model')),
             ({f'first_stage_model.{k}': v for k, v in good.items()}, ())]
    for i, (content, more) in enumerate(cases):
        (tmp_path / str(i)).mkdir()
        tok = converted(content, tmp_path / str(i), *more)
        assert torch.equal(tok.encode(vqgan['images'])['pixel'][..., 0], vqgan['codes'])
    torch.save({f'{head}.{k}': v for head in 'ab' for k, v in good.items()}, tmp_path / 'two.ckpt')
    with pytest.raises(SystemExit):
        main(['vqgan', str(tmp_path / 'two.ckpt'), str(tmp_path / 'run'), '--image-size', '32'])
    assert 'holds several VQGANs, under a., b.. Say which one is meant: --weights a.' in capsys.readouterr().err
