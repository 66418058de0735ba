"""Every kind of `dtbox convert` on the way of a user: the golden file in the layout of its release is converted by the
command line, opened, encoded, decoded, and trained on for ten steps, as dtbox/converters/README.md says."""
import json
import math
import time
from fnmatch import fnmatch

import pytest
import torch

import dtbox
from dtbox.apis.clips import encode_clip
from dtbox.converters.kinds import KINDS
from dtbox.runs import RunFolder
from dtbox.training import checkpoint
from dtbox.training.tokenizer_task import TokenizerTask
from tests.converters.cases import CASES
from tests.converters.published import is_near, read_golden, write_qlip, write_titok
from tests.converters.published import small_clip as small_clip
from tests.tiny_run import write_photos

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


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize('file', CASES)
def test_convert_open_and_train_on(file, command, photos, tmp_path, monkeypatch):
    """The first step has the weights of the file and their loss; all that is trained has moved; the run opens again."""
    case, run = CASES[file], tmp_path / 'run'
    trained = tmp_path / 'trained'
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


@pytest.mark.slow
@pytest.mark.long
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


@pytest.mark.slow
@pytest.mark.long
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
