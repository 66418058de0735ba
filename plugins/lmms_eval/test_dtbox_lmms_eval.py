"""The adapter of lmms-eval against a stub of its base class: the package is not installed here."""
import abc
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dtbox
from dtbox.errors import InputError

HERE = Path(__file__).parent
RUN = 'dtbox://mllm-twemoji'


class Base(abc.ABC):
    """`lmms_eval.api.model.lmms`: what the adapter inherits and has to write."""

    def __init__(self):
        self.task_dict, self.cached = {}, []
        self.cache_hook = types.SimpleNamespace(add_partial=lambda *args: self.cached.append(args))

    @abc.abstractmethod
    def loglikelihood(self, requests):
        """Abstract."""

    @abc.abstractmethod
    def generate_until(self, requests):
        """Abstract."""

    @abc.abstractmethod
    def generate_until_multi_round(self, requests):
        """Abstract."""


def stub(models):
    """Modules of lmms-eval that register into `models`."""
    def module(name, **values):
        made = types.ModuleType(name)
        made.__dict__.update(values)
        return made

    def register_model(*names):
        return lambda kind: models.update(dict.fromkeys(names, kind)) or kind
    return {made.__name__: made for made in (
        module('lmms_eval'), module('lmms_eval.api'), module('lmms_eval.api.model', lmms=Base),
        module('lmms_eval.api.registry', register_model=register_model),
        module('lmms_eval.models', AVAILABLE_MODELS={}),
        module('lmms_eval.__main__', cli_evaluate=lambda: models.update(started=True)))}


def load():
    spec = importlib.util.spec_from_file_location('dtbox_lmms_eval', HERE / 'dtbox_lmms_eval.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def adapter():
    models = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, module in stub(models).items():
            patch.setitem(sys.modules, name, module)
        loaded = load()
        loaded.models = models
        yield loaded


@pytest.fixture(scope='module')
def docs(adapter):
    """Twelve images with a question each: some of a word, some of many."""
    drawn = dtbox.load(RUN).tokenizer
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (3, 3, 3), dtype=np.uint8)).resize(drawn.image_size)
              for _ in range(12)]
    words = ['what is it?', 'is it a flag?', 'which skin tone?', 'what background and which size and what place is it?']
    return [dict(image=image, question=words[i * 7 % 4], i=i) for i, image in enumerate(images)]


@pytest.fixture(scope='module')
def lmm(adapter, docs):
    def make(size):
        made = adapter.models['dtbox'](RUN, device='cpu', batch_size=size)
        made.task_dict = dict(task=dict(test=docs))
        return made
    return {size: make(size) for size in (1, 8)}


def ask(docs, order, **settings):
    return [types.SimpleNamespace(args=(docs[i]['question'], dict(max_new_tokens=8, **settings),
                                        lambda doc: [doc['image']], i, 'task', 'test')) for i in order]


def test_replies_come_in_order_of_requests(lmm, docs):
    """Shuffled requests of several lengths: each gets the reply that it gets alone; batch 1 equals batch 8."""
    model = lmm[1].model
    alone = [model.ask(doc['image'], doc['question'], max_tokens=8)[0] for doc in docs]
    assert len(set(alone)) > 3
    order = np.random.default_rng(1).permutation(len(docs)).tolist()
    for size in (1, 8):
        assert lmm[size].generate_until(ask(docs, order)) == [alone[i] for i in order]
        assert [args[2] for args in lmm[size].cached] == [alone[i] for i in order]


def test_settings_of_a_task(lmm, docs):
    """Lengths differ within one call; a reply ends before the first of `until`; sampling needs a temperature."""
    whole, = lmm[8].generate_until(ask(docs, [0]))
    short = ask(docs, [0])[0]
    short.args[1]['max_new_tokens'] = 1
    first, again = lmm[8].generate_until([short, ask(docs, [0])[0]])
    assert again == whole and whole.startswith(first) and len(first) < len(whole)
    assert lmm[8].generate_until(ask(docs, [0], until=whole[3])) == [whole[:3].strip()]
    assert lmm[8].generate_until(ask(docs, [0], do_sample=False, temperature=5.0)) == [whole]
    drawn = lmm[8].generate_until(ask(docs, [0], do_sample=True, temperature=5.0))
    assert drawn != [whole] and drawn == lmm[1].generate_until(ask(docs, [0], temperature=5.0))
    with pytest.raises(InputError, match='num_beams=4; there is no beam search'):
        lmm[8].generate_until(ask(docs, [0], num_beams=4))


def test_loglikelihood(lmm, docs):
    """That of `MultimodalModel.loglikelihood`; greedy is what `generate_until` says."""
    said = lmm[8].generate_until(ask(docs, [0]))[0]
    answers = [said, 'sun', 'man student dark skin tone']
    requests = [types.SimpleNamespace(args=(docs[0]['question'], answer if i else lambda doc: said,
                                            lambda doc: [doc['image']], 0, 'task', 'test'))
                for i, answer in enumerate(answers)]
    found = lmm[8].loglikelihood(requests)
    wanted = lmm[8].model.loglikelihood(docs[0]['image'], docs[0]['question'], answers)[0].tolist()
    assert [score for score, _ in found] == pytest.approx(wanted, abs=1e-4)
    assert [greedy for _, greedy in found] == [True, False, False]
    again = lmm[1].loglikelihood(requests[::-1])[::-1]
    assert [score for score, _ in again] == pytest.approx(wanted, abs=1e-4)
    assert [greedy for _, greedy in again] == [True, False, False]


def test_rounds(lmm, docs):
    """Documents of one to three rounds; the second asks about another image, and notes travel along."""
    def to_text(doc, previous_output, round_idx, previous_round_info):
        assert previous_round_info == (None if round_idx == 1 else round_idx - 1)
        ended = round_idx > doc['i'] % 3
        return [docs[(doc['i'] + 1) % 12]['image']], 'what is it?', ended, [*previous_output], round_idx
    order = [5, 0, 7, 1]
    requests = [types.SimpleNamespace(args=(docs[i]['question'], dict(max_new_tokens=8), lambda doc: [doc['image']],
                                            to_text, i, 'task', 'test')) for i in order]
    found = lmm[8].generate_until_multi_round(requests)
    model = lmm[1].model
    assert [len(said) for said in found] == [3, 1, 2, 2]
    assert found == lmm[1].generate_until_multi_round(requests)
    assert found[2] == (model.ask(docs[7]['image'], docs[7]['question'], max_tokens=8)[0],
                        model.ask(docs[8]['image'], 'what is it?', max_tokens=8)[0])


def test_images_stand_where_the_text_marks_them(adapter):
    one, two = Image.new('RGB', (4, 4)), Image.new('RGB', (5, 5))

    def content(text, *visuals):
        message, = adapter.make_messages(text, visuals)
        return [part if isinstance(part, str) else part['image'] for part in message['content']]
    assert content('what is it?', one) == [one, 'what is it?']
    assert content('<image>\nwhat is it?', one) == [one, '\nwhat is it?']
    assert content('is <image 2> like <image 1>?', one, two) == ['is ', two, ' like ', one, '?']
    assert content('<image> what?', one, two) == [one, two, 'what?']
    assert content('what?') == ['what?']
    with pytest.raises(InputError, match='marks the images <image 1>, <image 1> and has 2'):
        content('<image 1> <image 1>', one, two)
    assert adapter.list_visuals([[one], two]) == [one, two] and adapter.list_visuals(None) == []
    for visual in ('clip.mp4', dict(array=[], sampling_rate=1)):
        with pytest.raises(InputError, match='reads neither videos nor sounds'):
            adapter.list_visuals([visual])


def test_what_is_refused(adapter, tmp_path, monkeypatch):
    with pytest.raises(InputError, match='a tokenizer; expected a multimodal language model'):
        adapter.DtboxLMM('dtbox://dualtoken-twemoji')
    with pytest.raises(InputError, match='does not exist'):
        adapter.DtboxLMM(str(tmp_path / 'none'))
    for size in ('auto', 0, '2.5'):
        with pytest.raises(InputError, match='expected a whole number from 1'):
            adapter.DtboxLMM(RUN, batch_size=size)
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(InputError, match='runs in one process'):
        adapter.DtboxLMM(RUN)


def test_launcher(adapter):
    adapter.main()
    assert adapter.models['started']
    assert sys.modules['lmms_eval.models'].AVAILABLE_MODELS == dict(dtbox='dtbox_lmms_eval.DtboxLMM')


def test_without_the_package(monkeypatch):
    for name in ('lmms_eval', 'lmms_eval.api', 'lmms_eval.api.registry'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match='pip install lmms-eval'):
        load()
