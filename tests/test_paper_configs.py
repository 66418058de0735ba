"""The configs of the published sizes: built whole on the meta device, with the published numbers of parameters; stepped
at their own tiny size; their values are the releases', and say so."""
import ast
import io
import re
import tokenize
from pathlib import Path

import pytest
import torch

from dtbox.config import load_config, resolve, set_option
from dtbox.registry import MODELS, QUANTIZERS
from dtbox.training.build import build_parts
from tests.format_data import imagenet
from tests.shard_data import write_set

CONFIGS = sorted(Path('configs/paper').glob('*.py'))
TOKENIZERS = [path for path in CONFIGS if not path.stem.startswith('mllm')]
"""The others are language models, see tests/test_paper_mllm.py."""


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
    assert [p.stem for p in TOKENIZERS] == ['dualtoken_so400m_256_rq4', 'dualtoken_so400m_384_rq8',
                                         'dualtoken_so400m_384_rq8_stage0', 'dualtoken_so400m_384_rq8_stage2',
                                         'ibq_256', 'open_magvit2_256', 'tatitok_bl32', 'titok_bl64', 'unitok_256',
                                         'var_tokenizer_256', 'vila_u_384', 'vqgan_f16']


@pytest.mark.parametrize('path', TOKENIZERS, ids=lambda p: p.stem)
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
     ('vila_u_384', 729, 729 * 16 * 14), ('unitok_256', 256, 256 * 8 * 12), ('vqgan_f16', 256, 2560),
     ('ibq_256', 256, 256 * 14), ('open_magvit2_256', 256, 256 * 18),
     ('titok_bl64', 64, 64 * 13), ('tatitok_bl32', 32, 32 * 13), ('var_tokenizer_256', 680, 680 * 12)])
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


@pytest.mark.parametrize('name, config', [('ibq_256', 'ibq'), ('open_magvit2_256', 'open_magvit2')])
def test_the_network_of_seed_voken(name, config):
    """The tokenizer of the config has the names and shapes of the release (its largest codebook is 262,144)."""
    from importlib import import_module

    from tests.converters.cnn_kit import read_keys
    module = import_module(f'dtbox.converters.{config}')
    names = module.vqgan if config == 'ibq' else module
    state = {key: value for key, value in read_keys(config).items() if not key.startswith('model_ema.')}
    found = names.map_state(state, name, *(['weight'] if config == 'ibq' else []))
    table = 'vocabularies.pixel.quantizer.weight'
    assert {key: value.shape for key, value in found.items() if key != table} == {
        key: value.shape for key, value in built(name).tokenizer.state_dict().items() if key != table}


def test_the_discriminator_warms_up_from_zero():
    from dtbox.registry import SCHEDULES
    cfg = resolve(load_config('configs/paper/dualtoken_so400m_384_rq8.py'))
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=7.2e-5)
    schedule = SCHEDULES.build(dict(cfg.param_scheduler.discriminator, by_epoch=False), optimizer=optimizer)
    assert schedule.factor(0) == 0 and schedule.factor(9766) == pytest.approx(0.5) and schedule.factor(19532) == 1
    assert schedule.factor(781260) * 7.2e-5 == pytest.approx(4e-5)


# ---- values of the releases -------------------------------------------------------------------------------------

@pytest.mark.parametrize('name, commitment, codebook', [('vqgan_f16', 1.0, 0.25), ('unitok_256', 0.25, 1.0),
                                                        ('titok_bl64', 0.25, 1.0)])
def test_weights_of_the_terms_of_quantizers(name, commitment, codebook):
    """taming's VectorQuantizer2 (legacy: beta 0.25 on the table's side), UniTok's vq_beta 0.25 and TiTok's
    commitment_cost 0.25 on the encoder's, as gradients: of c mean (z - sg(e))^2 at z, and of k mean (sg(z) - e)^2
    at the table."""
    cfg = resolve(load_config(f'paper/{name}', {'quantizer': dict(size=4, dim=16)}))
    quantizer = QUANTIZERS.build(cfg.quantizer).train()
    table = quantizer.weight if name == 'unitok_256' else quantizer.codebook.weight
    torch.nn.init.normal_(table)
    z = torch.randn(2, 3, 16, requires_grad=True)
    weight = cfg.model.losses.quantizers.weight
    out = quantizer(z)
    plain = quantizer.smooth(z) if name == 'unitok_256' else z
    rows = quantizer.decode(out.codes)
    want = commitment * (plain - rows.detach()).pow(2).mean() + codebook * (plain.detach() - rows).pow(2).mean()
    got = weight * sum(out.losses.values())
    assert set(out.losses) == {'commitment', 'codebook'} and got.item() == pytest.approx(want.item(), rel=1e-6)
    for found, wanted in zip(*(torch.autograd.grad(side, (z, table), retain_graph=True) for side in (got, want))):
        assert torch.allclose(found, wanted, atol=1e-7) and wanted.abs().sum() > 0


def test_the_gan_of_unitok():
    """The release's arguments: disc_start_ep 0.375 and disc_warmup_ep 0.03 of one epoch of 1.28 B / 512 steps, a cosine
    to 0.1 x until its end; the adaptive weight compares with 0.2 L1 + L2 + LPIPS over the norm + 1e-6."""
    from dtbox.registry import LOSSES, SCHEDULES
    cfg = resolve(load_config('paper/unitok_256'))
    epoch = 1_280_000_000 // (8 * cfg.batch_size)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=2e-5)
    schedule = SCHEDULES.build(dict(cfg.param_scheduler.discriminator, by_epoch=False), optimizer=optimizer)
    warmup, end = int(0.03 * epoch), int(0.625 * epoch)
    assert cfg.max_iters == epoch and cfg.gan_start == 0.375 * epoch and cfg.gan_start + end == epoch
    assert schedule.factor(0) == 0 and schedule.factor(warmup // 2) == 0.5 and schedule.factor(warmup) == 1
    assert schedule.factor((warmup + end) // 2) == pytest.approx(0.55) and schedule.factor(end) == pytest.approx(0.1)
    loss = LOSSES.build(cfg.gan.adversarial)
    assert loss.compared_terms() == {name: cfg.model.losses[part].weight for name, part in
                                     dict(l1='l1', l2='pixels', lpips='perceptual').items()}
    assert loss.compared_terms()['l1'] == 0.2
    assert loss.generator_factor(cfg.gan_start + warmup - 1) == 0.4 == 2 * loss.generator_factor(
        cfg.gan_start + warmup // 2 - 1)
    balance = loss.balance(torch.tensor([0.0, 3e-6]), torch.tensor([2e-6, 0.0]))
    assert balance.item() == pytest.approx(1.0)  # 3e-6 / (2e-6 + 1e-6)


# ---- where each value comes from ---------------------------------------------------------------------------------

SOURCE = re.compile(r'release|paper|ours|older scripts|taming|timm')
LINES = 8
"""A comment counts for the values of a block of at most so many lines."""


def list_unsourced(text):
    """Return (line, value) of each number and tuple of a config without a comment that says where it is from.

    It stands on the line, above it, or on or above a line of a block around it that is short. `tiny`, `_base_`, names
    of parts and references need none.
    """
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    said = {token.start[0] for token in tokens if token.type == tokenize.COMMENT and SOURCE.search(token.string)}
    lines, left = text.splitlines(), []

    def is_said(node):
        above = node.lineno - 1
        while above and lines[above - 1].lstrip().startswith('#'):
            if above in said:
                return True
            above -= 1
        return any(line in said for line in range(node.lineno, node.end_lineno + 1))

    def walk(node, around):
        around = [*around, node] if node.end_lineno - node.lineno < LINES else around
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            if not any(map(is_said, around)):
                left.append((node.lineno, node.value))
        for child in ast.iter_child_nodes(node):
            if hasattr(child, 'lineno'):
                walk(child, around)

    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id not in ('tiny', '_base_'):
            walk(statement, [])
    return left


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_every_value_says_where_it_is_from(path):
    """The release and its name there, the paper, or `ours`."""
    assert not list_unsourced(path.read_text())


def test_values_without_a_source_are_found():
    """On the line, above it, or in a short block; a comment about something else is none."""
    text = 'a = 1\nb = 2  # release: b\n# paper: section 3\nc = 3\nd = 4  # of them\n'
    assert list_unsourced(text) == [(1, 1), (5, 4)]
    assert not list_unsourced('# ours\nx = dict(\n    a=1,\n    b=(2, 3))\ntiny = dict(y=5)\n')
    assert list_unsourced('x = dict(  # ours\n' + ''.join(f'    a{i}={i},\n' for i in range(9)) + '    b=2)\n')
