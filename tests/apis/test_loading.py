"""dtbox.load: what it opens, in which types, and what it refuses."""
import shutil

import pytest
import torch

import dtbox
from dtbox.apis.loading import choose_eval_pipeline, open_config
from dtbox.config import load_config
from dtbox.registry import TOKENIZERS
from dtbox.training import checkpoint


def test_run_folder(tok):
    assert isinstance(tok, dtbox.Tokenizer) and tok.image_size == (32, 32) and tok.vocabularies == ['pixel', 'semantic']
    assert not tok.model.training and not any(p.requires_grad for p in tok.model.parameters())
    assert tok.device == torch.device('cpu') and tok.dtype == torch.float32


@pytest.mark.parametrize('given', ['text', 'config and checkpoint', 'config and run', 'moved'])
def test_other_ways_to_say_which(converted, tok, golden, tmp_path, given):
    if given == 'config and checkpoint':
        shutil.copy(converted / 'config.py', tmp_path / 'mine.py')
        shutil.copy(converted / 'checkpoint.pth', tmp_path / 'other.pth')
        found = dtbox.load(tmp_path / 'mine.py', tmp_path / 'other.pth')
    elif given == 'moved':
        shutil.copytree(converted, tmp_path / 'run')
        found = dtbox.load(tmp_path / 'run', device=torch.device('cpu'), dtype=torch.float32)
    else:
        found = dtbox.load(str(converted)) if given == 'text' else dtbox.load(converted / 'config.py', converted)
    images = golden['inputs']['images']
    assert torch.equal(found.encode(images)['semantic'], tok.encode(images)['semantic'])


@pytest.mark.parametrize('dtype', ['bfloat16', torch.bfloat16])
def test_half_precision_keeps_the_codebooks(converted, tok, golden, dtype):
    half = dtbox.load(converted, dtype=dtype)
    for name, vocabulary in half.model.vocabularies.items():
        own, want = vocabulary.quantizer.state_dict(), tok.model.vocabularies[name].quantizer.state_dict()
        assert own.keys() == want.keys()
        assert all(v.dtype == want[k].dtype and torch.equal(v, want[k]) for k, v in own.items())
    assert half.dtype == torch.bfloat16 and {p.dtype for p in half.model.parameters()} == {torch.bfloat16}
    images = golden['inputs']['images']
    codes, want = half.encode(images), tok.encode(images)
    assert all((codes[n] == want[n]).float().mean() > 0.5 for n in codes)
    made = half.decode(want)
    assert made.dtype == torch.bfloat16 and (made.float() - tok.decode(want)).abs().max() < 0.1
    assert half.features(want)['pixel'].dtype == torch.bfloat16
    assert (half.embed_image(images).float() * tok.embed_image(images)).sum(1).min() > 0.9
    assert ((half.embed_text(golden['inputs']['text']).float() * tok.embed_text(golden['inputs']['text'])).sum(1).min()
            > 0.99)


def write_run(folder, **changes):
    """Write a run folder of a small tokenizer with random weights."""
    text = f'''
image_size = 16
model = dict(type='TokenizerTask', tokenizer={dict(dict(
        image_size='${image_size}', encoders=dict(trunk=dict(type='TimmViT', name='vit_base_patch16_siglip_224',
                                                              model_args=dict(
            embed_dim=32, depth=2, num_heads=2, patch_size=4))), head=dict(type='TrunkPool'),
        vocabularies=dict(pixel=dict(taps=1, quantizer=dict(type='FSQ', levels=[8, 7, 6, 5]))),
        decoder=dict(type='LightCNNDecoder', width=32)), **changes)!r})
'''
    folder.mkdir()
    (folder / 'config.py').write_text(text)
    from dtbox.config import resolve
    model = TOKENIZERS.build(resolve(load_config(folder)).model.tokenizer | dict(type='VisualTokenizer'))
    state = {f'tokenizer.{k}': v for k, v in model.state_dict().items()}
    checkpoint.save(dict(state_dict=state), folder / 'checkpoint.pth')
    return folder


@pytest.mark.parametrize('quantizer', [dict(type='FSQ', levels=[3] * 31 + [8]), dict(type='VQ', size=64, dim=32)])
def test_half_precision_without_a_projection(tmp_path, quantizer):
    """Nothing between the table and the decoder that would say the type."""
    pixel = dict(taps=1, quantizer=quantizer, projection=dict(type='NoProjection'))
    run = write_run(tmp_path / 'run', vocabularies=dict(pixel=pixel))
    half, images = dtbox.load(run, dtype='bfloat16'), torch.rand(1, 3, 16, 16)
    if quantizer['type'] == 'FSQ':
        assert half.model.vocabularies['pixel'].quantizer.half_range.tolist() == pytest.approx([1.001] * 31 + [3.5035])
    codes = half.encode(images) if quantizer['type'] == 'VQ' else {'pixel': torch.zeros(1, 16, 1).long()}
    assert half.decode(codes).dtype == torch.bfloat16


def test_pipeline_of_the_held_out_data(converted, tmp_path):
    cfg, path = open_config(converted)
    assert path == str(converted / 'checkpoint.pth')
    assert [s['type'] for s in choose_eval_pipeline(cfg, (32, 32))] == ['ResizeCrop', 'PackImage']
    folder = dict(pipeline=[dict(type='PackImage')])
    cfg.val_dataloader.dataset = dict(type='EmojiOrFolder', folder=folder, twemoji=dict(pipeline=[]))
    assert [s['type'] for s in choose_eval_pipeline(cfg, (32, 32))] == ['PackImage']
    assert choose_eval_pipeline({}, (32, 48))[0] == dict(type='ResizeCrop', size=(32, 48))
    assert choose_eval_pipeline({}, (32, 32))[0]['size'] == 32
    tok = dtbox.load(write_run(tmp_path / 'bare'))
    assert tok.prepare(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16) and len(tok.pipeline) == 2


@pytest.mark.parametrize('args, says', [
    (('gone',), r'the run gone does not exist\. Give a run folder, a config file with a checkpoint'),
    (('RUN/config.py',), r'config\.py is a config; say also which checkpoint to open'),
    (('RUN/config.py', 'RUN/gone.pth'), r'the checkpoint \S+gone\.pth does not exist'),
    (('RUN', None, 'cpu', 'float64'), r"`dtype` is 'float64'; expected one of float32, bfloat16, float16"),
    (('RUN', None, 'cpu', torch.int8), r'`dtype` is torch\.int8'),
    (('RUN', None, 'tpu9'), r"device: got 'tpu9', which cannot be used")])
def test_what_cannot_be_opened(converted, args, says):
    with pytest.raises(dtbox.InputError, match=says):
        dtbox.load(*[a.replace('RUN', str(converted)) if isinstance(a, str) else a for a in args])


def test_run_folder_without_checkpoint_or_tokenizer(converted, tmp_path):
    (tmp_path / 'config.py').write_text((converted / 'config.py').read_text())
    with pytest.raises(dtbox.InputError, match=r'the checkpoint \S+checkpoint\.pth does not exist'):
        dtbox.load(tmp_path)
    (tmp_path / 'config.py').write_text('a = 1\n')
    with pytest.raises(dtbox.InputError, match='has no dict `model.tokenizer`'):
        dtbox.load(tmp_path)
    (tmp_path / 'config.py').unlink()
    with pytest.raises(dtbox.InputError, match=r'config\.py does not exist'):
        dtbox.load(tmp_path)


def test_checkpoint_of_another_model(converted, tmp_path):
    run = write_run(tmp_path / 'run')
    with pytest.raises(dtbox.InputError) as e:
        dtbox.load(run / 'config.py', converted)
    for part in (f'the checkpoint {converted}', ' does not match VisualTokenizer.',
                 'left over: encoders.trunk.trunk.blocks.2.', 'missing: decoder.conv_in.weight',
                 'wrong shape: encoders.trunk.trunk.pos_embed: (1, 25, 64) in the file, (1, 16, 32) in the model'):
        assert part in str(e.value)


@pytest.mark.parametrize('content, says', [
    (lambda b: b[:len(b) // 2], r'cannot be read .*cut short'), (lambda b: b'', r'cannot be read'),
    (lambda b: b'hello', r'cannot be read')])
def test_broken_checkpoint(converted, tmp_path, content, says):
    path = tmp_path / 'checkpoint.pth'
    path.write_bytes(content((converted / 'checkpoint.pth').read_bytes()))
    with pytest.raises(dtbox.InputError, match=says):
        dtbox.load(converted / 'config.py', path)


@pytest.mark.parametrize('content, says', [
    ({'model': {}, 'epoch': 3}, r'is not a checkpoint of dtbox: expected the keys format and '
                                   r'state_dict, got model, epoch'),
    ([1], 'got list'), ({'format': 99, 'state_dict': {}}, r'in format 99; dtbox .* reads formats 1 to 2')])
def test_file_that_is_no_checkpoint(converted, tmp_path, content, says):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(dtbox.InputError, match=says):
        dtbox.load(converted / 'config.py', tmp_path / 'x.pth')


def test_weights_are_there_once(tiny_run, monkeypatch):
    """The model is built around the tensors of the file: nothing is initialised first and nothing copied;
    quantizers stay float32."""
    from dtbox.training import checkpoint
    from dtbox.weights.state_dicts import select_prefix
    state = checkpoint.load(tiny_run)
    monkeypatch.setattr(checkpoint, 'load', lambda path: state)
    model = dtbox.load(tiny_run).model
    own = model.state_dict()
    assert all(own[k].data_ptr() == v.data_ptr() for k, v in select_prefix(state['state_dict'], 'tokenizer.').items())
    state['state_dict'] = {k: v.bfloat16() if v.is_floating_point() else v for k, v in state['state_dict'].items()}
    assert ({v.dtype for v in dtbox.load(tiny_run).model.state_dict().values() if v.is_floating_point()}
            == {torch.float32})
