"""Every kind of `dtbox convert` on the whole way of a user: the golden file in the layout of its release is converted on
the command line, opened, encoded, decoded, and trained on for ten steps, as dtbox/converters/README.md says."""
import json
import math
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

import dtbox
from dtbox.apis.clips import encode_clip
from dtbox.converters.kinds import KINDS
from dtbox.runs import RunFolder
from dtbox.training import checkpoint
from dtbox.training.tokenizer_task import TokenizerTask
from tests.conftest import write_published
from tests.converters.published import (
    is_near,
    read_golden,
    read_qlip_images,
    write_atoken,
    write_qlip,
    write_rae,
    write_titok,
)
from tests.converters.published import small_clip as small_clip
from tests.converters.test_janus import write_shards
from tests.converters.test_vila_u import by_hand, tower, written
from tests.tiny_run import write_photos

pytestmark = pytest.mark.slow
CONFIG = '''
_base_ = [{base!r}]
data_root = {photos!r}
load_from = {run!r}
model = dict(losses=dict(quantizers=dict(type='QuantizerLoss', weight=0.25), pixels=dict(type='L2Loss')))
train_dataloader = dict(batch_size=2, dataset=dict(
    type='ImageFolder', data_root='${{data_root}}', split='train',
    pipeline=[dict(type='ResizeCrop', size='${{image_size}}'), dict(type='PackImage')]))
val_dataloader = None
val_evaluator = None
optim_wrapper = dict(generator=dict(optimizer=dict(type='AdamW', lr=1e-3), freeze={freeze!r}))
train_cfg = dict(max_iters=10)
hooks = dict(log=dict(type='Log', interval=1), checkpoint=dict(type='Checkpoint', interval=10))
seed = 0
'''


class Case(NamedTuple):
    """A golden file as it is published, and what holds for it.

    Args:
        kind: of `dtbox convert`.
        file: name of the golden file.
        write: (new folder, golden file) -> file or folder that is converted.
        codes: golden file -> stream -> codes, or latents of a continuous one.
        images: golden file -> the images of these codes [B,3,H,W] in [-1, 1].
        options: of the command line; `{}` stands for the new folder.
        stays: patterns of weights that do not learn from images: they are frozen.
        refused: what the first step says of a file that images alone cannot train.
    """
    kind: str
    file: str
    write: Callable[[Path, dict], Path]
    codes: Callable[[dict], dict]
    images: Callable[[dict], Tensor] = lambda golden: golden['inputs']['image']
    options: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    refused: str = ''


def save(file, entry='state_dict'):
    """A function that writes an entry of a golden file to a file of this name."""
    def write(folder, golden):
        torch.save(golden[entry], folder / file)
        return folder / file
    return write


def write_dualtoken(folder, golden):
    return write_published(folder / 'release', golden)[0]


def write_vila_u(folder, golden):
    write_published(folder / 'release', golden)
    return written(folder / 'tower', *tower(golden, texts=False))


def write_janus(folder, golden):
    return write_shards(folder, golden['state_dict'])


def find_vila_u_codes(golden):
    """By hand: the release of VILA-U gives no golden codes."""
    table = tower(golden)[1]['quantizer.codebooks.0.weight'][:-1]
    return dict(unified=by_hand(golden['intermediates']['hidden_states'][5].float(), table)[0])


def find_dualtoken_codes(golden):
    return {name: golden['outputs'][f'code_{short}'].flatten(1, 2)
            for name, short in (('pixel', 'pix'), ('semantic', 'sem'))}


def find_rae_latents(golden):
    return dict(latent=golden['outputs']['dinov2']['latent'].flatten(2).transpose(1, 2))


def find_titok_codes(golden):
    """Of the variant `vae` the means."""
    out = golden['outputs']
    found = out['codes'] if 'codes' in out else out['mean'][:, :, 0]
    return dict(pixel=found.transpose(1, 2))


def flat(name='pixel', entry='codes'):
    """A function that returns an entry of the outputs with one code a token, [B,N] or [BN], as codes of a stream."""
    return lambda golden: {name: golden['outputs'][entry].reshape(len(golden['inputs']['image']), -1, 1)}


def read_images(golden):
    return golden['inputs']['images']


def widen_unit(golden):
    """Images of [0, 1] in [-1, 1]."""
    return golden['inputs']['image'] * 2 - 1


TRUNK = 'encoders.trunk.trunk'
AFTER = (f'{TRUNK}.blocks.5.*', f'{TRUNK}.norm.*', f'{TRUNK}.attn_pool.*')
"""What follows the last layer that a vocabulary of golden_A reads."""
SEMANTIC = 'vocabularies.semantic.post_projection.*'
SCALES = ('--scales', '1,2,3,4')
CASES = {case.file: case for case in (
    Case('dualtoken', 'A', write_dualtoken, find_dualtoken_codes, read_images, ('--siglip', '{}/release/siglip'),
         (*AFTER, SEMANTIC, 'text.*')),
    Case('vila_u', 'vila_u', write_vila_u, find_vila_u_codes, read_images, ('--siglip', '{}/release/siglip'), AFTER),
    Case('vqgan', 'vqgan', save('vqgan.ckpt'), lambda golden: dict(pixel=golden['codes'][..., None]),
         lambda golden: golden['images'], ('--image-size', '32')),
    Case('unitok', 'unitok', save('unitok_tokenizer.pth'),
         lambda golden: dict(unified=golden['outputs']['codes'].transpose(1, 2)), options=('--heads', '4'),
         stays=('head.*', 'text.*')),
    Case('var', 'var', save('vae.pth'), flat(entry='codes_flat')),
    Case('tokenflow', 'tokenflow_clipb', save('x.pt'), flat('joint'), options=SCALES,
         stays=(SEMANTIC,)),
    Case('tokenflow', 'tokenflow_vitamin', save('x.pt'), flat('joint'), options=('--heads', '4', *SCALES),
         stays=(SEMANTIC,)),
    Case('tokenflow', 'tokenflow_siglip', save('x.pt'), flat('joint'),
         options=('--heads', '4', '--image-size', '60', *SCALES),
         stays=(*(f'encoders.semantic.trunk.{part}.*' for part in ('blocks.2', 'norm', 'attn_pool')), SEMANTIC)),
    Case('ibq', 'ibq', save('x.ckpt'), flat(), options=('--image-size', '32')),
    Case('open_magvit2', 'open_magvit2', save('x.ckpt'), flat()),
    Case('janus', 'janus', write_janus, flat(), options=('--image-size', '48')),
    Case('maskgit_vqgan', 'maskgit_vqgan', save('x.bin'), flat(), widen_unit, ('--image-size', '32')),
    Case('titok', 'titok', write_titok, find_titok_codes, widen_unit),
    Case('titok', 'tatitok', write_titok, find_titok_codes, widen_unit,
         refused='the tokenizer has no text tower to read them'),
    Case('titok', 'titok_vae', write_titok, find_titok_codes, widen_unit),
    Case('rae', 'rae', lambda folder, golden: write_rae(folder, golden) / 'model.pt', find_rae_latents, widen_unit,
         ('--encoder', '{}/dinov2', '--stat', '{}/stat.pt', '--heads', '4'), ('encoders.*',)),
    Case('qlip', 'qlip', write_qlip, flat('unified', 'index'), read_qlip_images,
         stays=(f'{TRUNK}.norm.*', f'{TRUNK}.head.*', 'text.*')),
    Case('atoken', 'atoken', lambda folder, golden: write_atoken(folder, golden) / 'atoken-sod.pt', lambda golden: {},
         lambda golden: golden['inputs']['images'][0][:, :, :32].contiguous()[None],
         ('--config', '{}/sod.yaml', '--image-size', '32'), ('encoders.trunk.attn_pool.*',)))}


def test_every_kind_has_a_case():
    assert {case.kind for case in CASES.values()} == set(KINDS)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Two photographs: every batch holds both."""
    folder = tmp_path_factory.mktemp('photos')
    write_photos(folder, train=2, heldout=1)
    return folder


class FirstStep:
    """What the first step of a run sees: weights, images, and the random state of the forward pass."""

    def __init__(self, monkeypatch):
        self.state = None
        train_step = TokenizerTask.train_step

        def watched(task, data, optim_wrapper):
            if self.state is None:
                self.images = task.prepare(data).images.clone()
                self.state = {name: value.clone() for name, value in task.state_dict().items()}
                self.hook = task.tokenizer.register_forward_pre_hook(self.note)
            return train_step(task, data, optim_wrapper)
        monkeypatch.setattr(TokenizerTask, 'train_step', watched)

    def note(self, *_):
        self.hook.remove()
        self.random = torch.get_rng_state()


def check_opened(case, tok, golden):
    """Codes or latents as in the golden file, and finite images from them."""
    images, want = case.images(golden), case.codes(golden)
    found = tok.encode(images)
    if case.kind == 'atoken':  # golden codes are those of images of other sizes
        clip = encode_clip(tok, golden['inputs']['images'][0])
        found, want = dict(latent=clip.streams['latent'][0]), dict(latent=golden['outputs']['codes'][:20])
    assert found.keys() == want.keys()
    for name, values in want.items():
        assert torch.equal(found[name], values) if tok.model.streams[name].sizes else is_near(found[name], values, 1e-5)
    if not case.refused:
        images = tok.reconstruct(images)
        assert images.shape[-2:] == tok.image_size and images.isfinite().all()


@pytest.mark.parametrize('file', CASES)
def test_convert_open_and_train_on(file, command, photos, tmp_path, monkeypatch):
    """The first step has the weights of the file and their loss; all that is trained has moved; the run opens again."""
    case, run, trained = CASES[file], tmp_path / 'run', tmp_path / 'trained'
    (folder := tmp_path / 'published').mkdir()
    golden = read_golden('A' if file == 'vila_u' else file)
    source = case.write(folder / 'qlip' if file == 'qlip' else folder, golden)
    times = [time.perf_counter()]
    code, _, err = command('convert', case.kind, source, run, *(word.format(folder) for word in case.options))
    assert code == 0, err
    times.append(time.perf_counter())
    tok = dtbox.load(run)
    times.append(time.perf_counter())
    check_opened(case, tok, golden)
    config = tmp_path / 'recipe.py'
    config.write_text(CONFIG.format(base=str(run / 'config.py'), photos=str(photos), run=str(run),
                                    freeze=list(case.stays)))
    first = FirstStep(monkeypatch)
    times.append(time.perf_counter())
    code, _, err = command('train', config, '--work-dir', trained)
    times.append(time.perf_counter())
    if case.refused:
        assert code == 2 and case.refused in err and 'Traceback' not in err, err
        return
    assert code == 0, err
    losses = check_trained(case, tok, run, trained, first)
    print(f'| {case.kind} ({file}) | {times[1] - times[0]:.2f} | {times[2] - times[1]:.2f} | '
          f'{times[4] - times[3]:.1f} | {losses[0]:.4f} -> {losses[-1]:.4f} |')


def test_a_ta_titok_with_its_text_tower(command, tmp_path, small_clip):
    """`--clip` gives it the tower, the data give texts; it stays as it is."""
    write_photos(tmp_path / 'photos', train=2, heldout=1)
    for path in (tmp_path / 'photos' / 'train').iterdir():
        path.with_suffix('.txt').write_text(f'a disc {path.stem}')
    run, trained = tmp_path / 'run', tmp_path / 'trained'
    release = write_titok(tmp_path / 'release', read_golden('tatitok'))
    assert command('convert', 'titok', release, run, '--clip', small_clip)[0] == 0
    (tmp_path / 'recipe.py').write_text(CONFIG.format(
        base=str(run / 'config.py'), photos=str(tmp_path / 'photos'), run=str(run), freeze=['text.*']))
    code, _, err = command('train', tmp_path / 'recipe.py', '--work-dir', trained)
    assert code == 0, err
    before, after = (checkpoint.load(folder)['state_dict'] for folder in (run, trained))
    moved = {name.split('.')[1] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {'encoders', 'vocabularies', 'decoder'}


def test_the_first_step_says_what_to_freeze(command, photos, tmp_path):
    """All that no loss trains, in patterns that the config takes as they are."""
    golden, run = read_golden('qlip'), tmp_path / 'run'
    assert command('convert', 'qlip', write_qlip(tmp_path / 'release', golden), run)[0] == 0
    (tmp_path / 'recipe.py').write_text(CONFIG.format(
        base=str(run / 'config.py'), photos=str(photos), run=str(run), freeze=[]))
    code, _, err = command('train', tmp_path / 'recipe.py', '--work-dir', tmp_path / 'trained')
    says = ', '.join(map(repr, CASES['qlip'].stays))
    assert code == 2 and f'Freeze them (add {says} to optim_wrapper.generator.freeze)' in err


def check_trained(case, tok, run, trained, first):
    """Returns the losses."""
    before, after = (checkpoint.load(folder)['state_dict'] for folder in (run, trained))
    assert before.keys() <= first.state.keys() and all(torch.equal(before[key], first.state[key]) for key in before)
    with open(RunFolder(trained).history, encoding='utf-8') as file:
        losses = [json.loads(line)['l2'] for line in file]
    torch.set_rng_state(first.random)
    with torch.no_grad():
        images = tok.model.train()(first.images).reconstructions
    assert losses[0] == pytest.approx((images - first.images).square().mean().item(), rel=1e-5)
    assert len(losses) == 10 and all(map(math.isfinite, losses))
    names = {f'tokenizer.{name}' for name, _ in tok.model.named_parameters()}
    still = {name for name in names if torch.equal(before[name], after[name])}
    assert still == {name for name in names if any(fnmatch(name, f'tokenizer.{part}') for part in case.stays)}
    opened = dtbox.load(trained)
    assert opened.decode(opened.encode(first.images)).isfinite().all()
    return losses
