"""The language models of the published sizes: each stage stepped at its own tiny size, what it trains at full size, the
files that it reads."""
import fnmatch
import json
from pathlib import Path

import pytest
import torch

from dtbox.config import load_config, resolve
from dtbox.registry import DATASETS, VISUAL_HEADS
from dtbox.sizing.mllm_build import build_mllm_without_memory
from dtbox.sizing.mllm_streams import count_streams, format_streams
from dtbox.training.build import build_parts
from tests import mllm_kit as kit

pytest.importorskip('transformers')
NAME = 'mllm_qwen2_5_3b_256'
STAGES = {
    'stage1': (1e-3, 64, {'visual_embedding', 'lm.special'}, {'captions'}),
    'stage2': (2e-5, 256, {'visual_embedding', 'lm.special', 'lm.model'},
               {'captions', 'documents', 'questions', 'text'}),
    'stage3': (1e-4, 128, {'visual_head', 'lm.special'}, {'draw'}),
    'stage4_1': (1e-5, 512, {'visual_embedding', 'visual_head', 'lm.special', 'lm.model'},
                 {'questions', 'text', 'draw', 'edit', 'interleaved'}),
    'stage4_2': (1e-5, 256, {'visual_embedding', 'visual_head', 'lm.special', 'lm.model'},
                 {'questions', 'text', 'draw', 'edit', 'interleaved'})}
"""Stage -> published rate and batch, what trains, kinds of data."""
PATHS = sorted(Path('configs/paper').glob('mllm*.py'))


def read(name, tiny=False, **options):
    return resolve(load_config(f'configs/paper/{name}.py', options, tiny=tiny))


def test_there_are_stages():
    assert [path.stem for path in PATHS] == [NAME, *(f'{NAME}_{stage}' for stage in STAGES)]


@pytest.mark.parametrize('path', PATHS, ids=lambda p: p.stem)
def test_tiny_steps(path):
    """Two steps without any file; exactly the tensors that are not frozen change."""
    parts = build_parts(read(path.stem, True), seed=0)
    task = parts['model']
    task.init_weights()
    task.train()
    model = task.model
    before = {name: p.clone() for name, p in model.named_parameters()}
    batches = iter(parts['train'])
    for _ in range(2):
        logs = task.train_step(next(batches), parts['optim'])
        assert logs and all(torch.isfinite(torch.as_tensor(v)).all() for v in logs.values())
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert moved == trained and trained
    frozen = dict(lm=model.lm.model, embedding=model.visual_embedding, head=model.visual_head)
    for part in frozen.values():  # what is frozen is in evaluation while the rest trains
        assert part.training == any(p.requires_grad for p in part.parameters())


@pytest.mark.parametrize('stage', STAGES)
def test_what_a_stage_trains(stage):
    """At full size: the published rate, batch and parts; sets by kind; the weights of the stage before."""
    rate, batch, trained, kinds = STAGES[stage]
    cfg = read(f'{NAME}_{stage}')
    optim = cfg.optim_wrapper.model
    assert (optim.optimizer.lr, cfg.train_dataloader.global_batch_size) == (rate, batch)
    assert {name for name, one in cfg.train_dataloader.dataset.datasets.items() if one is not None} == kinds
    names = ['visual_embedding.mlp.0.weight', 'visual_head.chains.0.norm.weight', 'lm.special.read',
             'lm.model.model.norm.weight']
    open_names = [n for n in names if not any(fnmatch.fnmatch(n, pattern) for pattern in optim.get('freeze') or ())]
    assert {part for part in ('visual_embedding', 'visual_head', 'lm.special', 'lm.model')
            if any(name.startswith(part) for name in open_names)} == trained
    earlier = [None, *(f'work_dirs/{NAME}_{name}' for name in STAGES)]
    assert cfg.get('load_from') == earlier[[*STAGES].index(stage)]


@pytest.fixture(scope='module')
def whole():
    """The model of stage 3 at full size, on the meta device."""
    return build_mllm_without_memory(read(f'{NAME}_stage3'), [])[0]


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_published_sizes(whole):
    """Qwen2.5-3B has 3,085,938,688 parameters; six image tokens have rows of their own; the paper's additional visual
    head has 258 M, as blocks and classifiers of a chain have here."""
    assert count(whole.lm.model) == 3_085_938_688 and whole.lm.special.read.shape == (6, 2048)
    chain = whole.visual_head.chains[0]
    assert abs(count(chain.blocks) + count(chain.classifiers) - 258.5e6) < 0.1e6
    assert whole.places == 256 and whole.tables.sizes == dict(pixel=[16384] * 4, semantic=[16384] * 4)
    assert {n.split('.')[0] for n, p in whole.named_parameters() if p.requires_grad and 'special' not in n} == {
        'visual_head'}


WIDE = """_base_ = ['paper/dualtoken_so400m_256_rq4']
quantizer = dict(dim=1024)
model = dict(tokenizer=dict(vocabularies=dict(pixel=dict(projection=dict(type='MLPProjection')),
                                              semantic=dict(projection=dict(type='MLPProjection')))))
"""


@pytest.mark.slow
@pytest.mark.long
def test_what_the_second_vocabulary_adds(tmp_path):
    """The appendix: 2.1 M of the projector, a head of 258 M, 16 M of codes, 8.93 % in all, with a tokenizer whose
    rows are 1,024 wide. The width of the head is not published; 8.93 % lies between 1856 and 1872, input maps
    included."""
    (tmp_path / 'wide.py').write_text(WIDE)
    cfg = read(NAME, tokenizer=str(tmp_path / 'wide.py'))
    model = build_mllm_without_memory(cfg, [])[0]
    cost = count_streams(model, cfg.model)['semantic']
    chain = model.visual_head.chains[1]
    assert cost.embedding == 1024 * 2048 == 2_097_152 and cost.codes == 16384 * 1024
    assert cost.head == count(chain) and abs(count(chain.blocks) + count(chain.classifiers) - 258.5e6) < 0.1e6
    assert 'semantic adds 2.097 M parameters of the visual embedding, 268.2 M of' in format_streams(dict(
        semantic=cost))[0]

    def share(width, heads):
        with torch.device('meta'):
            one = VISUAL_HEADS.build(dict(type='DepthHead', inner=width, heads=heads, blocks=3, streams=['semantic']),
                                     tables=model.tables, width=2048)
        return (count(one) + cost.embedding + cost.codes) / count(model.lm)
    assert share(1856, 29) < 0.0893 < share(1872, 13) and share(1920, 15) == pytest.approx(cost.share)


def test_files_of_the_stages(tmp_path):
    """Each file of conversations is read in its own format: captions, chats with drawn images, plain text."""
    kit.write_llava(tmp_path)
    ask, draw = ((tmp_path / f'{kind}.jsonl').read_text() for kind in ('ask', 'draw'))
    edit = json.dumps(dict(messages=[
        dict(role='user', content=[dict(type='image', image='0.png'), dict(type='text', text='make it red')]),
        dict(role='assistant', content=[dict(type='image_gen', image='1.png')])]))
    for name, rows in dict(captions=ask, documents=ask, questions=ask, draw=draw, edit=edit, interleaved=edit,
                           text=json.dumps(dict(text='a red dog')), heldout_questions=ask, heldout_draw=draw).items():
        (tmp_path / f'{name}.jsonl').write_text(rows)
    for path in PATHS:
        cfg = read(path.stem, data_root=str(tmp_path))
        sizes = [len(DATASETS.build(cfg[loader].dataset)) for loader in ('train_dataloader', 'val_dataloader')]
        assert min(sizes) >= 12
