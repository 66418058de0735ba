"""TiTok's published files through the converter, against what the modules of bytedance/1d-tokenizer gave: two stages
(golden_titok.pt), TA-TiTok (golden_tatitok.pt) and Gaussian latents (golden_titok_vae.pt), all of 8 latent tokens of 2
blocks; and all names and shapes of the full size."""
import copy
import json

import pytest
import torch
import torch.nn.functional as F

import dtbox
from dtbox.converters import titok
from dtbox.converters.kinds import KINDS
from dtbox.converters.run_folder import convert
from dtbox.converters.titok_config import build_tokenizer_config, read_config
from dtbox.errors import InputError
from dtbox.quantizers.kl import measure_kl
from dtbox.registry import TOKENIZERS
from tests.conftest import DATA
from tests.converters.published import SMALL_CLIP, is_near, widen, write_titok
from tests.converters.published import small_clip as small_clip

PUBLISHED = {
    'titok_b64': dict(codebook_size=4096, token_size=12, use_l2_norm=True, vit_enc_model_size='base',
                      vit_dec_model_size='base', num_latent_tokens=64),
    'titok_bl64_vq8k': dict(codebook_size=8192, token_size=64, use_l2_norm=False, vit_enc_model_size='base',
                            vit_dec_model_size='large', num_latent_tokens=64, is_legacy=False, finetune_decoder=False),
    'tatitok_bl32_vq': dict(codebook_size=8192, token_size=64, use_l2_norm=False, vit_enc_model_size='base',
                            vit_dec_model_size='large', num_latent_tokens=32, is_legacy=False, finetune_decoder=False)}


def read(name):
    """The golden file, in float32; `image` in [-1, 1]."""
    found = widen(torch.load(DATA / f'golden_{name}.pt', weights_only=True))
    found['image'] = found['inputs']['image'] * 2 - 1
    return found


def open_golden(name, golden, factory):
    folder = factory.mktemp(name)
    convert('titok', write_titok(folder / 'release', golden), folder / 'run')
    return dtbox.load(folder / 'run')


@pytest.fixture(scope='module')
def legacy():
    return read('titok')


@pytest.fixture(scope='module')
def guided():
    return read('tatitok')


@pytest.fixture(scope='module')
def legacy_tokenizer(legacy, tmp_path_factory):
    return open_golden('titok', legacy, tmp_path_factory)


@pytest.fixture(scope='module')
def guided_tokenizer(guided, tmp_path_factory):
    return open_golden('tatitok', guided, tmp_path_factory)


def find_latents(model, image):
    """What the quantizer reads, as the release lays it out: [B,C,1,K]."""
    vocabulary = model.vocabularies['pixel']
    z = vocabulary.combine([model(image, layers=[('trunk', 'norm')], reconstruct=False).layers['trunk', 'norm']])
    return z.transpose(1, 2)[:, :, None]


@torch.no_grad()
def test_two_stages(legacy, legacy_tokenizer):
    """Codes equal; latents, logits and images as the release's."""
    out, model = legacy['outputs'], legacy_tokenizer.model
    codes = legacy_tokenizer.encode(legacy['image'])['pixel']
    assert torch.equal(codes.transpose(1, 2), out['codes'])
    assert is_near(find_latents(model, legacy['image']), out['z'], 3e-6)
    features = model.features(dict(pixel=codes))['pixel']
    assert is_near(features.transpose(1, 2)[:, :, None], out['quantized'], 3e-6)
    assert is_near(model.decoder.logits(features).transpose(1, 2).unflatten(2, (8, 8)), out['logits'], 3e-6)
    assert is_near((model.decode(dict(pixel=codes)) + 1) / 2, out['recon'], 1e-5)


@torch.no_grad()
def test_guided_by_texts(guided, guided_tokenizer):
    """The same of TA-TiTok, with the text tokens of the file; other texts change the image."""
    out, texts = guided['outputs'], guided['inputs']['text_guidance']
    model = guided_tokenizer.model
    codes = guided_tokenizer.encode(guided['image'])['pixel']
    assert torch.equal(codes.transpose(1, 2), out['codes'])
    assert is_near(find_latents(model, guided['image']), out['z'], 3e-6)
    images = model.decode(dict(pixel=codes), texts)
    assert is_near((images + 1) / 2, out['recon'], 1e-5)
    assert (model.decode(dict(pixel=codes), texts.flip(0)) - images).abs().max() > 1e-2


def check_gradients(model, want, names):
    found = dict(model.named_parameters())
    assert names.keys() == want.keys()
    for theirs, ours in names.items():
        got, limit = found[ours].grad.reshape(want[theirs].shape), 3e-4 * want[theirs].abs().max()
        assert (got - want[theirs]).abs().max() <= limit, ours


ENCODER = {'latent_tokens': 'encoders.trunk.latents', 'encoder.class_embedding': 'encoders.trunk.class_token',
           'encoder.latent_token_positional_embedding': 'encoders.trunk.latent_positions',
           'encoder.conv_out.weight': 'vocabularies.pixel.projections.0.fc.weight',
           'quantize.embedding.weight': 'vocabularies.pixel.quantizer.codebook.weight'}


def test_training_of_the_first_stage(legacy, legacy_tokenizer):
    """Cross entropy of the logits + 0.25 commitment + codebook loss."""
    train, model = legacy['train'], copy.deepcopy(legacy_tokenizer.model).train().requires_grad_(True)
    out = model(legacy['image'], reconstruct=False)
    terms = out.losses['pixel']
    ce = F.cross_entropy(model.decoder.logits(out.features['pixel']).transpose(1, 2), train['target'])
    for got, name in ((ce, 'ce'), (0.25 * terms['commitment'], 'commitment'), (0.25 * terms['codebook'], 'codebook')):
        assert got.item() == pytest.approx(train[name].item(), rel=1e-5), name
    (ce + 0.25 * terms['commitment'] + 0.25 * terms['codebook']).backward()
    check_gradients(model, train['grads'], {**ENCODER, 'decoder.mask_token': 'decoder.tokens.mask_token',
                                            'decoder.ffn.2.bias': 'decoder.to_logits.bias'})


def test_training_with_clustering(guided, guided_tokenizer):
    """The loss of TA-TiTok on pixels in [0, 1], its gradients, and how unused rows move."""
    train, model = guided['train'], copy.deepcopy(guided_tokenizer.model).train().requires_grad_(True)
    found = model.vocabularies['pixel'].quantizer.codebook
    assert torch.equal(found.usage, guided['state_dict']['quantize.embed_prob'])
    run = model(guided['image'], reconstruct=False)
    terms = run.losses['pixel']
    images = (model.decoder(run.features['pixel'], guided['inputs']['text_guidance']) + 1) / 2
    loss = F.mse_loss(images, guided['inputs']['image']) + 0.25 * (terms['commitment'] + terms['codebook'])
    assert is_near(images[:1], train['recon_first'], 1e-5)
    assert loss.item() == pytest.approx(train['loss'].item(), rel=1e-5)
    loss.backward()
    names = {k: v for k, v in ENCODER.items() if k in train['grads']}
    check_gradients(model, train['grads'], {
        **names, 'decoder.text_guidance_proj.weight': 'decoder.tokens.text_embed.weight',
        'decoder.conv_out.weight': 'decoder.conv_out.weight', 'decoder.ffn.0.bias': 'decoder.to_pixels.bias'})
    model.commit()
    assert is_near(found.usage, train['embed_prob_after'], 1e-6)
    assert is_near(found.weight, train['embedding_after'], 3e-6)


@pytest.mark.parametrize('name', PUBLISHED)
def test_every_published_name_at_full_size(name):
    """The names and shapes of a release make exactly the tokenizer that its config says, on no memory."""
    lines = (DATA / f'keys_{name}.txt').read_text().splitlines()[1:]
    state = {key: torch.empty(json.loads(f'[{shape.strip("()").rstrip(",")}]'), device='meta')
             for key, shape in (line.split(': ') for line in lines)}
    model = dict(PUBLISHED[name], vit_enc_patch_size=16, vit_dec_patch_size=16)
    cfg = build_tokenizer_config(dict(model=dict(vq_model=model), dataset=dict(preprocessing=dict(crop_size=256))),
                                 state, 'config.json')
    with torch.device('meta'):
        built = TOKENIZERS.build(cfg)
    found = titok.map_state(state, cfg, 'the release')
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in built.state_dict().items()}
    trunk, heads = built.encoders['trunk'], 16 if cfg['decoder']['width'] == 1024 else 12
    assert (trunk.depth, trunk.blocks[0].attn.num_heads, built.layout.streams[0].token_layout.tokens) == (
        12, 12, model['num_latent_tokens'])
    assert built.decoder.tokens.blocks[0].attn.num_heads == heads


def test_a_first_stage_without_and_with_images(legacy, tmp_path):
    """A flat file and a .yaml: codes alone; with MaskGIT-VQGAN's file the images of the second stage."""
    import yaml
    split = {k: k.startswith('pixel_') for k in legacy['state_dict']}
    torch.save({k: v for k, v in legacy['state_dict'].items() if not split[k]}, tmp_path / 'titok.bin')
    torch.save({k.removeprefix('pixel_'): v for k, v in legacy['state_dict'].items() if split[k]},
               tmp_path / 'maskgit.bin')
    config = copy.deepcopy(legacy['config'])
    config['model']['vq_model']['finetune_decoder'] = False
    (tmp_path / 'titok.yaml').write_text(yaml.safe_dump(config))
    options = dict(config=str(tmp_path / 'titok.yaml'))
    convert('titok', tmp_path / 'titok.bin', tmp_path / 'first', **options)
    first = dtbox.load(tmp_path / 'first')
    codes = first.encode(legacy['image'])
    assert torch.equal(codes['pixel'].transpose(1, 2), legacy['outputs']['codes'])
    with pytest.raises(InputError, match='the first stage of TiTok: it gives logits'):
        first.decode(codes)
    convert('titok', tmp_path / 'titok.bin', tmp_path / 'both', maskgit=str(tmp_path / 'maskgit.bin'), **options)
    images = dtbox.load(tmp_path / 'both').decode(codes, clamp=False)
    assert is_near((images + 1) / 2, legacy['outputs']['recon'], 1e-5)
    with pytest.raises(InputError, match='--maskgit: .* a table of 3 codes; expected MaskGIT-VQGAN with the 40'):
        torch.save({'quantize.embedding.weight': torch.ones(3, 2), 'decoder.conv_in.weight': torch.ones(1)},
                   tmp_path / 'other.bin')
        titok.convert(str(tmp_path / 'titok.bin'), maskgit=str(tmp_path / 'other.bin'), **options)


def test_texts_of_a_text_tower(guided, tmp_path, small_clip):
    """`--clip`: strings guide the decoder by all tokens after the last norm, without projection."""
    import open_clip
    clip = open_clip.create_model(SMALL_CLIP)
    clip.load_state_dict(torch.load(small_clip, weights_only=True))
    convert('titok', write_titok(tmp_path / 'release', guided), tmp_path / 'run', clip=str(small_clip))
    tok = dtbox.load(tmp_path / 'run')
    texts = ['a red cat', 'two dogs', 'a tree']
    ids = open_clip.get_tokenizer(SMALL_CLIP)(texts, context_length=7)
    with torch.no_grad():
        tokens = clip.ln_final(clip.transformer(clip.token_embedding(ids) + clip.positional_embedding,
                                                attn_mask=clip.attn_mask))
        assert is_near(tok.model.text.tokens(tok.model.text.ids(texts)), tokens, 3e-6)
        codes = tok.encode(guided['image'])
        assert is_near(tok.decode(codes, texts=texts), tok.model.decode(codes, tokens).clamp(-1, 1), 3e-6)
    with pytest.raises(InputError, match='1 text comes for 3 images; expected one for each'):
        tok.decode(codes, texts='a red cat')


def test_what_a_guided_decoder_refuses(guided_tokenizer, guided, legacy_tokenizer, legacy):
    codes = guided_tokenizer.encode(guided['image'])
    for texts, says in ((None, 'the decoder is guided by texts, and none came'),
                        (['a', 'b', 'c'], 'has no text tower that reads texts'),
                        (torch.zeros(3, 6, 20), r'guided by texts, and got .*; expected .* \[3, 7, 20\]')):
        with pytest.raises(InputError, match=says):
            guided_tokenizer.model.decode(codes, texts)
    with pytest.raises(InputError, match='texts came, but the decoder is not guided'):
        legacy_tokenizer.decode(legacy_tokenizer.encode(legacy['image']), texts='a cat')


def shorten(state):
    """The same with positions for 6 latent tokens in the decoder."""
    name = 'decoder.latent_token_positional_embedding'
    return {**state, name: state[name][:6]}


@pytest.mark.parametrize('which, change, changes, says', [
    ('titok', None, dict(num_latent_tokens=None, codebook_size=None), 'lacks model.vq_model.num_latent_tokens, '
                                                                     'model.vq_model.codebook_size, which say'),
    ('titok', None, dict(token_size='12'), 'has token_size .*; expected a positive whole number'),
    ('titok', None, dict(use_l2_norm=1), 'has use_l2_norm .*; expected true or false'),
    ('titok', None, dict(is_legacy=False), 'says is_legacy false, but the weights have decoder.ffn.2'),
    ('titok', None, dict(finetune_decoder=False), 'says finetune_decoder false, but .* have a pixel_decoder'),
    ('titok', None, dict(vit_enc_patch_size=8), 'patches of 8, but the encoder has positions for 64 patches'),
    ('titok', None, dict(quantize_mode='fsq'), "quantize_mode 'fsq'; expected vq or vae"),
    ('titok', None, dict(num_latent_tokens=9), 'have 8 latent tokens, .* says 9'),
    ('titok', shorten, {}, 'have 8 latent tokens, .* says 8, and the decoder has positions for 6'),
    ('titok', lambda s: {k: v for k, v in s.items() if not k.startswith('pixel_')}, {}, '--maskgit: .* first stage'),
    ('tatitok', None, dict(is_legacy=None), 'no decoder.ffn.2: they are a TiTok of one stage'),
    ('tatitok', lambda s: {k: v for k, v in s.items() if k != 'latent_tokens'}, {}, "lacks 'latent_tokens'"),
    ('tatitok', lambda s: {**s, 'more': torch.ones(1)}, {}, '1 left over: more'),
    ('tatitok', lambda s: {k: v for k, v in s.items() if 'ln_post' not in k}, {}, '4 missing: encoder.ln_post')])
def test_files_that_do_not_fit(legacy, guided, tmp_path, which, change, changes, says):
    golden = legacy if which == 'titok' else guided
    state = change(golden['state_dict']) if change else golden['state_dict']
    with pytest.raises(InputError, match=says):
        titok.convert(str(write_titok(tmp_path / 'release', golden, state, **changes)))


def test_configs_that_are_not_there(legacy, tmp_path):
    folder = write_titok(tmp_path / 'release', legacy)
    config = json.loads((folder / 'config.json').read_text())
    del config['heads'], config['dataset']['preprocessing']['crop_size']
    (folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(InputError, match='lacks dataset.preprocessing.crop_size'):
        titok.convert(str(folder))
    config['dataset']['preprocessing']['crop_size'] = 32
    (folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(InputError, match="--heads: the encoder is 64 wide, and .* calls it 'base'; published are"):
        titok.convert(str(folder))
    (folder / 'config.json').write_text('{"model": {}}')
    with pytest.raises(InputError, match='has no `model.vq_model`'):
        titok.convert(str(folder), heads=(4, 6))
    with pytest.raises(InputError, match='--config: .*config.json does not exist'):
        read_config(str(tmp_path / 'x.bin'))


def test_options_on_the_command_line():
    assert [option.flag for option in KINDS['titok'].options] == ['--config', '--heads', '--maskgit', '--clip']


@torch.no_grad()
def test_gaussian_latents(tmp_path_factory):
    """The variant `vae`: means, log variances, divergence, and what the means decode to; it has no codes."""
    golden = read('titok_vae')
    out, tok = golden['outputs'], open_golden('titok_vae', golden, tmp_path_factory)
    quantizer = tok.model.vocabularies['pixel'].quantizer
    z = find_latents(tok.model, golden['image'])[:, :, 0].transpose(1, 2)
    mean, logvar = quantizer.split(z)
    assert is_near(mean.transpose(1, 2)[:, :, None], out['mean'], 3e-6)
    assert is_near(logvar.transpose(1, 2)[:, :, None], out['logvar'], 3e-6)
    assert is_near(measure_kl(mean, logvar), out['kl'], 1e-5)
    latents = tok.encode(golden['image'])
    assert torch.equal(latents['pixel'], mean)
    assert is_near((tok.decode(latents, clamp=False) + 1) / 2, out['recon_of_mean'], 1e-5)
