"""What a config takes: counted without weights, checked by hand and against a model that is really run."""
import re

import pytest
import torch

from dtbox.config import load_config, resolve
from dtbox.registry import MODELS
from dtbox.sizing.describe import Description, Part, describe
from dtbox.sizing.fit import fit
from tools.describe import main


@pytest.fixture(scope='module')
def recipe():
    return describe(resolve(load_config('configs/dualtoken_rq.py')))


def test_parameters_are_those_of_the_model(recipe):
    cfg = resolve(load_config('configs/dualtoken_rq.py'))
    model = MODELS.build(cfg.model)
    inside = [p for n, p in recipe.parts.items() if n not in ('teacher', 'discriminator', 'lpips')]
    assert sum(p.parameters for p in inside) == sum(p.numel() for p in model.tokenizer.parameters())
    assert recipe.parts['text'].trained == 0 and recipe.parts['decoder'].trained == recipe.parts['decoder'].parameters
    assert recipe.parts['teacher'].parameters == recipe.parts['encoders.trunk'].parameters
    assert recipe.parts['teacher'].trained == 0
    assert (recipe.tokens, recipe.bits) == (128, 64 * 8 * 10) and recipe.streams['pixel'] == (64, 4, 1024)
    assert recipe.buffers == sum(b.numel() * b.element_size() for b in model.buffers())


def test_flops_by_hand(recipe):
    """The trunk: 8 blocks of width 128 on 64 tokens (12 D^2 weights, two products of attention), patches of 8, and the
    pool's one query."""
    n, d = 64, 128
    block = 2 * n * 12 * d * d + 4 * n * n * d
    patches = 2 * n * d * 3 * 64
    pool = 2 * (d * d + n * 2 * d * d + d * d + 8 * d * d) + 4 * n * d
    assert recipe.parts['encoders.trunk'].flops == recipe.parts['teacher'].flops == 8 * block + patches + pool
    assert recipe.parts['quantizers'].flops == 2 * 64 * 4 * 2 * 1024 * 17


def test_texts_of_a_guided_decoder():
    """The frozen tower reads all 16 tokens of a text: 2 blocks of width 128; the decoder sees these tokens, too."""
    found = describe(resolve(load_config('configs/tatitok.py')))
    without = {'model.tokenizer.text': None, 'model.tokenizer.decoder.guidance': None,
               'optim_wrapper.generator.freeze': None}
    plain = describe(resolve(load_config('configs/tatitok.py', without)))
    n, d = 16, 128
    assert found.parts['text'].flops == 2 * (2 * n * 12 * d * d + 4 * n * n * d) and found.parts['text'].trained == 0
    more = found.parts['decoder'].flops - plain.parts['decoder'].flops
    assert more == 4 * (2 * n * 12 * d * d + 4 * d * ((97 + n) ** 2 - 97 ** 2)) + 2 * n * d * d


def test_activations_are_what_autograd_keeps(recipe):
    """Within a tenth of what a real forward of the tokenizer and the discriminator keeps (the quantizers, which are not
    run here, keep little)."""
    cfg = resolve(load_config('configs/dualtoken_rq.py'))
    model = MODELS.build(cfg.model).train()
    for parameter in model.tokenizer.text.parameters():
        parameter.requires_grad_(False)
    kept, weights = {}, {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        model.discriminator(model.tokenizer(torch.rand(1, 3, 64, 64)).reconstructions)
    assert recipe.activations == pytest.approx(sum(size for size, _ in kept.values()), rel=0.1)


def test_lpips_adds_what_its_network_keeps(recipe, monkeypatch):
    """Its activations are those of the model, too: 1000 bytes of an image here."""
    monkeypatch.setattr('dtbox.sizing.describe._measure_lpips', lambda *_: (Part(7, 0, 1.0), 1000))
    cfg = resolve(load_config('configs/dualtoken_rq.py'))
    cfg.model.losses.lpips = dict(type='LPIPSLoss')
    found = describe(cfg)
    assert found.parts['lpips'] == Part(7, 0, 1.0)
    assert found.activations == recipe.activations + 1000


def test_steps_and_memory_by_hand():
    found = Description(dict(a=Part(100, 100, 10.0), b=Part(50, 50, 10.0, True), frozen=Part(30, 0, 10.0),
                             lpips=Part(7, 0, 1.0), discriminator=Part(20, 20, 1.0)), 1, 1.0, {}, buffers=1000,
                        activations=400)
    assert found.step_flops() == 30 + 40 + 10 + 3 + 8
    assert found.state_bytes() == 4 * (207 + 170 * 3) + 1000 and found.memory(3) == found.state_bytes() + 1200
    assert found.largest_batch(found.memory(3)) == 3 and found.largest_batch(10) == 0
    result = fit(found, 2, 4, 1e6, 91.0, 0.5, 86400)
    assert result['step_seconds'] == 4 and result['images_per_second'] == 2 and result['days'] == 4
    found.half = True
    assert found.memory(3) == found.state_bytes() + 600


def test_what_does_not_fit_is_refused(capsys):
    main(['configs/dualtoken_rq.py', '--gpus', '2'])
    out = capsys.readouterr().out
    assert 'codes of pixel: 64 tokens of 4 codes, 1,024 each' in out and '2 GPUs at 40%' in out and 'assumed: ' in out
    for arguments, says in ((['--memory', '0.2', '--batch', '64'],
                             r'64 images a GPU need .* GB, and a GPU has 0.2 GB. At most \d+ images a GPU fit; lower'),
                            (['--memory', '0.01'], 'Not even one image fits'), (['--utilisation', '2'],
                                                                                  r'--utilisation in \(0, 1\]')):
        with pytest.raises(SystemExit) as stopped:
            main(['configs/dualtoken_rq.py', *arguments])
        assert stopped.value.code == 2
        assert re.search(says, capsys.readouterr().err)


@pytest.mark.parametrize('name', ['dualtoken_fsq', 'dualtoken_vq', 'vqgan', 'tokenflow', 'var_tokenizer',
                                  'two_encoders', 'unitok', 'qlip', 'dualtoken_learned_split'])
def test_every_kind_of_recipe(name):
    found = describe(resolve(load_config(f'configs/{name}.py')))
    assert found.step_flops() > 2 * found.inference_flops() > 0 and found.activations > 1e5 and found.bits > 0


@pytest.mark.parametrize('name', ['dualtoken_so400m_384_rq8', 'dualtoken_so400m_256_rq4',
                                  'dualtoken_so400m_384_rq8_stage0', 'dualtoken_so400m_384_rq8_stage2', 'vila_u_384',
                                  'vqgan_f16', 'unitok_256', 'var_tokenizer_256'])
def test_paper_sizes(name):
    """Counted from the configs as they are, weights that a hub has included; recomputation keeps activations low."""
    pytest.importorskip('lpips')
    found = describe(resolve(load_config(f'configs/paper/{name}.py')))
    assert not found.missing and found.step_flops() > 1e11
    if name == 'dualtoken_so400m_384_rq8':
        block = 2 * 729 * (4 * 1152 ** 2 + 2 * 1152 * 4304) + 4 * 729 ** 2 * 1152
        assert found.parts['encoders.trunk'].flops == pytest.approx(27 * block, rel=0.01)
        assert found.parts['lpips'].parameters == 14_716_160 and found.parts['encoders.trunk'].recomputed
    if 'stage0' in name:
        assert found.parts['encoders.trunk'].trained < 0.1 * found.parts['encoders.trunk'].parameters
        assert 'discriminator' not in found.parts
