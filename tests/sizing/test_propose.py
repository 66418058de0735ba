"""Proposals for the memory of a GPU: the batch, its accumulation, recomputation, on counts made by hand."""
import pytest

from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.sizing import propose as module
from dtbox.sizing.blocks import measure_largest_block
from dtbox.sizing.describe import Description, Part
from dtbox.sizing.propose import ROOM, find_batch, find_key, find_switches, propose
from tools.describe import main

STATE = 160
"""Bytes of ten weights that learn, with gradients and moments."""
IMAGE, RECOMPUTED = 100, 20
"""Bytes that an image keeps, without and with recomputed blocks."""
BLOCK = 10
"""Bytes of one block."""


@pytest.fixture
def counted(monkeypatch):
    """Counts of a small model in the place of those of the recipe."""
    def describe(cfg):
        parts = dict(decoder=Part(10, 10, 1.0))
        return Description(parts, 1, 1.0, {}, activations=RECOMPUTED if cfg.encoder.get('recompute') else IMAGE)
    monkeypatch.setattr(module, 'describe', describe)
    monkeypatch.setattr(module, 'measure_largest_block', lambda cfg: BLOCK)


def propose_for(images, per_image=IMAGE, recipe='dualtoken_b16_256'):
    """Propose for the memory that holds so many images."""
    return propose(load_config(recipe), (STATE + images * per_image + 1) / ROOM)


def test_batches_divide_an_update():
    assert [find_batch(64, most) for most in (100, 64, 63, 9, 1, 0)] == [64, 64, 32, 8, 1, 0]
    assert find_batch(12, 5) == 4


def test_what_fits_stays_as_it_is(counted):
    found = propose_for(64)
    assert (found.batch, found.counts, found.recompute, found.options) == (64, 1, False, {})
    assert found.iterations == 100000


def test_smaller_batches_make_the_same_update(counted):
    """Iterations count batches: the run has four times as many, and the discriminator begins four times as late."""
    found = propose_for(17)
    assert found.options == dict(batch_size=16, accumulative_counts=4, max_iters=400000, gan_start=40000)
    assert found.batch * found.counts == 64 and found.iterations == 400000


def test_recomputation_makes_room(counted):
    """Where fewer than eight images fit; a block at a time is there beside what is kept."""
    found = propose_for(8, RECOMPUTED + BLOCK)
    assert found.recompute and found.batch == 8 and found.options['recompute'] is True
    assert propose_for(8).recompute is False


def test_keys_are_those_of_the_recipe():
    """A variable that the place refers to, or the dotted path."""
    source = load_config('dualtoken_b16_256')
    assert find_key(source, 'train_dataloader.batch_size') == ('batch_size', 64)
    assert find_key(source, 'model.gan.adversarial.start') == ('gan_start', 10000)
    assert find_key(source, 'model.gan.adversarial.weight') == ('gan.adversarial.weight', 0.75)
    assert find_key(source, 'model.teacher.nothing.here') == ('model.teacher.nothing.here', None)
    assert find_switches(source, resolve(source)) == dict(recompute=False)
    paper = load_config('paper/dualtoken_so400m_256_rq4')
    assert find_switches(paper, resolve(paper)) == {'encoder.recompute': True,
                                                    'model.tokenizer.decoder.recompute': True}


def test_options_are_those_that_load_config_takes(counted):
    """What is proposed for a recipe without variables of its own can be set, too."""
    found = propose_for(1, recipe='vqgan')
    again = load_config('vqgan', found.options)
    assert resolve(again).train_dataloader.batch_size == found.batch == 1
    assert resolve(again).optim_wrapper.generator.accumulative_counts == found.counts == 32
    assert resolve(again).optim_wrapper.discriminator.accumulative_counts == 32
    assert resolve(again).param_scheduler.generator.total == 32 * 600 == found.iterations


def test_a_card_that_is_too_small(counted, monkeypatch):
    """The message says what one image takes, and which recipe fits."""
    monkeypatch.setattr(module, 'LADDER', ('dualtoken_b16_256', 'dualtoken_rq'))
    with pytest.raises(InputError, match='Not even one image fits into 1.79e-07 GB, .* optimizer take 1.6e-07 GB, an '
                                         'image .* so that the smallest GPU has 2.11e-07 GB. Take a smaller encoder'):
        propose_for(0)
    small = Description(dict(decoder=Part(1, 1, 1.0)), 1, 1.0, {}, activations=1)
    whole = module.describe
    monkeypatch.setattr(module, 'describe', lambda cfg: small if cfg.image_size == 64 else whole(cfg))
    with pytest.raises(InputError, match='Take the recipe dualtoken_rq, which needs 1.89e-08 GB at least'):
        propose_for(0)


def test_largest_block_by_hand():
    """The refining block of the decoder at full size keeps most: within a third of all that an image keeps."""
    cfg = resolve(load_config('dualtoken_rq'))
    largest = measure_largest_block(cfg)
    assert 0 < largest < module.describe(cfg).activations / 3


def test_command_line(capsys):
    """Without --batch a proposal, with it the check of that batch; the rate of the card is named."""
    main(['dualtoken_rq', '--memory', '0.2', '--tflops', '10'])
    out = capsys.readouterr().out
    assert 'proposed for a GPU of 0.2 GB' in out and '--cfg-options batch_size=' in out
    assert '1 GPU at 40% of 10 TFLOPS' in out and 'predicted' in out
