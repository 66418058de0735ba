"""Blanked streams: what stands for a stream, what is asked with it, and the scores of each pass."""
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dtbox.errors import InputError
from dtbox.protocols import blanked
from dtbox.protocols.blanked import compute_means
from dtbox.registry import DATASETS
from dtbox.training.code_cache import CodeCache
from tools.test import main


def measure(run, out, *more):
    """Run the command line; returns the JSON."""
    main([str(run), '--protocol', 'blanked', '--out', str(out), '--cfg-options', 'protocol.images=3', *more])
    return json.loads(out.read_text())


def test_scores_of_each_pass(mllm_run, tmp_path, monkeypatch):
    """All questions are asked once with every stream and once without each; a value is that of the replies which were
    given then."""
    ask, passes = blanked.ask, {}

    def answer(task, conversations, codes):
        blanks, replies = tuple(task.model.visual_embedding._blanks), ask(task, conversations, codes)
        passes[blanks] = passes.get(blanks, 0) + sum(map(len, replies))
        right = blanks != ('pixel',)
        return [[replace(reply, reply=reply.truth if right else '') for reply in some] for some in replies]
    monkeypatch.setattr(blanked, 'ask', answer)
    found = measure(mllm_run, tmp_path / 'out.json')
    assert list(passes) == [(), ('pixel',), ('semantic',)]
    assert len(set(passes.values())) == 1 and passes[()] > 2
    scores = found['variants_talk']
    assert scores['answers@blanked'] == scores['without_semantic@blanked/answers'] == 1.0
    assert scores['without_pixel@blanked/answers'] == 0.0
    assert scores['caption_f1@blanked'] == 1.0 and scores['without_pixel@blanked/caption_f1'] == 0.0
    assert set(found['protocols']['blanked']) == {'hash', 'data', 'tokenizer', 'counts'}
    names = {info['name'] for info in found['infos']}
    assert {'answer/{question}', 'without_pixel/answer/{question}'} <= names


def test_the_model_is_as_before(mllm_run, tmp_path):
    """What the model says from all streams does not depend on what was blanked before: two measurements agree."""
    one, two = (measure(mllm_run, tmp_path / f'{i}.json') for i in range(2))
    assert one['all'] == two['all'] and one['all']


def test_means_by_hand(mllm):
    """The mean over all places of the images that are shown, of the training set's first epoch; drawn ones do not
    count."""
    task = SimpleNamespace(model=mllm.model, device=mllm.model.device)
    dataset = DATASETS.build(dict(type='Mixture', datasets=dict(
        draw=dict(type='TwemojiDraw', size=32, limit=2), talk=dict(type='TwemojiTalk', size=32, limit=2))))
    codes = CodeCache(task.model.tokenizer)
    means = compute_means(task, dataset, codes, 100)
    images = torch.stack([dataset[i]['conversation'].images[0] for i in (2, 3)])
    for name, part in task.model.visual_embedding.read(codes(images)).items():
        assert part.shape[:2] == (2, 16)
        assert torch.allclose(means[name], part.mean((0, 1)), atol=1e-6)


def test_what_cannot_be_blanked(tiny_run, tmp_path, mllm, capsys):
    """A tokenizer, and a model whose training set shows no image."""
    with pytest.raises(SystemExit):
        measure(tiny_run, tmp_path / 'out.json')
    assert 'is a tokenizer; expected a multimodal language model, which the protocol blanked' in capsys.readouterr().err
    task = SimpleNamespace(model=mllm.model, device=mllm.model.device)
    drawn = DATASETS.build(dict(type='TwemojiDraw', size=32, limit=2))
    with pytest.raises(InputError, match='none of the training samples that were read shows an image'):
        compute_means(task, drawn, CodeCache(task.model.tokenizer), 4)
    assert not (tmp_path / 'out.json').exists()
