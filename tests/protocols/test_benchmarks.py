"""Benchmarks of language models from the command line: asked, scored, written, and scored again without the model."""
import json

import pytest

from dtbox.errors import InputError
from dtbox.protocols import load_protocol
from dtbox.protocols.asking import Asking, ask_benchmark
from dtbox.protocols.find import find_protocol
from dtbox.testing.rank_group import SHARED
from dtbox.training.code_cache import CodeCache
from tests import mllm_kit as kit
from tests.benchmark_data import WRITERS, write_image, write_mmbench, write_pope
from tests.conversation_data import write_word_tokenizer
from tools.test import main

RUNS = dict(pope='POPEQuestions', vqav2='VQAv2Questions', gqa='GQAQuestions', mme='MMEQuestions',
            seed='SEEDQuestions', mmbench='VLMEvalKitTSV')
"""Protocol, and name of its data -> dataset."""


def score(tmp_path, protocol, root, *words, data=None, name='out.json', more=()):
    """Run the command line; returns the JSON."""
    out = tmp_path / name
    main([*map(str, words), '--protocol', protocol, '--data', f'configs/_base_/datasets/{data or protocol}.py', '--out',
          str(out), '--cfg-options', 'num_workers=0', *([f'data_root={root}'] if root else []), *more])
    return json.loads(out.read_text())


def plain(found, protocol):
    """Return name -> value of the column `all` of a protocol."""
    return {name.replace(f'@{protocol}', ''): value for name, value in found['all'].items()}


@pytest.fixture
def short(monkeypatch):
    """Prompts that the 96 places of the tiny model hold."""
    read = load_protocol
    lines = dict(text='{hint}{question} {options}', option='{letter} {text} ', hint='{text} ')

    def load(path, options=None):
        return read(path, {**(options or {}), 'protocol.prompt': lines, 'protocol.decoding.max_tokens': 4})
    monkeypatch.setattr('dtbox.protocols.find.load_protocol', load)


@pytest.mark.parametrize('name', RUNS)
def test_run_and_answer_file_give_the_same_scores(mllm_run, tmp_path, short, monkeypatch, name, capsys):
    """A benchmark is asked once; its answer file, scored without the model and without images, gives the same
    numbers."""
    root, asked = WRITERS[RUNS[name]](tmp_path / 'data'), []
    predict = Asking.predict
    monkeypatch.setattr(Asking, 'predict', lambda self, batch: asked.extend(batch.keys) or predict(self, batch))
    found = score(tmp_path, name, root, mllm_run)
    count = found['counts']['all']
    assert len(asked) == len(set(asked)) == count > 1
    assert set(found['protocols'][name]) == {'hash', 'data', 'counts'} and found['iteration'] == 2
    answers, = (tmp_path / 'out' / name).iterdir()
    assert answers.stem == 'answers' and f'answers written to {answers}' in capsys.readouterr().out
    for image in [*root.rglob('*.jpg'), *root.rglob('*.png')]:
        if name != 'mme':  # whose questions are found by the images
            image.unlink()
    again = score(tmp_path, name, root, '--answers', answers, name='again.json')
    assert plain(again, name) == pytest.approx(plain(found, name)) and len(plain(found, name)) > 2
    assert again['protocols'][name]['hash'] == found['protocols'][name]['hash']
    assert again['protocols'][name]['data'] != found['protocols'][name]['data']
    assert again['evaluation']['answers'] == str(answers)


def write_answers(path, texts):
    """Write answers of LLaVA's format."""
    path.write_text(''.join(json.dumps(dict(question_id=key, text=text)) + '\n' for key, text in texts.items()))
    return path


def test_pope_by_hand(tmp_path):
    """Right answers are yes, no in each category. Random: both right; popular: yes to both; adversarial: a long no, and
    a long yes, which lmms-eval counts as neither."""
    said = {'random/1': 'Yes', 'random/2': 'No', 'popular/1': 'yes', 'popular/2': 'yes',
            'adversarial/1': 'No, I see none.', 'adversarial/2': 'Yes, a dog.'}
    root = write_pope(tmp_path / 'data')
    found = plain(score(tmp_path, 'pope', root, '--answers', write_answers(tmp_path / 'a.jsonl', said)), 'pope')
    expected = {'llava/pope_accuracy': (1 + 0.5 + 0) / 3, 'llava/pope_accuracy/random': 1,
                'llava/pope_precision': (1 + 0.5 + 0) / 3, 'llava/pope_recall': (1 + 1 + 0) / 3,
                'llava/pope_f1': (1 + 2 / 3 + 0) / 3, 'llava/pope_yes_ratio': (0.5 + 1 + 0.5) / 3,
                'lmms_eval/pope_accuracy': 3 / 6, 'lmms_eval/pope_precision': 2 / 3, 'lmms_eval/pope_recall': 1,
                'lmms_eval/pope_f1': 0.8, 'lmms_eval/pope_yes_ratio': 0.5}
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_mmbench_by_hand(tmp_path):
    """The first orders are both right; of the three rotations of question 7 one is wrong."""
    root = write_mmbench(tmp_path / 'data')
    path = tmp_path / 'a.tsv'
    path.write_text('index\tprediction\n7\tA\n8\tmoon\n1000007\tC.\n2000007\tdog\n1000008\tA\n')
    found = plain(score(tmp_path, 'mmbench', root, '--answers', path), 'mmbench')
    assert found['choice_accuracy'] == 1 and found['letter_found'] == 1 and found['circular_accuracy'] == 0.5
    assert found['circular_accuracy/attribute_(a_b)'] == 0 and found['circular_accuracy/logic'] == 1


def test_vqav2_by_hand(tmp_path):
    """'two' is equal to none of the six '2' by the official rule, whose answers keep number words."""
    root = WRITERS['VQAv2Questions'](tmp_path / 'data')
    path = tmp_path / 'a.json'
    path.write_text(json.dumps([dict(question_id=1000, answer='two'), dict(question_id=1001, answer='Yes'),
                                dict(question_id=2000, answer='dark red')]))
    found = plain(score(tmp_path, 'vqav2', root, '--answers', path), 'vqav2')
    assert found['vqa_accuracy/number'] == found['always/vqa_accuracy/number'] == 1
    assert found['vqa_accuracy/other'] == pytest.approx(0.9) and found['vqa_accuracy/yes_no'] == 1


def test_mme_by_hand(tmp_path):
    """Yes to everything: accuracy 1/2, no image with two right answers: 50 of 200 in each of 10 and 4 categories."""
    root = WRITERS['MMEQuestions'](tmp_path / 'data')
    folder = tmp_path / 'answers'
    folder.mkdir()
    for category in root.iterdir():
        text, = category.rglob('0001.txt')
        lines = [line.split('\t') for line in text.read_text().splitlines()]
        (folder / f'{category.name}.txt').write_text(''.join(f'0001.png\t{q}\t{a}\tYes.\n' for q, a in lines))
    found = plain(score(tmp_path, 'mme', root, '--answers', folder), 'mme')
    assert found['mme_perception'] == 500 and found['mme_cognition'] == 200 and found['mme/OCR'] == 50
    assert found['mme_accuracy/count'] == 0.5 and found['mme_accuracy_plus/count'] == 0


def test_captions(mllm_run, tmp_path, short):
    """The ceilings do not depend on the model: names of fewer than four words score less than 1000 by themselves."""
    found = plain(score(tmp_path, 'captions_cider', '', mllm_run, data='asked_twemoji'), 'captions_cider')
    assert 0 <= found['cider_d'] <= found['cider_d_itself'] < 1000 and 'cider_d_leave_one_out' not in found


@pytest.mark.parametrize('name, data, kind, file', [
    ('mmvet', 'mmvet', 'MMVetQuestions', 'answers.json'),
    ('llava_questions', 'llava_questions', 'LLaVAQuestions', 'answers.jsonl')])
def test_judges_elsewhere_are_named_before(mllm_run, tmp_path, short, capsys, monkeypatch, name, data, kind, file):
    """Replies are written, nothing is scored, and that is said before the model is asked."""
    said = []
    predict = Asking.predict
    monkeypatch.setattr(Asking, 'predict', lambda self, batch: said.append(capsys.readouterr().out) or predict(self,
                                                                                                              batch))
    root = WRITERS[kind](tmp_path / 'data')
    found = score(tmp_path, name, root, mllm_run, data=data)
    assert 'gives no score' in said[0] and found['all'] == {} and found['counts']['all'] == 2
    path = tmp_path / 'out' / name / file
    assert path.exists()
    with pytest.raises(SystemExit):
        score(tmp_path, name, root, '--answers', path, data=data)
    assert f'the protocol {name} scores nothing: ' in capsys.readouterr().err


def test_other_judges_are_refused_before(tmp_path):
    with pytest.raises(InputError, match="the judge 'chatgpt-0125' is a model behind a network"):
        load_protocol('configs/protocols/mmbench.py', {'protocol.metrics.letters.judge': 'chatgpt-0125'}).evaluator()


def test_prompt_and_decoding_count_in_the_hash():
    """The stamps of MME's two prompts differ, and so do those of other decodings and rules; the format of the answer
    file does not count."""
    names = ('configs/protocols/mme.py', 'configs/protocols/mme_official.py', 'configs/protocols/pope.py')
    hashes = [load_protocol(name).hash for name in names]
    for key, value in {'prompt': '{question} Yes or no?', 'decoding.max_tokens': 5, 'decoding.temperature': 0.5,
                       'metrics.llava.rule': 'lmms_eval'}.items():
        hashes.append(load_protocol(names[2], {f'protocol.{key}': value}).hash)
    assert len(set(hashes)) == len(hashes)
    assert load_protocol(names[2], {'protocol.answers': 'mmvet'}).hash == hashes[2]  # how answers are written


@pytest.mark.parametrize('key, value, says', [
    ('decoding', dict(_delete_=True, max_tokens=4), 'expected a dict of max_tokens and temperature'),
    ('decoding.max_tokens', 0, 'max_tokens'), ('decoding.temperature', -1, 'temperature'),
    ('answers', 'xlsx', "no format of answers 'xlsx'"), ('prompt', '', 'expected a text with {hint}'),
    ('metrics', dict(_delete_=True), 'the protocol has no metrics')])
def test_settings_that_are_wrong(key, value, says):
    with pytest.raises(InputError, match=says):
        load_protocol('configs/protocols/pope.py', {f'protocol.{key}': value})


def test_protocols_of_other_models(mllm_run, tiny_run, tmp_path, capsys):
    """One sentence for a tokenizer that is asked, and one for a language model whose codes are measured."""
    lm = 'a multimodal language model'
    for run, name, says in ((tiny_run, 'pope', f'is a tokenizer; expected {lm}, which the protocol pope measures'),
                            (mllm_run, 'codes', f'is {lm}; expected a tokenizer, which the protocol codes measures')):
        with pytest.raises(SystemExit):
            main([str(run), '--protocol', name, '--out', str(tmp_path / 'o.json')])
        assert says in capsys.readouterr().err


def test_what_cannot_be_asked(mllm_run, tmp_path, capsys):
    """The run's own data has no benchmark; a prompt is too long for the language model."""
    root = write_pope(tmp_path / 'data')
    for words, says in (([], 'asks the questions of a benchmark, and `Mixture` has none'),
                        (['--data', 'pope', '--cfg-options', f'data_root={root}', 'num_workers=0',
                          f'protocol.prompt="{{question}}{" very" * 99}"'], 'the language model reads 96')):
        with pytest.raises(SystemExit):
            main([str(mllm_run), '--protocol', 'pope', '--out', str(tmp_path / 'o.json'), *words])
        assert says in capsys.readouterr().err


WORDS = ('Is', 'there', 'a', 'random', 'popular', 'adversarial', 'dog', 'in', 'the', 'image?', 'yes', 'no', 'not')


def ask_on_ranks(rank, world, words, root, folder):
    """Ask POPE's first five questions; returns the results as JSON holds them."""
    task = kit.make_task(kit.make_tokenizer(), words).eval()
    options = {'protocol.prompt': '{question}', 'protocol.decoding.max_tokens': 5}
    protocol = load_protocol(find_protocol('pope'), options)
    steps = [dict(type='ResizeCrop', size=32, mode='squash'), dict(type='PackImage')]
    loader = dict(dataset=dict(type='POPEQuestions', data_root=root, limit=5, pipeline=steps), batch_size=2,
                  num_workers=0)
    results = ask_benchmark(task, protocol, loader, CodeCache(task.tokenizer), folder, str)
    return results.to_dict()


def test_two_ranks_ask_what_one_does(tmp_path):
    """Three questions and two: the scores and the answer file of one rank."""
    root = str(write_pope(tmp_path / 'data'))
    words = write_word_tokenizer(tmp_path / 'words.json', WORDS)
    alone = ask_on_ranks(0, 1, words, root, str(tmp_path / 'one'))
    ranks = SHARED.run(ask_on_ranks, words, root, str(tmp_path / 'two'))
    assert ranks[0] == ranks[1] == alone and alone['counts']['all'] == 5
    lines = (tmp_path / 'one' / 'answers.jsonl').read_text().splitlines()
    texts = [json.loads(line)['text'] for line in lines]
    assert len(texts) == 5 and any(texts)
    assert [json.loads(line)['text'] for line in open(tmp_path / 'two' / 'answers.jsonl')] == texts


def test_broken_images_make_an_incomplete_result(mllm_run, tmp_path, short, capsys):
    """With broken='skip' a missing image and one that cannot be read are named; the others are asked."""
    root = write_pope(tmp_path / 'data')
    write_image(root / 'val2014' / 'third.jpg', 3)
    with open(root / 'coco_pope_random.json', 'a') as f:
        f.write(json.dumps(dict(question_id=3, image='third.jpg', text='Is it?', label='no')) + '\n')
    (root / 'val2014' / 'COCO_val2014_000000000001.jpg').unlink()
    (root / 'val2014' / 'COCO_val2014_000000000002.jpg').write_text('no image')
    found = score(tmp_path, 'pope', root, mllm_run, more=['broken=skip'])
    assert found['counts']['all'] == 1 and len(found['missing']) == 6
    assert 'random/1: its image' in ' '.join(found['missing']) and 'INCOMPLETE' in capsys.readouterr().out


@pytest.mark.parametrize('words, says', [
    ([], 'there is nothing to measure'), (['run', '--answers', 'a'], 'got the run run and --answers'),
    (['--answers', 'a'], '--answers goes with --protocol'),
    (['--answers', 'a', '--protocol', 'pope'], 'Give its data, such as --data pope'),
    (['--answers', 'a', '--protocol', 'codes', '--data', 'pope'], 'the protocol codes does not score replies')])
def test_arguments_that_do_not_fit(words, says, capsys, tmp_path):
    with pytest.raises(SystemExit):
        main([*words, '--out', str(tmp_path / 'o.json')])
    assert says in capsys.readouterr().err
