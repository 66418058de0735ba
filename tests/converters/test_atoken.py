"""AToken's published file through the converter, against what its own modules gave (golden_atoken.pt: 2 blocks a side,
2 books of 4,096 codes, images of two sizes, a clip of two slices), and all names and shapes of the release."""
import pytest
import torch
import yaml

import dtbox
from dtbox.apis.clips import decode_clip, embed_clip, encode_clip
from dtbox.converters import atoken
from dtbox.converters.run_folder import convert
from dtbox.errors import InputError
from dtbox.layers.space_time import compute_rotations, cut_patches, join_patches
from dtbox.layout import Video
from dtbox.registry import TOKENIZERS
from tests.conftest import DATA
from tests.converters.published import is_near, widen, write_atoken

KEYS = {name: torch.empty(eval(shape), device='meta') for name, shape in (
    line.strip().split(': ', 1) for line in (DATA / 'keys_atoken.txt').read_text().splitlines()[1:])}
SLICES = (slice(0, 20), slice(20, 26))
"""Of the 26 packed tokens, those of each image."""


@pytest.fixture(scope='module')
def golden():
    return widen(torch.load(DATA / 'golden_atoken.pt', weights_only=True))


@pytest.fixture(scope='module')
def files(golden, tmp_path_factory):
    folder = write_atoken(tmp_path_factory.mktemp('atoken'), golden)
    convert('atoken', folder / 'atoken-sod.pt', folder / 'run', config=str(folder / 'sod.yaml'), image_size=32)
    convert('atoken', folder / 'atoken-sod.pt', folder / 'continuous', config=str(folder / 'sod.yaml'), image_size=32,
            codes=0)
    return folder


@pytest.fixture(scope='module')
def tok(files):
    return dtbox.load(files / 'run')


@pytest.mark.parametrize('i', [0, 1])
def test_images_of_two_sizes(tok, golden, i):
    """Codes, latents, embedding and the image, each size as it is packed there."""
    image, part = golden['inputs']['images'][i], SLICES[i]
    out = golden['outputs']
    clip = encode_clip(tok, image)
    assert torch.equal(clip.streams['latent'][0], out['codes'][part])
    assert (clip.layout.map_shape, clip.frames) == ((1, image.shape[1] // 8, image.shape[2] // 8), 1)
    quantizer = tok.model.vocabularies['latent'].quantizer
    assert is_near(quantizer.decode(clip.streams['latent'])[0], out['quantized'][part], 1e-5)
    assert is_near(decode_clip(tok, clip, clamp=False), out['recon'][i], 1e-5)
    assert is_near(embed_clip(tok, image), out['pooled'][i], 3e-6)


def test_an_image_of_the_size_of_the_run(tok, golden):
    """Encoder, decoder and head of a VisualTokenizer do what the functions for clips do."""
    image = golden['inputs']['images'][0][:, :, :32].contiguous()[None]
    clip = encode_clip(tok, image[0])
    assert torch.equal(tok.encode(image)['latent'], clip.streams['latent'])
    assert is_near(tok.decode(tok.encode(image), clamp=False), decode_clip(tok, clip, clamp=False), 1e-5)
    assert is_near(tok.embed_image(image)[0], embed_clip(tok, image[0]), 3e-6)


def test_features(tok, golden):
    out, encoder = golden['outputs'], tok.model.encoders['trunk']
    with torch.no_grad():
        tokens = [encoder.normalize(encoder.run_clip(image[None])[0])[0] for image in golden['inputs']['images']]
        means = tok.model.vocabularies['latent'].combine([torch.cat(tokens)[None]])[0]
    assert is_near(torch.cat(tokens), out['features'], 3e-6)
    assert is_near(means, out['params'][:, :12], 3e-6)


def test_a_clip(tok, golden):
    """20 frames: a slice of 16 and one of 4, whose time starts at 0 again."""
    out, frames = golden['outputs_video'], golden['inputs']['video']
    clip = encode_clip(tok, frames)
    assert torch.equal(clip.streams['latent'][0], out['codes'])
    assert clip.layout == Video(5, 2, 3)
    assert is_near(decode_clip(tok, clip, clamp=False)[out['recon_frame_index']], out['recon_frames'], 1e-5)
    assert is_near(embed_clip(tok, frames), out['pooled'][0], 3e-6)
    first = encode_clip(tok, frames[:16])
    assert torch.equal(clip.streams['latent'][:, :24], first.streams['latent'])


@pytest.mark.parametrize('count, kept', [(2, 2), (3, 3), (4, 4), (7, 4)])
def test_odd_clips(tok, golden, count, kept):
    """Too few frames are filled up with zeros, a tail is dropped, and rows and columns are cut on both sides alike."""
    frames = golden['inputs']['video'][:count]
    wide = torch.nn.functional.pad(frames, (1, 2, 2, 2), value=0.7)
    clip = encode_clip(tok, wide)
    full = torch.cat([frames, torch.zeros(4, 3, 16, 24)])[:4]
    assert torch.equal(clip.streams['latent'], encode_clip(tok, full).streams['latent'])
    assert decode_clip(tok, clip).shape == (kept, 3, 16, 24)


def test_continuous(files, golden):
    """Latents are the means; the log variance is not clamped; patches of the decoded means."""
    tok, out = dtbox.load(files / 'continuous'), golden['outputs']
    quantizer = tok.model.vocabularies['latent'].quantizer
    assert (type(quantizer).__name__, quantizer.clamp) == ('KL', None)
    for image, part in zip(golden['inputs']['images'], SLICES):
        clip = encode_clip(tok, image)
        assert is_near(clip.streams['latent'][0], out['params'][part, :12], 3e-6)
        frames = tok.model.decoder.decode_clip(clip.streams['latent'], clip.layout.map_shape)
        assert is_near(cut_patches(frames, (4, 8, 8)), out['recon_continuous'][part], 1e-5)


def test_patches_and_rotations():
    """Order of patch vectors and tokens; the rotation of one token by hand."""
    frames = torch.arange(4 * 3 * 4 * 6).reshape(4, 3, 4, 6)
    patches = cut_patches(frames, (2, 2, 3))
    assert patches.shape == (8, 36)
    assert patches[1, 3:6].tolist() == frames[0, :, 0, 4].tolist()  # second pixel of the second column of patches
    assert patches[4, :3].tolist() == frames[2, :, 0, 0].tolist()
    assert torch.equal(join_patches(patches, (2, 2, 2), (2, 2, 3)), frames)
    cos, sin = compute_rotations((2, 3, 4), 16)[:, 1 * 12 + 2 * 4 + 3]  # time 1, row 2, column 3
    waves = 1, 10000 ** (-1 / 16)
    want = torch.tensor([axis * wave for axis in (1, 2, 3, 0) for wave in waves])
    torch.testing.assert_close(torch.stack([cos, sin]), torch.stack([want.cos(), want.sin()]))


@pytest.mark.parametrize('codes', [0, 4096])
def test_every_published_name_at_full_size(codes):
    """The 563 names and shapes of the release make exactly the tokenizer that the option says, on no memory."""
    state = {name: torch.zeros(value.shape) if name == 'proj.weight' else value for name, value in KEYS.items()}
    assert len(state) == 563
    cfg = atoken.build_tokenizer_config(state, {}, atoken.find_levels(state, {}, codes), 256)
    with torch.device('meta'):
        model = TOKENIZERS.build(cfg)
    found = atoken.map_state(state, cfg, 'the release')
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in model.state_dict().items()}
    assert model.layout.stream('latent').codebooks == (4096,) * 8 * bool(codes)
    assert (model.encoders['trunk'].depth, model.decoder.patch) == (27, (4, 16, 16))


@pytest.mark.parametrize('codes, levels', [(64, (8, 8)), (1024, (8, 5, 5, 5)), (65536, (8, 8, 8, 5, 5, 5))])
def test_other_books(golden, codes, levels):
    state = golden['state_dict']
    assert atoken.find_levels(state, {}, codes) == (levels, 12 // len(levels))


@pytest.mark.parametrize('options, says', [
    (dict(), '^--codes: the file does not tell whether its latents are quantized'),
    (dict(codes=8192), '^--codes: books of 8,192 codes do not fit latents of 12 channels'),
    (dict(codes=4096), r'^--config: the first layer reads 768 values, .* patches of \(4, 16, 16\) have 3072'),
    (dict(config='none.yaml'), '^--config: .*none.yaml cannot be read'),
    (dict(config='odd.yaml'), '^--config: .*has no `arch_cfg`'),
    (dict(config='lfq.yaml'), "^--config: `quantizer_type` is 'lfq'"),
    (dict(config='sod.yaml', image_size=30), 'are not whole patches')])
def test_options_that_do_not_fit(files, golden, tmp_path, options, says):
    (files / 'odd.yaml').write_text('a: [1]\n')
    (files / 'lfq.yaml').write_text(yaml.safe_dump(dict(arch_cfg=dict(golden['config'], quantizer_type='lfq'))))
    options = {k: str(files / v) if k == 'config' else v for k, v in options.items()}
    with pytest.raises(InputError, match=says):
        convert('atoken', files / 'atoken-sod.pt', tmp_path / 'run', **options)


@pytest.mark.parametrize('change, says', [
    (lambda s: s.pop('decoder.out_norm.weight'), 'decoder.out_norm.weight'),
    (lambda s: s.pop('proj.weight'), 'the weights lack proj.weight'),
    (lambda s: s.update(extra=torch.ones(1)), '1 left over: extra')])
def test_files_of_another_layout(files, golden, tmp_path, change, says):
    state = dict(golden['state_dict'])
    change(state)
    torch.save(state, tmp_path / 'x.pt')
    with pytest.raises(InputError, match=says):
        convert('atoken', tmp_path / 'x.pt', tmp_path / 'run', config=str(files / 'sod.yaml'), image_size=32)


def test_clips_that_are_refused(tok, golden):
    for frames, says in ((torch.zeros(2, 4, 16, 16), r'expected floats \[T, 3, H, W\]'),
                         (torch.zeros(0, 3, 16, 16), r'expected floats \[T, 3, H, W\]'),
                         (torch.zeros(4, 3, 16, 4), 'smaller than one patch'),
                         (torch.full((4, 3, 16, 16), 9.0), 'values that are from 9 to 9')):
        with pytest.raises(InputError, match=says):
            encode_clip(tok, frames)
