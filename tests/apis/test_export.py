"""What is given away gives the same: folders in Hugging Face's manner, torch.export programs, ONNX under
onnxruntime."""
import hashlib
import json
import os
import shutil
import stat

import pytest
import torch

import dtbox
from dtbox.apis.evaluation import evaluate_run
from dtbox.apis.export import export_program, export_to, list_parts
from dtbox.errors import InputError
from dtbox.weights.state_dicts import ALIGNMENT
from tests.training.test_guided_language_model import make_guided
from tools.export import main


@pytest.fixture(scope='module')
def tok(tiny_run):
    return dtbox.load(tiny_run)


def images(tok, count):
    return torch.rand(count, 3, *tok.image_size, generator=torch.Generator().manual_seed(count)) * 2 - 1


# ---- folders ---------------------------------------------------------------------------------------------------------

def test_pretrained(converted, tmp_path):
    """Text tower and tokenizer, codebooks, transform: all from the folder alone."""
    first = dtbox.load(converted)
    main([str(converted), '--to', 'pretrained', '--out', str(tmp_path / 'out')])
    assert {'config.json', 'model.safetensors'} <= {p.name for p in (tmp_path / 'out').iterdir()}
    second = dtbox.Tokenizer.from_pretrained(tmp_path / 'out')
    x = images(first, 3)
    codes = first.encode(x)
    assert all(torch.equal(codes[n], c) for n, c in second.encode(x).items())
    assert torch.equal(first.decode(codes), second.decode(codes))
    assert torch.equal(first.embed_image(x), second.embed_image(x))
    second.save_pretrained(tmp_path / 'again')
    third = dtbox.Tokenizer.from_pretrained(tmp_path / 'again', dtype='bfloat16')
    assert third.dtype == torch.bfloat16 and third.encode(x.bfloat16()).keys() == codes.keys()


def test_texts_travel_along(tmp_path):
    from dtbox.config import load_config
    from dtbox.training.runner import Runner
    options = {'batch_size': 4, 'max_iters': 1, 'gan': None,
               'val_dataloader': None, 'hooks': dict(_delete_=True, checkpoint=dict(type='Checkpoint', interval=1))}
    Runner.from_config(load_config('configs/dualtoken_rq.py', options), work_dir=str(tmp_path / 'run')).train()
    first = dtbox.load(tmp_path / 'run')
    first.save_pretrained(tmp_path / 'out')
    (tmp_path / 'run').rename(tmp_path / 'gone')
    second = dtbox.Tokenizer.from_pretrained(tmp_path / 'out')
    assert torch.equal(first.embed_text(['a red apple']), second.embed_text(['a red apple']))


def test_every_opened_weight_is_aligned(converted, tmp_path):
    """A run folder and a folder of `save_pretrained`, in either float type: equal weights give equal bits."""
    tokenizer = dtbox.load(converted)
    tokenizer.save_pretrained(tmp_path / 'out')
    for opened in (tokenizer, dtbox.load(converted, dtype='bfloat16'),
                   dtbox.Tokenizer.from_pretrained(tmp_path / 'out'),
                   dtbox.Tokenizer.from_pretrained(tmp_path / 'out', dtype='bfloat16')):
        state = opened.model.state_dict()
        assert state and [name for name, value in state.items() if value.data_ptr() % ALIGNMENT] == []


def test_folders_that_are_not_right(tok, tmp_path):
    tok.save_pretrained(tmp_path / 'a')
    with pytest.raises(InputError, match='is not an empty folder'):
        tok.save_pretrained(tmp_path / 'a')
    config = json.loads((tmp_path / 'a' / 'config.json').read_text())
    for change, says in (
        (dict(model_type='siglip'), "of the model_type 'siglip'; expected 'dtbox'"),
        (dict(format=9), 'Install a newer dtbox'),
    ):
        (tmp_path / 'a' / 'config.json').write_text(json.dumps({**config, **change}))
        with pytest.raises(InputError, match=says):
            dtbox.Tokenizer.from_pretrained(tmp_path / 'a')
    (tmp_path / 'a' / 'config.json').write_text(json.dumps(config))
    whole = (tmp_path / 'a' / 'model.safetensors').read_bytes()
    (tmp_path / 'a' / 'model.safetensors').write_bytes(whole[:-9])
    with pytest.raises(InputError, match='half downloaded'):
        dtbox.Tokenizer.from_pretrained(tmp_path / 'a')
    with pytest.raises(InputError, match='does not exist'):
        dtbox.Tokenizer.from_pretrained(tmp_path / 'b')


def test_changed_files_are_told(tok, tmp_path):
    """One bit of the weights, one word of the config, another tokenizer; the layout of the JSON does not count."""
    good = tmp_path / 'good'
    tok.save_pretrained(good)
    assert (good / 'model.safetensors').stat().st_mode & 0o044
    config = json.loads((good / 'config.json').read_text())
    (good / 'config.json').write_text(json.dumps(config))
    dtbox.Tokenizer.from_pretrained(good)

    def flip(path):
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(bytes(content))
    changes = {'model.safetensors': flip, 'config.json': lambda path: path.write_text(json.dumps(
        dict(config, pipeline=config['pipeline'][1:])))}
    if 'tokenizer.json' in config['sha256']:
        changes['tokenizer.json'] = flip
    for name, change in changes.items():
        folder = shutil.copytree(good, tmp_path / f'bad_{name}')
        change(folder / name)
        with pytest.raises(InputError, match=f'{name} is not the file that was exported.*take another copy of the '
                                             f'folder. If you have changed it yourself, take {name} out of `sha256`'):
            dtbox.Tokenizer.from_pretrained(folder)
    config['sha256'].pop('config.json')
    (good / 'config.json').write_text(json.dumps(dict(config, note='mine')))
    dtbox.Tokenizer.from_pretrained(good)
def test_load_opens_a_folder_of_save_pretrained(tok, tmp_path):
    """It has no config of a run: `load` opens it, what needs a run says what the folder is."""
    tok.save_pretrained(tmp_path / 'a')
    x = images(tok, 2)
    codes = dtbox.load(tmp_path / 'a', dtype='float32').encode(x)
    assert all(torch.equal(codes[name], value) for name, value in tok.encode(x).items())
    with pytest.raises(InputError, match=r'checkpoint: got \S+, but \S+ is a folder that save_pretrained wrote'):
        dtbox.load(tmp_path / 'a', tmp_path / 'model.pth')
    with pytest.raises(InputError, match=r'a is a folder that save_pretrained wrote, .*dtbox\.load opens it'):
        evaluate_run(str(tmp_path / 'a'))


def test_from_pretrained_of_a_run_folder(tiny_run):
    with pytest.raises(InputError, match=r'folder: \S+ is a run folder: open it with dtbox\.load'):
        dtbox.Tokenizer.from_pretrained(tiny_run)


@pytest.mark.parametrize('umask', [0o022, 0o077])
def test_files_have_the_mode_that_the_umask_leaves(reader, tmp_path, umask):
    before = os.umask(umask)
    try:
        reader.save_pretrained(tmp_path / 'a')
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / 'a').iterdir()}
    assert modes == dict.fromkeys(('config.json', 'model.safetensors', 'tokenizer.json'), 0o666 & ~umask)


def test_a_place_that_cannot_be_written(tok, tmp_path):
    (tmp_path / 'file').write_text('')
    for save in (tok.save_pretrained, lambda folder: export_to(tok, folder, 'torch')):
        with pytest.raises(InputError, match=r'file/a cannot be written \(Not a directory\)'):
            save(tmp_path / 'file' / 'a')


# ---- graphs ----------------------------------------------------------------------------------------------------------

def same(codes, found, tok):
    assert all(torch.equal(torch.as_tensor(a), b) for a, b in zip(found, codes.values(), strict=True))


def test_programs(tiny_run, tok, tmp_path):
    main([str(tiny_run), '--to', 'torch', '--out', str(tmp_path)])
    encode, decode = (torch.export.load(str(tmp_path / f'{name}.pt2')).module() for name in ('encode', 'decode'))
    sums = dict(line.split('  ')[::-1] for line in (tmp_path / 'SHA256SUMS').read_text().splitlines())
    assert sums == {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
                    for name in ('encode.pt2', 'decode.pt2')}
    for count in (1, 5):
        codes = tok.encode(images(tok, count))
        same(codes, encode(images(tok, count)), tok)
        assert (decode(codes['pixel']) - tok.decode(codes, clamp=False)).abs().max() < 1e-5
    with pytest.raises(SystemExit):
        main([str(tiny_run), '--to', 'torch', '--out', str(tmp_path)])


def test_onnx(tiny_run, tok, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    main([str(tiny_run), '--to', 'onnx', '--out', str(tmp_path)])
    encode, decode = (onnxruntime.InferenceSession(str(tmp_path / f'{name}.onnx')) for name in ('encode', 'decode'))
    assert [i.name for i in encode.get_inputs()] == ['images']
    assert [o.name for o in encode.get_outputs()] == ['codes_pixel', 'codes_semantic']
    for count in (1, 5):
        codes = tok.encode(images(tok, count))
        same(codes, encode.run(None, dict(images=images(tok, count).numpy())), tok)
        made, = decode.run(None, dict(codes_pixel=codes['pixel'].numpy()))
        assert (torch.as_tensor(made) - tok.decode(codes, clamp=False)).abs().max() < 1e-4


def test_an_export_that_fails_leaves_nothing(tok, tmp_path, monkeypatch):
    """Half of a graph, or one of two, would pass for an export; the hashes of an earlier one stay."""
    (tmp_path / 'SHA256SUMS').write_text('1234  encode.onnx\n')

    def write_half(program, path):
        with open(path, 'w') as file:
            file.write('half')
        if 'decode' in path:
            raise OSError(28, 'No space left on device')
    monkeypatch.setattr('dtbox.apis.export.export_program', lambda part: part)
    monkeypatch.setattr(torch.export, 'save', write_half)
    with pytest.raises(OSError):
        export_to(tok, tmp_path, 'torch')
    assert [p.name for p in tmp_path.iterdir()] == ['SHA256SUMS']
    monkeypatch.setattr(torch.export, 'save', lambda program, path: open(path, 'w').close())
    export_to(tok, tmp_path, 'torch')
    lines = (tmp_path / 'SHA256SUMS').read_text().splitlines()
    assert [line.split()[1] for line in lines] == ['encode.onnx', 'decode.pt2', 'encode.pt2']


def test_an_onnx_that_is_not_there(tiny_run, tmp_path, monkeypatch, capsys):
    import sys
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(SystemExit):
        main([str(tiny_run), '--to', 'onnx', '--out', str(tmp_path / 'x')])
    assert 'export to ONNX needs the package `onnxscript`' in capsys.readouterr().err and not (tmp_path / 'x').exists()


def test_a_part_that_looks_at_values(tok):
    part = list_parts(tok)['encode']
    part.model.encode, whole = (lambda x: {'pixel': x if x.sum() > 0 else -x}), part.model.encode
    try:
        with pytest.raises(InputError, match='encode cannot be exported: .*is_exporting'):
            export_program(part)
    finally:
        part.model.encode = whole


def test_a_decoder_that_texts_guide(tmp_path):
    """Its graph has an input for the text tokens, in any batch: the images are those of the API."""
    tok = dtbox.Tokenizer(make_guided().model, [dict(type='PackImage')])
    decode = list_parts(tok)['decode']
    assert decode.inputs == ['codes_pixel', 'text_tokens']
    program = export_program(decode).module()
    for texts in (['a cat'], ['a cat', 'a red heart', 'a dog']):
        codes = tok.encode(images(tok, len(texts)))
        with torch.no_grad():
            tokens = tok.model.text.tokens(tok.model.text.ids(texts))
            made = program(codes['pixel'], tokens)
            assert torch.allclose(made, tok.decode(codes, clamp=False, texts=texts), atol=1e-5)
            assert (program(codes['pixel'], tokens + 1) - made).abs().max() > 1e-2
