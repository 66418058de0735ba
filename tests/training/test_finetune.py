"""Fine-tuning the tokenizer of another run: which parts move, what starts from it, what is refused."""
import shutil
from pathlib import Path

import pytest
import torch

import dtbox
from dtbox.config import load_config, resolve
from dtbox.converters.run_folder import write
from dtbox.errors import InputError
from dtbox.registry import TOKENIZERS
from dtbox.runs import RunFolder
from dtbox.training import checkpoint
from dtbox.training.build import build_task
from tests.tiny_run import train

HOOKS = dict(hooks__images=None, hooks__log__show=(), batch_size=4, max_iters=3)
LOSSES = dict(pixels=dict(type='L2Loss'), quantizers=dict(type='QuantizerLoss'))


@pytest.fixture
def finetune(tmp_path, tiny_config, tiny_run):
    """A function that fine-tunes the tiny run, or another one, on photographs; returns the Runner."""
    def start(recipe, run=tiny_run, **options):
        photos = tiny_config.parent / 'photos'
        first = dict(run=run and str(run), data_root=str(photos))
        return train(recipe, tmp_path / recipe, **{**first, **HOOKS, **options})
    return start


@pytest.fixture
def save(tmp_path):
    """A function that writes the run folder of a tokenizer of 16 pixels, as converted weights have it."""
    def save_run(channels=3, **change):
        encoder = dict(type='TimmViT', name='vit_base_patch16_siglip_224', model_args=dict(
            embed_dim=32, depth=1, num_heads=2, patch_size=8, in_chans=channels, global_pool='', final_norm=False))
        cfg = dict(image_size=16, encoders=dict(trunk=encoder),
                   vocabularies=dict(pixel=dict(taps=1, quantizer=dict(type='VQ', size=8, dim=4))),
                   decoder=dict(type='ViTDecoder', width=32, depth=1, heads=2), **change)
        tokenizer = TOKENIZERS.build({'type': 'VisualTokenizer', **cfg})
        write(str(tmp_path / 'converted'), cfg, tokenizer, None, 'weights.pt')
        return tmp_path / 'converted'
    return save_run


def read_state(folder, prefix='tokenizer.'):
    state = checkpoint.load(RunFolder(folder).checkpoint)['state_dict']
    return {key: value for key, value in state.items() if key.startswith(prefix)}


def test_decoder_moves_and_codes_stay(finetune, tiny_run):
    """Every bit of encoders, vocabularies and codebooks is that of the run; every weight of the decoder has moved. The
    new run needs the old one no more."""
    runner = finetune('finetune_decoder')
    before, after = read_state(tiny_run), read_state(runner.work_dir)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert before.keys() == after.keys()
    assert moved == {key for key in before if key.startswith('tokenizer.decoder.')}
    text = Path(RunFolder(runner.work_dir).config).read_text()
    assert 'run:' not in text and 'image_size = 32' in text
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    codes = [dtbox.load(folder).encode(images) for folder in (tiny_run, runner.work_dir)]
    assert all(torch.equal(codes[0][name], codes[1][name]) for name in codes[0])


def test_all_takes_losses_and_teacher_of_the_run(finetune, tiny_run):
    """Each part moves, as in the run itself; its discriminator is left out, and taken along where `gan` is."""
    runner = finetune('finetune_all')
    task = runner.task
    assert set(task.criterion.losses) == {'semantic', 'pooled', 'commitment', 'pixels'}
    assert task.teacher.layer == 2 and task.discriminator is None
    before, after = read_state(tiny_run), read_state(runner.work_dir)
    moved = {key.split('.')[1] for key in before if not torch.equal(before[key], after[key])}
    assert moved == {'encoders', 'vocabularies', 'decoder'}


def test_discriminator_of_the_run_comes_along(finetune, tiny_run):
    """Where `gan` is that of the run: with rate 0 its weights are those of the run to the bit."""
    runner = finetune('finetune_decoder', gan='${run:model.gan}', gan__adversarial__start=0,
                      optim_wrapper__discriminator__optimizer=dict(type='SGD', lr=0.0))
    before, after = (read_state(folder, 'discriminator.') for folder in (tiny_run, runner.work_dir))
    weights = {key for key in before if 'running' not in key and 'num_batches' not in key}
    assert weights and all(torch.equal(before[key], after[key]) for key in weights)


def test_converted_weights_train(finetune, save):
    """Their config has a tokenizer alone, and options give the losses."""
    runner = finetune('finetune_all', save(), **{'model__losses': LOSSES})
    assert int(runner.task.iteration) == 3 and 'tokenizer.encoders' in str(list(runner.task.state_dict()))


@pytest.mark.parametrize('recipe, change, says', [
    ('finetune_decoder', dict(run='nowhere'), 'run: the run nowhere does not exist'),
    ('finetune_decoder', dict(run=None), '`run` is None; expected the run'),
    ('finetune_decoder', dict(run='dtbox://mllm-twemoji'), 'this is a multimodal language model'),
    ('finetune_decoder', dict(image_size=48), 'image_size: the data give images of 48 x 48 pixels, and the tokenizer '
                                              'takes 32 x 32. .*, or leave it out where a run gives it'),
    ('finetune_decoder', dict(model__trains=['head']), 'no weights to train'),
    ('finetune_decoder', dict(optim_wrapper__generator__freeze=['decoder.*']), 'there is nothing to train'),
    ('finetune_decoder', dict(model__tokenizer__decoder=None), '`decoder` is to learn, and the tokenizer has no such')])
def test_refusals(finetune, recipe, change, says):
    with pytest.raises(InputError, match=says):
        finetune(recipe, **change)


def test_runs_that_do_not_fit(finetune, save):
    """Other channels, no decoder, no losses, another size of the images."""
    grey = save(channels=1)
    with pytest.raises(InputError, match=r'encoders.trunk: this encoder does not take RGB images .* three channels'):
        finetune('finetune_decoder', grey)
    shutil.rmtree(grey)
    converted = save()
    with pytest.raises(InputError, match='takes 16 x 16'):
        finetune('finetune_decoder', converted, image_size=32)
    with pytest.raises(InputError, match='has no `model.losses`, .* set model.losses yourself'):
        finetune('finetune_all', converted)


def test_frozen_parts_are_described_as_such():
    """`trains` is what learns, for `describe` and the optimizer alike."""
    task = build_task(resolve(load_config('finetune_decoder')))
    learns = {name.split('.')[0] for name, p in task.tokenizer.named_parameters() if p.requires_grad}
    assert learns == {'decoder'}
