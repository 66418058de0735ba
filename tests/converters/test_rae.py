"""RAE's published decoder and its three encoders through the converter, against what its own modules gave
(golden_rae.pt: 2 blocks, width 48 of the encoders), and all names and shapes of the ViT-XL decoder."""

import pytest
import torch

import dtbox
from dtbox.converters import rae
from dtbox.converters.representation import read_encoder, read_licence
from dtbox.converters.run_folder import convert
from dtbox.decoders.rae import make_sincos_table
from dtbox.errors import InputError
from dtbox.registry import TOKENIZERS
from tests.conftest import DATA
from tests.converters.published import is_near, widen, write_rae

KEYS = {name: torch.empty(eval(shape), device='meta') for name, shape in (
    line.strip().split(': ', 1) for line in (DATA / 'keys_rae_decoder.txt').read_text().splitlines()[1:])}


@pytest.fixture(scope='module')
def golden():
    return widen(torch.load(DATA / 'golden_rae.pt', weights_only=True))


@pytest.fixture(scope='module')
def files(golden, tmp_path_factory):
    """The decoder, the statistics, a checkpoint of training, and a Hugging Face folder for each encoder."""
    return write_rae(tmp_path_factory.mktemp('rae'), golden)


def open_run(files, name, **options):
    run = files / f'run_{name}_{len(list(files.iterdir()))}'
    convert('rae', files / options.pop('file', 'model.pt'), run, encoder=str(files / name), heads=4, **options)
    return dtbox.load(run)


@pytest.fixture(scope='module')
def tok(files):
    return open_run(files, 'dinov2', stat=str(files / 'stat.pt'))


def to_map(latents, side=4):
    return latents.transpose(1, 2).unflatten(2, (side, side))


def test_latents_and_reconstructions(tok, golden):
    """Images of [0, 1] there are those of [-1, 1] here, on both ends."""
    image, out = golden['inputs']['image'] * 2 - 1, golden['outputs']['dinov2']
    latents = tok.encode(image)
    assert is_near(to_map(latents['latent']), out['latent'], 3e-6)
    assert is_near(to_map(tok.features(latents)['latent']), out['latent_without_statistics'], 3e-6)
    assert is_near((tok.decode(latents, clamp=False) + 1) / 2, out['recon'], 1e-5)
    published = out['latent'].flatten(2).transpose(1, 2)
    assert is_near((tok.decode({'latent': published}, clamp=False) + 1) / 2, out['recon'], 1e-5)


@pytest.mark.parametrize('name', ['siglip2', 'mae'])
def test_other_encoders(files, golden, name):
    """Without statistics; positions are fitted to the grid of 4 x 4."""
    tok = open_run(files, name)
    latents = tok.encode(golden['inputs']['image'] * 2 - 1)['latent']
    assert is_near(to_map(latents), golden['outputs'][name]['latent'], 3e-6)
    assert tok.model.vocabularies['latent'].quantizer.statistics is None


def test_another_grid_and_another_size(files, golden):
    """Latents of 5 x 5 tokens are resized to the decoder's 4 x 4; images of 28 pixels are read as they are."""
    out = golden['outputs']['dinov2']
    tok = open_run(files, 'dinov2', input_size=35)
    latents = out['latent5'].flatten(2).transpose(1, 2)
    assert is_near((tok.decode({'latent': latents}, clamp=False) + 1) / 2, out['recon_latent5'], 1e-5)
    encoder = read_encoder(str(files / 'dinov2'))
    trunk = TOKENIZERS.build(dict(type='VisualTokenizer', image_size=28, encoders=dict(trunk=encoder.config)))
    trunk.encoders['trunk'].trunk.load_state_dict(encoder.fit(4))
    with torch.no_grad():
        tokens = trunk.eval()(golden['inputs']['image28'] * 2 - 1, layers=[('trunk', 'norm')]).layers['trunk', 'norm']
    assert is_near(to_map(tokens), out['latent_of_image28'], 3e-6)


def test_the_table_of_positions(golden):
    assert is_near(make_sincos_table(56, 4, 4), golden['state_dict']['decoder']['decoder_pos_embed'], 1e-6)
    table = make_sincos_table(8, 2, 3)[0]
    assert torch.equal(table[0], torch.zeros(8))
    want = torch.tensor([2, 2e-2]), torch.tensor([1, 1e-2])  # column 2, row 1; waves 1 and 1/100
    want = torch.cat([f(x) for x in want for f in (torch.sin, torch.cos)])
    torch.testing.assert_close(table[1 + 5], want)


def test_a_checkpoint_of_training(files, tok, golden):
    """{model, ema}: the average is taken, its encoder is that of the folder, or the conversion stops."""
    again = open_run(files, 'dinov2', file='checkpoint.pt', stat=str(files / 'stat.pt'))
    assert all(torch.equal(a, b) for a, b in zip(again.model.state_dict().values(), tok.model.state_dict().values()))
    with pytest.raises(InputError, match='is not in the folder; the checkpoint was trained with another encoder'):
        open_run(files, 'mae', file='checkpoint.pt')


def test_training_keeps_positions_and_adds_noise(tok):
    model = tok.model
    assert 'decoder.trunk.pos_embed' not in dict(model.named_parameters())
    assert 'decoder.trunk.pos_embed' in model.state_dict()
    assert {m.eps for m in model.decoder.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-12}


def test_every_published_name_at_full_size(files, golden, monkeypatch):
    """The 456 names and shapes of ViTXL_n08 make exactly the decoder that their shapes say, on no memory."""
    small = read_encoder(str(files / 'dinov2'))
    state = {name: torch.zeros(value.shape) if 'decoder_pred' in name else value for name, value in KEYS.items()}
    assert len(state) == 456
    monkeypatch.setattr(type(small), 'width', 768)
    cfg = rae.build_tokenizer_config(state, small)
    assert (cfg['image_size'], cfg['encoders']['trunk']['input_size']) == (256, 112)
    decoder = cfg['decoder']
    assert (decoder['depth'], decoder['heads'], decoder['width'], decoder['hidden']) == (28, 16, 1152, 4096)
    from dtbox.layout import Grid
    from dtbox.registry import DECODERS
    with torch.device('meta'):
        model = DECODERS.build({k: v for k, v in decoder.items() if k != 'reads'}, in_dim=768, layout=Grid(16, 16),
                               image_size=256)
    found = {name.removeprefix('decoder.'): value.shape
             for name, value in rae.map_state(state, small, cfg, 'the release').items() if name.startswith('decoder.')}
    assert found == {name: value.shape for name, value in model.state_dict().items()}


@pytest.mark.parametrize('change, says', [
    (lambda s: s.pop('trainable_cls_token'), 'is not a decoder of RAE: it has no `trainable_cls_token`'),
    (lambda s: s.pop('decoder_norm.bias'), r'1 missing: decoder_norm\.bias'),
    (lambda s: s.update(extra=torch.ones(1)), '1 left over: extra'),
    (lambda s: s.pop('decoder_pred.weight'), "the decoder lacks 'decoder_pred.weight'"),
    (lambda s: s.update({'decoder_embed.weight': torch.ones(56, 40)}), 'features of width 40, the encoder gives 48'),
    (lambda s: s.update(decoder_pos_embed=torch.ones(1, 16, 56)), 'the decoder has 15 positions')])
def test_decoders_of_another_layout(files, golden, tmp_path, change, says):
    state = dict(golden['state_dict']['decoder'])
    change(state)
    torch.save(state, tmp_path / 'x.pt')
    with pytest.raises(InputError, match=says):
        convert('rae', tmp_path / 'x.pt', tmp_path / 'run', encoder=str(files / 'dinov2'), heads=4)


@pytest.mark.parametrize('options, says', [
    (dict(), '^--encoder: the decoder reads features of an encoder'),
    (dict(encoder='dinov2'), '^--heads: the decoder has the width 56'),
    (dict(encoder='dinov2', heads=4, input_size=30), '^--input-size: 30 pixels are not whole patches of 7'),
    (dict(encoder='dinov2', heads=4, input_size=35, stat='stat.pt'), r'^--stat: `mean` of .* is \[48, 4, 4\]; expected '
                                                                     r'\[48, 5, 5\]'),
    (dict(encoder='dinov2', heads=4, stat='model.pt'), r'^--stat: .* does not hold \{mean, var\}')])
def test_options_that_do_not_fit(files, tmp_path, options, says):
    options = {k: str(files / v) if k in ('encoder', 'stat') else v for k, v in options.items()}
    with pytest.raises(InputError, match=says):
        convert('rae', files / 'model.pt', tmp_path / 'run', **options)


def test_licences_are_told(files, tmp_path, command, monkeypatch):
    """Of the decoder, and of the encoder as its model card says."""
    words = [files / 'model.pt', tmp_path / 'run', '--encoder', files / 'mae', '--heads', 4]
    (files / 'mae' / 'README.md').write_text('---\nlicense: apache-2.0\n---\n')
    told = []
    monkeypatch.setattr(rae, 'print_log', lambda text, logger: told.append(text))
    code, out, _ = command('convert', 'rae', *words)
    assert code == 0 and 'RAE (bytetriper/RAE): licence of the code MIT' in out
    assert told[0].endswith('licence of its weights apache-2.0.')
    assert read_licence(str(tmp_path)) == 'not stated in the folder'


def test_another_model_in_the_folder(files, tmp_path):
    (tmp_path / 'config.json').write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=r"^--encoder: .* has the model_type 'bert'; RAE reads dinov2_with_registers"):
        convert('rae', files / 'model.pt', tmp_path / 'run', encoder=str(tmp_path))
