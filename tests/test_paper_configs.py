"""The configs of the published sizes: built whole on the meta device, with the published numbers of parameters; stepped
at their own tiny size."""
from pathlib import Path

import pytest
import torch

from dtbox.config import load_config, resolve, set_option
from dtbox.registry import MODELS
from dtbox.training.build import build_parts
from tests.format_data import imagenet
from tests.shard_data import write_set

CONFIGS = sorted(Path('configs/paper').glob('*.py'))


@pytest.fixture
def data(tmp_path):
    """Options that give a config data of its kind."""
    def make(cfg):
        if cfg.train_dataloader.dataset.type == 'ImageNet':
            return dict(data_root=str(imagenet(tmp_path / 'imagenet')))
        shards = write_set(tmp_path / 'shards', [3, 3])
        return dict(shards=shards, heldout=shards)
    return make


@pytest.fixture(autouse=True)
def perceptual(monkeypatch):
    """A random VGG instead of the weights that are not at hand."""
    def network(net, weights, who):
        import lpips
        return lpips.LPIPS(net='squeeze', pretrained=False, pnet_rand=True, verbose=False).eval().requires_grad_(False)
    monkeypatch.setattr('dtbox.losses.lpips.open_network', network)


def test_there_are_configs():
    assert [p.stem for p in CONFIGS] == ['dualtoken_so400m_256_rq4', 'dualtoken_so400m_384_rq8',
                                         'dualtoken_so400m_384_rq8_stage0', 'dualtoken_so400m_384_rq8_stage2',
                                         'unitok_256', 'vila_u_384', 'vqgan_f16']


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_tiny_steps(path, data):
    cfg = load_config(path, tiny=True)
    for key, value in data(cfg).items():
        set_option(cfg, key, value)
    cfg = resolve(cfg)
    parts = build_parts(cfg, seed=0)
    model = parts['model']
    model.init_weights()
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    batches = iter(parts['train'])
    for _ in range(2):
        logs = model.train_step(next(batches), parts['optim'])
        assert logs and all(torch.isfinite(torch.as_tensor(v)).all() for v in logs.values())
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    frozen = {f'tokenizer.{k}' for k, p in model.tokenizer.named_parameters() if not p.requires_grad}
    assert changed and not changed & frozen
    if 'stage2' in path.stem:
        assert not any('vocabularies.pixel' in k or '.decoder.' in k
                       for k in changed) and any('vocabularies.semantic' in k for k in changed)
    if 'stage0' in path.stem:
        assert {k.split('.')[5] for k in changed if '.trunk.blocks.' in k} == {'26'}
    if model.discriminator is not None:
        assert any(k.startswith('discriminator') for k in changed)


def built(name):
    with torch.device('meta'):
        return MODELS.build(resolve(load_config(f'configs/paper/{name}.py', {'siglip': None} if 'so400m' in name
                                                else {})).model)


def millions(module):
    return round(sum(p.numel() for p in module.parameters()) / 1e6, 3)


@pytest.mark.parametrize('name, vision', [('dualtoken_so400m_384_rq8', 428.226), ('dualtoken_so400m_256_rq4', 427.888)])
def test_dualtoken_has_the_published_numbers_of_parameters(name, vision):
    """As counted in the published model (its codebooks are parameters there, buffers here)."""
    model = built(name)
    tokenizer = model.tokenizer
    assert millions(tokenizer.encoders['trunk']) == vision and millions(tokenizer.decoder.post_quant_conv) == 11.804
    assert millions(tokenizer.decoder.decoder) == 168.450 and millions(model.discriminator) == 1.729
    pixel, semantic = tokenizer.vocabularies['pixel'], tokenizer.vocabularies['semantic']
    assert [millions(p) for p in (*pixel.projections, *semantic.projections)] == [4.033] * 3
    assert millions(pixel.post_projection) == millions(semantic.post_projection) == 9.452
    budget = tokenizer.budget()
    assert (budget.tokens, budget.bits) == ((1458, 729 * 16 * 14) if '384' in name else (512, 256 * 8 * 14))


@pytest.mark.parametrize('name, tokens, bits', [
     ('vila_u_384', 729, 729 * 16 * 14), ('unitok_256', 256, 256 * 8 * 12), ('vqgan_f16', 256, 2560)])
def test_the_others_build_whole(name, tokens, bits):
    cfg = load_config(f'configs/paper/{name}.py', {'siglip': None} if 'vila' in name else {})
    with torch.device('meta'):
        model = MODELS.build(resolve(cfg).model)
    budget = model.tokenizer.budget()
    assert (budget.tokens, budget.bits) == (tokens, bits)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_docstring_names_the_command(path):
    text = path.read_text()
    assert f'torchrun --nproc_per_node 8 tools/train.py configs/paper/{path.name}' in text


def test_the_discriminator_warms_up_from_zero():
    from dtbox.registry import SCHEDULES
    cfg = resolve(load_config('configs/paper/dualtoken_so400m_384_rq8.py'))
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=7.2e-5)
    schedule = SCHEDULES.build(dict(cfg.param_scheduler.discriminator, by_epoch=False), optimizer=optimizer)
    assert schedule.factor(0) == 0 and schedule.factor(9766) == pytest.approx(0.5) and schedule.factor(19532) == 1
    assert schedule.factor(781260) * 7.2e-5 == pytest.approx(4e-5)
