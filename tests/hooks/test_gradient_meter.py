"""The conflict of gradients: cosines by hand, which term is whose, and a run that stays the same bit for bit."""
import contextlib
import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn as nn
from PIL import Image

from dtbox.config import load_config, resolve
from dtbox.encoders.base import Encoder
from dtbox.errors import InputError
from dtbox.hooks import conflict
from dtbox.hooks.conflict import GradientConflict, format_summary, summarise
from dtbox.hooks.gradient_meter import Sides, measure
from dtbox.losses.base import Loss
from dtbox.losses.criterion import Criterion
from dtbox.structures import Batch, TeacherOutput, TokenizerOutput
from dtbox.training import checkpoint
from dtbox.training.build import build_parts
from dtbox.training.runner import Runner
from dtbox.training.tokenizer_probe import TokenizerProbe
from tests.training.test_resume import same

HOOKS = dict(log=dict(type='Log', interval=2), checkpoint=dict(type='Checkpoint', interval=6))
METER = dict(type='GradientConflict', interval=2)


# ---- by hand ------------------------------------------------------------------------------------------------------

class Plane(Encoder):
    """Two blocks with a vector of two weights each; a token is the running sum, so each gradient is what the loss
    says."""
    depth, image_size = 2, (4, 4)

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Parameter(torch.ones(2)) for _ in range(2))

    def embed(self, images):
        return images.new_zeros(len(images), 1, 2)

    def step(self, tokens, layer):
        return tokens + (self.first if layer == 1 else self.second)


class Along(Loss):
    """Scalar product of a field's mean with a direction: its gradient is the direction."""

    def __init__(self, name, field, direction):
        super().__init__()
        self.names = (name,)
        self.requires = (field,)
        self.direction = torch.tensor(direction)

    def terms(self, outputs, batch):
        path = self.requires[0].split('.')[0]
        value = outputs.reconstructions if path == 'reconstructions' else outputs.pooled
        return {self.names[0]: (value.mean((0, 1)) * self.direction).sum()}


class Task:
    """As much of a TokenizerTask as is asked: layer 1 feeds the reconstruction, layer 2 the pooled output."""

    def __init__(self, **losses):
        encoder = Plane()
        self.tokenizer = nn.Module()
        self.tokenizer.encoders, self.tokenizer.vocabularies = nn.ModuleDict(dict(trunk=encoder)), nn.ModuleDict()
        self.tokenizer.decoder = nn.Identity()
        self.criterion = Criterion(losses)
        self.device = torch.device('cpu')

    def prepare(self, batch):
        return batch

    def autocast(self):
        return torch.autocast('cpu', enabled=False)

    def unwrapped(self):
        return contextlib.nullcontext()

    def run_losses_inputs(self, batch):
        encoder = self.tokenizer.encoders['trunk']
        tokens, tapped = encoder.run(encoder.embed(batch.images), 0, 2, {1})
        return TokenizerOutput(batch.images, reconstructions=tapped[1], pooled=tokens,
                               teacher=TeacherOutput(pooled=tokens.detach()))


BATCH = Batch(images=torch.zeros(3, 3, 4, 4))


def entry(name, field, direction, weight):
    return dict(type=lambda: Along(name, field, direction), weight=weight)


def both(**weights):
    return TokenizerProbe(Task(pixels=entry('l2', 'reconstructions', [1., 0.], weights.get('l2', 2.)),
                               text=entry('cosine', 'teacher.pooled', [-3., 4.], weights.get('cosine', .5))))


def test_cosines_by_hand():
    """g_R = 2 (1, 0) at block 1 and nothing at block 2; g_S = (-3, 4) / 2 at both: cosine -3 / 5."""
    probe = both()
    row, terms = measure(probe, BATCH, probe.find_blocks(), Sides())
    assert row == dict(layers=['0', '1', '2'], cosine=[None, pytest.approx(-.6), None], reconstruction=[None, 2., None],
                       semantics=[None, 2.5, 2.5], together=pytest.approx(-.6))
    assert terms == dict(reconstruction=['l2'], semantics=['cosine'], neither=[])
    assert all(p.grad is None for p in probe.task.tokenizer.parameters())


def test_several_terms_and_shared_layers():
    """Layers that both reach count together by their joined vectors: <(1,0,1,0), (-3,4,-3,4)> / (sqrt 2 * sqrt 50) =
    -.6."""
    probe = both()
    def inputs(batch):
        outputs = Task.run_losses_inputs(probe.task, batch)
        return outputs.replace(reconstructions=outputs.pooled)
    probe.task.run_losses_inputs = inputs
    row, _ = measure(probe, BATCH, probe.find_blocks(), Sides())
    assert row['cosine'] == [None, pytest.approx(-.6), pytest.approx(-.6)] and row['together'] == pytest.approx(-.6)
    probe.task.criterion.losses['text'].direction = torch.zeros(2)
    row, _ = measure(probe, BATCH, probe.find_blocks(), Sides())
    assert row['semantics'] == [None, 0., 0.] and row['cosine'] == [None] * 3 and row['together'] is None
    assert summarise([dict(iteration=0, **row)], {})['layers']['1']['blank'] == 'no gradient of semantics'


def test_blocks_are_what_a_pass_depends_on():
    probe = both()
    encoder = probe.task.tokenizer.encoders['trunk']
    blocks = [(name, [id(p) for p in group]) for name, group in probe.find_blocks()]
    assert blocks == [('0', []), ('1', [id(encoder.first)]), ('2', [id(encoder.second)])]
    encoder.first.requires_grad_(False)
    assert [len(group) for _, group in probe.find_blocks()] == [0, 0, 1]
    probe.task.tokenizer.encoders['other'] = Plane()
    assert [name for name, _ in probe.find_blocks()] == ['trunk:0', 'trunk:1', 'trunk:2', 'other:0', 'other:1',
                                                         'other:2']


def test_summary_says_what_is_blank():
    rows = [dict(iteration=i, layers=['0', '1', '2'], cosine=[None, c, None], reconstruction=[None, 2., None],
                 semantics=[None, 1., 3.], together=c)
            for i, c in enumerate((-.5, .3))]
    found = summarise(rows, dict(reconstruction=['l2']))
    assert found['together'] == pytest.approx(-.1) and found['layers']['1'] == dict(
        cosine=pytest.approx(-.1), deviation=pytest.approx(.4), opposed=.5, reconstruction=2., semantics=1., blank='')
    assert [found['layers'][k]['blank'] for k in '02'] == ['reached by neither side, or frozen',
                                                           'not reached by reconstruction']
    assert '| 1 | -0.100 +- 0.400 | 50% | 2 | 1 |  |' in format_summary(found)
    assert '| 2 |  |  |  | 3 | not reached' in format_summary(found)


# ---- which term is whose ------------------------------------------------------------------------------------------

def test_names_instead_of_the_rule():
    probe = both()
    sides = Sides(reconstruction='cosine', semantics=['l2'])
    sides.check(probe)
    assert measure(probe, BATCH, probe.find_blocks(), sides)[1] == dict(reconstruction=['cosine'], semantics=['l2'],
                                                                        neither=[])


@pytest.mark.parametrize('make, sides, says', [
    (lambda: both(cosine=0), {}, 'no term of semantics'),
    (lambda: both(), dict(semantics=['cosin']), 'no term `cosin`. Did you mean `cosine`?'),
    (lambda: both(), dict(reconstruction='l2', semantics='l2'), 'named for both sides')])
def test_what_cannot_be_compared(make, sides, says):
    with pytest.raises(InputError, match=says.replace('?', r'\?')):
        Sides(**sides).check(make())


def test_a_term_of_weight_zero_is_refused_when_it_comes():
    probe = TokenizerProbe(Task(pixels=entry('l2', 'reconstructions', [1., 0.], 1.),
                                text=entry('cosine', 'teacher.pooled', [1., 1.], 0)))
    with pytest.raises(InputError, match='`cosine` has the weight 0'):
        measure(probe, BATCH, probe.find_blocks(), Sides(semantics='cosine'))


@pytest.mark.parametrize('options, says', [
     ({'model.tokenizer.decoder': None, 'model.losses.pixels': None, 'gan': None},
      'hooks.meter: the recipe has no ' 'decoder'),
     ({'model.losses.semantic': None, 'model.losses.pooled': None},
      'hooks.meter.semantics: the criterion has no term ' 'of semantics'),
     ({'optim_wrapper.generator.freeze': ['encoders.*']}, 'hooks.meter: all parameters of the encoders are frozen')])
def test_refused_before_the_folder_is_touched(tiny_config, tmp_path, options, says):
    with pytest.raises(InputError, match=says):
        Runner.from_config(load_config(tiny_config, {**options, 'hooks': dict(_delete_=True, meter=METER)}),
                           work_dir=str(tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('args, says', [
     (dict(interval=0), 'at least 1'), (dict(reconstruction='a', semantics='a'), 'both sides')])
def test_arguments(args, says):
    with pytest.raises(InputError, match=says):
        GradientConflict(**args)


# ---- nothing changes ----------------------------------------------------------------------------------------------

def train(config, folder, hooks, resume=False, stop=None, **options):
    cfg = load_config(config, {'hooks': dict(hooks, _delete_=True), 'val_dataloader': None,
                               **{k.replace('__', '.'): v for k, v in options.items()}})
    runner = Runner.from_config(cfg, work_dir=str(folder), resume=resume)
    if stop:
        runner.register_hook(SimpleStop(stop))
    runner.train()
    return checkpoint.load(folder)


class SimpleStop(conflict.Hook):
    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter_done == self.at:
            runner.train_loop.stop_training = True


def test_a_run_stays_the_same_bit_for_bit(tiny_config, tmp_path):
    """With GAN, dropout, amp, activation checkpointing and the health of the codebooks; and what the hook leaves
    behind."""
    args = dict(embed_dim=32, depth=3, num_heads=2, patch_size=8, proj_drop_rate=.1)
    options = dict(amp='bfloat16', encoder__recompute=True, encoder__model_args=args)
    health = dict(type='CodebookHealth', interval=2, warn=0)
    without = train(tiny_config, tmp_path / 'without', dict(HOOKS, health=health), **options)
    found = train(tiny_config, tmp_path / 'with', dict(HOOKS, health=health, meter=METER), **options)
    same(without, found)
    for file in ('history.jsonl', 'codebooks.jsonl'):
        rows = [[json.loads(line) for line in open(tmp_path / run / file)] for run in ('with', 'without')]
        assert [{**r, 'seconds': 0} for r in rows[0]] == [{**r, 'seconds': 0} for r in rows[1]]
    rows = [json.loads(line) for line in open(tmp_path / 'with' / 'conflict.jsonl')]
    assert [r['iteration'] for r in rows] == [0, 2, 4] and rows[0]['layers'] == ['0', '1', '2', '3']
    for row in rows:  # pixels are read from layer 1, semantics from layer 2 and behind it
        assert [v is None for v in row['cosine']] == [False, False, True, True] and all(-1 <= v <= 1
                                                                                        for v in row['cosine'][:2])
        assert [v is None for v in row['reconstruction']] == [False, False, True, True] and min(row['semantics']) > 0
    summary = json.loads((tmp_path / 'with' / 'conflict.json').read_text())
    assert summary['terms'] == dict(reconstruction=['l2'], semantics=['semantic_tokens', 'semantic_pooled'],
                                    neither=['commitment_pixel', 'commitment_semantic'])
    assert summary['layers']['3']['blank'] == 'not reached by reconstruction'
    assert min(Image.open(tmp_path / 'with' / 'conflict.png').size) > 600


def test_resumed_lines_are_not_doubled(tiny_config, tmp_path):
    hooks, short = dict(checkpoint=dict(type='Checkpoint', interval=2), meter=METER), dict(train_cfg__max_iters=4)
    whole = train(tiny_config, tmp_path / 'whole', hooks, **short)
    train(tiny_config, tmp_path / 'cut', hooks, stop=2, **short)
    with open(tmp_path / 'cut' / 'conflict.jsonl', 'a') as f:
        f.write(json.dumps(dict(iteration=2)) + '\n')  # as if it had been killed in the third iteration
    same(whole, train(tiny_config, tmp_path / 'cut', hooks, resume=True, **short))
    assert (tmp_path / 'cut' / 'conflict.jsonl').read_text() == (tmp_path / 'whole' / 'conflict.jsonl').read_text()


class Restless(nn.Module):
    """A decoder with every kind of state: batch statistics, dropout, a buffer that it replaces, Python's and numpy's
    generators."""

    def __init__(self, decoder):
        super().__init__()
        self.inner = decoder
        self.norm = nn.BatchNorm1d(32)
        self.drop = nn.Dropout(.1)
        self.register_buffer('calls', torch.zeros(()))

    @property
    def last_layer(self):
        return self.inner.last_layer

    def forward(self, features):
        random.random(), np.random.rand()
        self.calls = self.calls + 1
        return self.inner(self.drop(self.norm(features.transpose(1, 2)).transpose(1, 2)))


def test_a_measurement_leaves_no_trace(tiny_config):
    parts = build_parts(resolve(load_config(tiny_config, {'quantizer.type': 'RQ'})), 0)
    model = parts['model'].train()
    model.init_weights()
    model.tokenizer.decoder = Restless(model.tokenizer.decoder)
    model.tokenizer.decoder.inner.eval()
    batch = next(iter(parts['train']))
    probe = model.make_gradient_probe()
    blocks = probe.find_blocks()
    model.tokenizer(model.prepare(batch).images)  # something is collected already
    pending = {n: [v for v, _ in vocabulary.quantizer.codebooks[0].pending]
               for n, vocabulary in model.tokenizer.vocabularies.items()}
    for p in model.tokenizer.parameters():
        p.grad = torch.ones_like(p)

    def everything():
        return dict(state={k: v.clone() for k, v in model.state_dict().items()},
                    random=checkpoint.to_plain(checkpoint.get_random_state()),
                    modes=[m.training for m in model.modules()],
                    gradients=[p.grad.clone() for p in model.tokenizer.parameters()])
    before, calls = everything(), model.tokenizer.decoder.calls
    row, _ = measure(probe, batch, blocks, Sides())
    again, _ = measure(probe, batch, blocks, Sides())
    same(before, everything())
    assert row == again and model.tokenizer.decoder.calls is calls and model.wrapped_tokenizer is model.tokenizer
    for name, vocabulary in model.tokenizer.vocabularies.items():
        kept = vocabulary.quantizer.codebooks[0].pending
        assert len(kept) == 1 and kept[0][0] is pending[name][0]


def test_reentrant_checkpointing_is_named(tiny_config):
    parts = build_parts(resolve(load_config(tiny_config)), 0)
    model = parts['model'].train()
    block = model.tokenizer.encoders['trunk'].trunk.blocks[0]
    plain = block.forward
    block.forward = lambda x: torch.utils.checkpoint.checkpoint(plain, x,
                                                                use_reentrant=True) if x.requires_grad else plain(x)
    with pytest.raises(InputError, match='use_reentrant=False'):
        probe = model.make_gradient_probe()
        measure(probe, next(iter(parts['train'])), probe.find_blocks(), Sides())


# ---- several ranks ------------------------------------------------------------------------------------------------

def two_ranks(rank, world):
    """Two steps of a tiny recipe, measured before each, on halves of the same batches. Returns the rows and the
    state."""
    from dtbox.registry import MODELS
    from dtbox.training.optim import build_optim_wrappers
    from tests.distributed.worker import part
    encoder = dict(type='TimmViT', name='vit_base_patch16_siglip_224',
                   model_args=dict(embed_dim=32, depth=2, num_heads=2, patch_size=8))
    torch.manual_seed(2)
    model = MODELS.build(dict(
        type='TokenizerTask', teacher=dict(encoder=encoder, layer=2),
        tokenizer=dict(image_size=16, encoders=dict(trunk=encoder),
                       decoder=dict(type='LightCNNDecoder', width=32, blocks=1),
                       vocabularies=dict(codes=dict(taps=2, quantizer=dict(type='FSQ', levels=[3] * 8)))),
        losses=dict(pixels=dict(type='L2Loss'), tokens=dict(type='SemanticLoss', vocabulary='codes'))))
    settings = dict(optimizer=dict(type='SGD', lr=0.1), freeze=['*attn_pool*', '*trunk.norm.*'])
    optim = build_optim_wrappers(model.parts, dict(generator=settings))
    if world > 1:
        model.wrap(lambda m: torch.nn.parallel.DistributedDataParallel(m, broadcast_buffers=False))
    model.train()
    probe = model.make_gradient_probe()
    blocks, rows = probe.find_blocks(), []
    for step in range(2):
        images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(step)) * 2 - 1
        batch = Batch(images=part(images, (4, 8), rank, world))
        rows.append(measure(probe, batch, blocks, Sides())[0])
        model.train_step(batch, optim)
    return dict(rows=rows, state=dict(model.state_dict()))


def test_ranks_measure_the_global_batch():
    from dtbox.testing.rank_group import SHARED
    alone = two_ranks(0, 1)
    for found in SHARED.run(two_ranks):
        # a code may flip in the second step
        for mine, other, tolerance in zip(alone['rows'], found['rows'], (1e-6, 1e-2)):
            assert mine['cosine'] == pytest.approx(other['cosine'], abs=tolerance)
            assert mine['semantics'] == pytest.approx(other['semantics'], rel=tolerance)
        assert all(torch.allclose(found['state'][k], v, atol=1e-5) for k, v in alone['state'].items())


def test_visualizer_gets_the_numbers(tmp_path):
    shown = []
    runner = SimpleNamespace(task=SimpleNamespace(parts={}, make_gradient_probe=both), iter_done=0,
                             work_dir=str(tmp_path),
                             visualizer=SimpleNamespace(add_scalars=lambda values, step: shown.append((step, values))))
    hook = GradientConflict(interval=5)
    hook.before_train(runner)
    for runner.iter_done in (0, 1):
        hook.before_train_iter(runner, 0, BATCH)
    assert shown == [(0, {'conflict/cosine_1': pytest.approx(-.6), 'conflict/reconstruction_1': 2.,
                          'conflict/semantics_1': 2.5, 'conflict/semantics_2': 2.5})]
