"""Benchmarks read from files in their official formats, and what is said of files that are something else."""
import json

import numpy as np
import pytest

from dtbox.datasets.benchmarks.choices import rotate
from dtbox.errors import InputError
from dtbox.questions import Question
from dtbox.registry import DATASETS
from tests.benchmark_data import (
    NAMES,
    TABLE,
    WRITERS,
    encode,
    make_image,
    write_image,
    write_json,
    write_lines,
    write_mmbench,
    write_mme,
    write_pope,
    write_table,
    write_vqav2,
)

PACK = [dict(type='ResizeCrop', size=8, mode='squash'), dict(type='PackImage')]


def read(kind, root, **more):
    """Return a dataset of a folder that its writer has filled."""
    return DATASETS.build(dict(type=kind, data_root=str(root), pipeline=PACK, **more))


def ask(data, index=0):
    """Return (what is asked, the image) of a sample."""
    talk = data.sample(index, np.random.default_rng(0))['conversation']
    return talk.turns[-1].text, talk.images[0]


def test_pope(tmp_path):
    data = read('POPEQuestions', write_pope(tmp_path), prompt='{question}\nYes or no?')
    assert data.keys == [f'{c}/{i}' for c in ('random', 'popular', 'adversarial') for i in (1, 2)]
    asked = data.questions[3]
    assert (asked.text, asked.answers, asked.category) == ('Is there a popular dog in the image?', ('no',), 'popular')
    text, image = ask(data, 3)
    assert text == 'Is there a popular dog in the image?\nYes or no?' and image.tobytes() == make_image(1).tobytes()
    batch = data.collate([data[i] for i in range(6)])
    assert batch.images.shape == (6, 3, 8, 8) and batch.sets == ['pope'] * 6
    assert all(conversation.turns[-1].role == 'user' for conversation in batch.conversations)
    assert read('POPEQuestions', tmp_path, categories=['random']).keys == ['random/1', 'random/2']


def test_vqav2(tmp_path):
    data = read('VQAv2Questions', write_vqav2(tmp_path))
    assert [q.id for q in data.questions] == [1000, 1001, 2000] and len(data.questions[0].answers) == 10
    assert data.questions[2].category == 'other' and data.questions[2].image == 'COCO_val2014_000000000002.jpg'
    test = read('VQAv2Questions', write_vqav2(tmp_path / 'test', 'test-dev2015', False), split='test-dev2015')
    assert test.questions[0].answers == () and test.questions[0].image == 'COCO_test2015_000000000001.jpg'


def test_gqa(tmp_path):
    data = read('GQAQuestions', WRITERS['GQAQuestions'](tmp_path))
    assert data.keys == ['201307251', '201640614'] and [q.category for q in data.questions] == ['verify', 'query']
    assert data.questions[1].answers == ('woman',) and ask(data, 1)[0] == 'Who is wearing the dress?'


def test_mme(tmp_path):
    """Both layouts; the last words of a question are the prompt's affair, and the answer file has them again."""
    data = read('MMEQuestions', write_mme(tmp_path), prompt='{question} Please answer yes or no.')
    assert len(data) == 28 and len({q.group for q in data.questions}) == 14
    first = next(q for q in data.questions if q.category == 'existence')
    assert first.text == 'Is it existence?' and first.answers == ('yes',)
    assert first.row == dict(image='0001.png', question='Is it existence? Please answer yes or no.', answer='Yes')
    apart = next(q for q in data.questions if q.category == 'count')
    assert apart.image == 'count/images/0001.png' and apart.group == 'count/0001.png'
    assert 'Is it existence? Please answer yes or no.' in data.texts
    assert len(read('MMEQuestions', tmp_path, limit=3)) == 6  # images, with both questions


def test_seed(tmp_path):
    data = read('SEEDQuestions', WRITERS['SEEDQuestions'](tmp_path), prompt='{question}\n{options}Which?')
    assert data.keys == ['101', '102'] and data.questions[1].answers == ('D',)
    assert data.questions[0].category == 'Scene Understanding'
    assert ask(data)[0] == 'How many?\nA. One\nB. 2\nC. Three\nD. Four\nWhich?'
    assert '1 question is left out' in data.notes[0] and 'about videos' in data.notes[0]


PROMPT = dict(text='{hint}Q: {question}\n{options}Choose.', hint='Hint: {text}\n')


def test_table_of_vlmevalkit(tmp_path):
    data = read('VLMEvalKitTSV', write_mmbench(tmp_path), prompt=PROMPT)
    assert [q.id for q in data.questions] == [7, 8, 1000007, 2000007, 1000008]
    assert ask(data)[0] == 'Q: Which "pet"?\nA. cat\nB. dog\nC. cow\nChoose.'
    assert ask(data, 4)[0] == 'Hint: Look\nup.\nQ: Which one\tis it?\nA. moon\nB. sun\nChoose.'
    assert [ask(data, i)[1].tobytes() for i in range(5)] == [make_image(i).tobytes() for i in (7, 8, 7, 7, 8)]
    assert [q.group for q in data.questions] == ['7', '8', '7', '7', '8']
    assert len(read('VLMEvalKitTSV', tmp_path, limit=1, prompt=PROMPT)) == 3


def test_rotations_are_made(tmp_path):
    """A table without rotations gets those of MMBench's tables, and their answers."""
    made = read('VLMEvalKitTSV', write_mmbench(tmp_path / 'a', rotations=False), rotations='make', prompt=PROMPT)
    given = read('VLMEvalKitTSV', write_mmbench(tmp_path / 'b'), prompt=PROMPT)
    rows = {q.id: (dict(q.options), q.answers, q.group) for q in given.questions}
    assert {q.id: (dict(q.options), q.answers, q.group) for q in made.questions} == rows
    assert all(q.options[q.answers[0]] in ('cat', 'moon') for q in made.questions)
    assert rotate(Question('1', 1, '?', (), options=dict(A='x', B='y')))[1].answers == ()


def test_table_with_paths(tmp_path):
    write_image(tmp_path / 'pics' / 'a.png', 4)
    write_table(tmp_path / 'own.tsv', [(3, 'Who?', 'x', 'y', 'pics/a.png')],
                ('index', 'question', 'A', 'B', 'image_path'))
    data = read('VLMEvalKitTSV', tmp_path, file='own.tsv', prompt=PROMPT)
    assert data.questions[0].answers == () and ask(data)[1].tobytes() == make_image(4).tobytes()


def test_questions_of_llava_and_mmvet(tmp_path):
    data = read('LLaVAQuestions', WRITERS['LLaVAQuestions'](tmp_path))
    assert [q.id for q in data.questions] == [3, 5] and ask(data)[0] == 'What is "3"?\nAnswer shortly.'
    vet = read('MMVetQuestions', WRITERS['MMVetQuestions'](tmp_path / 'vet'))
    assert vet.keys == ['v1_0', 'v1_1'] and ask(vet, 1)[0] == 'What is x1?'


def test_captions_are_asked(tmp_path):
    place = [dict(type='EmojiPlace', size=8), dict(type='PackImage')]
    data = DATASETS.build(dict(type='AskedCaptions', data=dict(type='Twemoji', split='variants', limit=4),
                               prompt='what is it?', pipeline=place, limit=3))
    assert len(data) == 3 and ask(data)[0] == 'what is it?' and len(data.questions[0].answers) == 1
    assert data.collate([data[i] for i in range(3)]).images.shape == (3, 3, 8, 8)
    with pytest.raises(InputError, match='`TwemojiTalk` does not list captions'):
        DATASETS.build(dict(type='AskedCaptions', data=dict(type='TwemojiTalk', split='variants', limit=4)))


@pytest.mark.parametrize('kind', WRITERS)
def test_prompt_is_not_part_of_the_data(kind, tmp_path):
    """The prompt counts in the hash of the protocol; another question or image name is another data set."""
    WRITERS[kind](tmp_path)
    shown = '{hint}{question} {options}'
    prints = [read(kind, tmp_path, prompt=prompt).fingerprint() for prompt in (shown, f'{shown}!')]
    assert prints[0] == prints[1] != read(kind, tmp_path, prompt=shown, limit=1).fingerprint()


@pytest.mark.parametrize('kind, name, keys', [
    ('POPEQuestions', 'coco_pope_popular.json', 'question_id, image, text, label'),
    ('LLaVAQuestions', 'questions.jsonl', 'question_id, image, text')])
def test_another_version_of_lines(kind, name, keys, tmp_path):
    """The keys that came and those expected are named."""
    WRITERS[kind](tmp_path)
    write_lines(tmp_path / name, [dict(id=1, img='a.jpg', question='Is it?')])
    with pytest.raises(InputError, match=f'{name}, row 1, has the keys id, img, question; expected {keys}. It is '
                                         'another version'):
        read(kind, tmp_path)


@pytest.mark.parametrize('kind, name, value, says', [
    ('VQAv2Questions', 'v2_OpenEnded_mscoco_val2014_questions.json', dict(data=[]), 'has the keys data; expected '
                                                                                    'questions'),
    ('VQAv2Questions', 'v2_OpenEnded_mscoco_val2014_questions.json',
     dict(questions=[dict(question_id='1', image_id=1, question='?')]), "entry 1 of `questions`, has `question_id` '1'"
                                                                        '; expected int'),
    ('VQAv2Questions', 'v2_mscoco_val2014_annotations.json', dict(annotations=[]), '3 questions of .* have no '
                                                                                   'annotation'),
    ('GQAQuestions', 'testdev_balanced_questions.json', [1], 'holds a list; expected an object id -> question'),
    ('GQAQuestions', 'testdev_balanced_questions.json', {'1': dict(image='a', question='?')},
     'has the keys image, question; expected imageId, question'),
    ('SEEDQuestions', 'SEED-Bench.json', dict(questions=[dict(question_id=1)], question_type={}),
     'question 1, has the keys question_id; expected question_id, data_id, question, answer, choice_a'),
    ('MMVetQuestions', 'mm-vet.json', {'v1_0': dict(image='a')}, 'has the keys image; expected imagename, question')])
def test_another_version_of_json(kind, name, value, says, tmp_path):
    WRITERS[kind](tmp_path)
    write_json(tmp_path / name, value)
    with pytest.raises(InputError, match=says):
        read(kind, tmp_path)


def test_files_of_two_splits(tmp_path):
    write_vqav2(tmp_path)
    path = tmp_path / 'v2_mscoco_val2014_annotations.json'
    data = json.loads(path.read_text())
    write_json(path, dict(data, annotations=data['annotations'][:1]))
    with pytest.raises(InputError, match='2 questions of .* have no annotation, such as 1001. The two files are not'):
        read('VQAv2Questions', tmp_path)
    write_json(path, dict(data, annotations=data['annotations'] + data['annotations'][:1]))
    with pytest.raises(InputError, match='two annotations of the question 1000'):
        read('VQAv2Questions', tmp_path)


@pytest.mark.parametrize('rows, names, says', [
    ([(1, '?', 'x')], ('index', 'question', 'A'), 'has the columns index, question, A; expected index, question, A, B'),
    ([('a', '?', None, 'x', 'y', None, None, 'A', 'c', 'f' * 99)], TABLE, "row 2, has the index 'a'"),
    ([(1, '?', None, 'x', 'y', None, None, 'C', 'c', 'f' * 99)], TABLE, "the answer 'C'; expected one of its options: "
                                                                        'A, B'),
    ([(1, '?', None, 'x', 'y', None, None, 'A', 'c', None)], TABLE, 'neither `image` nor `image_path`'),
    ([(1, '?', None, 'x', 'y', None, None, 'A', 'c', '9')], TABLE, 'takes the image of the row 9, which there is not'),
    ([(1, '?', None, 'x', 'y', None, None, 'A', 'c', encode(1))] * 2, TABLE, 'two questions with the id 1')])
def test_tables_that_are_something_else(rows, names, says, tmp_path):
    write_table(tmp_path / 'own.tsv', rows, names)
    with pytest.raises(InputError, match=says):
        read('VLMEvalKitTSV', tmp_path, file='own.tsv', prompt=PROMPT)


def test_images_that_are_not_base64(tmp_path):
    write_table(tmp_path / 'own.tsv', [(1, '?', None, 'x', 'y', None, None, 'A', 'c', '?' * 99)])
    data = read('VLMEvalKitTSV', tmp_path, file='own.tsv', prompt=PROMPT)
    with pytest.raises(InputError, match='the image of the row 1 is not base64'):
        data[0]


def test_missing_images(tmp_path):
    """They stop the run, or their questions are left out, named and counted."""
    write_pope(tmp_path)
    (tmp_path / 'val2014' / 'COCO_val2014_000000000002.jpg').unlink()
    with pytest.raises(InputError, match='1 image is missing in .*val2014: COCO_val2014_000000000002.jpg'):
        read('POPEQuestions', tmp_path)
    data = read('POPEQuestions', tmp_path, broken='skip')
    assert len(data) == 3 and len(data.flaws) == 3 and '3 questions are left out' in data.notes[0]
    assert len(read('POPEQuestions', tmp_path, check_images=False)) == 6


@pytest.mark.parametrize('text, says', [
    ('Is it?\tYes\n', 'has 1 question; MME asks two'), ('Is it?\tYes\nIs it?\n', "line 2, is 'Is it\\?'"),
    ('Is it?\tYes\nIs it?\tmaybe\n', 'expected a question, a tab, and Yes or No')])
def test_odd_questions_of_mme(text, says, tmp_path):
    write_mme(tmp_path, ['count'])
    (tmp_path / 'count' / '0001.txt').write_text(text)
    with pytest.raises(InputError, match=says):
        read('MMEQuestions', tmp_path)


def test_mme_image_without_questions(tmp_path):
    write_mme(tmp_path, ['count'])
    write_image(tmp_path / 'count' / '0002.png')
    with pytest.raises(InputError, match='0002 has no questions'):
        read('MMEQuestions', tmp_path)


@pytest.mark.parametrize('kind', WRITERS)
def test_duplicate_and_missing_files(kind, tmp_path):
    with pytest.raises(InputError, match='data_root .* does not exist'):
        read(kind, tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='cannot be read|holds no questions'):
        read(kind, tmp_path / 'empty')


def test_duplicate_ids(tmp_path):
    write_pope(tmp_path)
    path = tmp_path / 'coco_pope_random.json'
    path.write_text(path.read_text() * 2)
    with pytest.raises(InputError, match='two questions with the id random/1. Ids must be unique'):
        read('POPEQuestions', tmp_path)


def test_prompts_that_do_not_fit(tmp_path):
    """Options that would not be shown, words that would come twice: said when the data is read."""
    with pytest.raises(InputError, match='does not show the options of 7'):
        read('VLMEvalKitTSV', write_mmbench(tmp_path))
    with pytest.raises(InputError, match="already ends with 'Answer shortly.', which the prompt adds"):
        read('LLaVAQuestions', WRITERS['LLaVAQuestions'](tmp_path), prompt='{question}\nAnswer shortly.')


def test_arguments_are_told():
    with pytest.raises(InputError, match='POPEQuestions takes no argument `imges`. Did you mean `images`.* It takes: '
                                         'data_root, categories, images'):
        DATASETS.build(dict(type='POPEQuestions', imges='x'))


def test_ids_of_llava(tmp_path):
    """LLaVA's question file counts through all categories, in an order of its own; labels come from POPE's files."""
    write_pope(tmp_path)
    rows = [dict(question_id=10 * n + i, image=name, category=part, text='Is there?\nAnswer the question using a '
                                                                         'single word or phrase.')
            for n, part in enumerate(('adversarial', 'popular', 'random')) for i, name in enumerate(NAMES)]
    write_lines(tmp_path / 'llava_pope_test.jsonl', rows)
    data = read('POPEQuestions', tmp_path, ids='llava_pope_test.jsonl')
    assert {q.id: (q.category, q.answers[0]) for q in data.questions} == {
        20: ('random', 'yes'), 21: ('random', 'no'), 10: ('popular', 'yes'), 11: ('popular', 'no'),
        0: ('adversarial', 'yes'), 1: ('adversarial', 'no')}
    assert data.questions[0].text == 'Is there a random dog in the image?'
    write_lines(tmp_path / 'llava_pope_test.jsonl', rows[:-1])
    with pytest.raises(InputError, match='has 1 question of the category random, and the labels are of 2'):
        read('POPEQuestions', tmp_path, ids='llava_pope_test.jsonl')
    write_lines(tmp_path / 'llava_pope_test.jsonl', rows[:-2] + rows[:-3:-1])
    with pytest.raises(InputError, match='21 is about another image'):
        read('POPEQuestions', tmp_path, ids='llava_pope_test.jsonl')
