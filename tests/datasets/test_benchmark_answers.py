"""Answer files: what is written is the official format, and what is read again is what was written."""
import json

import pytest

from dtbox.datasets.benchmarks.answers import FORMATS, read_answers, write_answers
from dtbox.errors import InputError
from tests.benchmark_data import WRITERS
from tests.datasets.test_benchmarks import PROMPT, read

DATA = dict(llava='LLaVAQuestions', vqa='VQAv2Questions', gqa='GQAQuestions', mme='MMEQuestions',
            vlmevalkit='VLMEvalKitTSV', mmvet='MMVetQuestions')
"""Format -> dataset that is answered in it."""
ODD = 'No, "it" is\tnot\n{x}. '
"""A reply with everything that a file may stumble over."""


def answered(form, folder):
    """Return (dataset, replies of odd texts)."""
    data = read(DATA[form], WRITERS[DATA[form]](folder), prompt=PROMPT)
    return data, {key: f'{ODD}{i}' for i, key in enumerate(data.keys)}


@pytest.mark.parametrize('form', FORMATS)
def test_round_trip(form, tmp_path):
    """The tables of VLMEvalKit and the lines of LLaVA give back each character; MME's lines hold no tabs and line
    breaks, and GQA's predictions are tidied as LLaVA does."""
    data, replies = answered(form, tmp_path)
    path = write_answers(form, tmp_path / 'out' / 'answers', data, replies)
    tidy = {'mme': lambda text: ' '.join(text.split()), 'gqa': str.lower}.get(form, str)
    assert read_answers(form, path, data) == {key: tidy(text) for key, text in replies.items()}
    again = write_answers(form, tmp_path / 'again' / 'answers', data, read_answers(form, path, data))
    for one in sorted((tmp_path / 'out').rglob('*.*')):
        assert one.read_bytes() == (tmp_path / 'again' / one.relative_to(tmp_path / 'out')).read_bytes(), again


def test_lines_of_llava(tmp_path):
    data, replies = answered('llava', tmp_path)
    path = write_answers('llava', tmp_path / 'a', data, replies, 'my-run')
    rows = [json.loads(line) for line in open(path)]
    assert path.endswith('a.jsonl')
    assert list(rows[0]) == ['question_id', 'prompt', 'text', 'answer_id', 'model_id', 'metadata']
    assert (rows[1]['question_id'], rows[1]['text'], rows[1]['model_id']) == (5, f'{ODD}1', 'my-run')
    assert rows[0]['prompt'] == 'Q: What is "3"?\nAnswer shortly.\nChoose.'
    assert rows[0]['answer_id'] != rows[1]['answer_id']


def test_lists_of_vqa_and_gqa(tmp_path):
    data, _ = answered('vqa', tmp_path / 'v')
    path = write_answers('vqa', tmp_path / 'vqa', data, dict.fromkeys(data.keys, 'Red.'))
    assert json.load(open(path))[0] == dict(question_id=1000, answer='Red.')
    data, _ = answered('gqa', tmp_path / 'g')
    path = write_answers('gqa', tmp_path / 'gqa', data, dict.fromkeys(data.keys, 'Red.'))
    assert json.load(open(path))[0] == dict(questionId='201307251', prediction='red')


def test_table_of_vlmevalkit_as_pandas_reads_it(tmp_path):
    pandas = pytest.importorskip('pandas')
    data, replies = answered('vlmevalkit', tmp_path)
    table = pandas.read_csv(write_answers('vlmevalkit', tmp_path / 'a', data, replies), sep='\t')
    assert list(table['index']) == [7, 8, 1000007, 2000007, 1000008]
    assert list(table['prediction']) == [*replies.values()]
    assert table['question'][0] == 'Which "pet"?' and table['hint'][1] == 'Look\nup.' and 'image' not in table
    assert pandas.isna(table['C'][1]) and list(table['answer']) == ['A', 'B', 'C', 'B', 'A']


def test_folder_of_mme(tmp_path):
    data, _ = answered('mme', tmp_path)
    path = write_answers('mme', tmp_path / 'answers', data, dict.fromkeys(data.keys, 'Yes'))
    lines = (tmp_path / 'answers' / 'count.txt').read_text().split('\n')
    assert path == str(tmp_path / 'answers') and lines[0] == '0001.png\tIs it count? Please answer yes or no.\tYes\tYes'
    assert lines[1].split('\t')[2] == 'No' and len(lines) == 3


@pytest.mark.parametrize('form, content, says', [
    ('llava', '{"text": "yes"}\n', 'has the keys text; expected question_id, text'),
    ('llava', '{"question_id": 3, "text": "a"}\n' * 2, 'two answers to the question 3'),
    ('llava', '{"question_id": 3, "text": "a"}\n', 'no answer to 1 of 2 questions, such as 5'),
    ('llava', '{"question_id": 4, "text": "a"}\n', '1 answers of .* are to questions that the data does not have, such '
                                                   'as 4'),
    ('vqa', '[{"answer": "yes"}]', 'answer 1, has the keys answer; expected question_id, answer'),
    ('vqa', '{"1000": "yes"}', 'expected a list of answers'),
    ('gqa', '[{"questionId": "201307251", "answer": "no"}]', 'expected questionId, prediction'),
    ('vlmevalkit', 'question\tprediction\nwho\tA\n', 'the columns question, prediction; expected index, prediction'),
    ('vlmevalkit', 'index\tprediction\n\tA\n', 'row 2, has no index'),
    ('mmvet', '["a"]', 'expected an object id -> reply'),
    ('mme', 'x', 'is not a folder')])
def test_answers_that_cannot_be_scored(form, content, says, tmp_path):
    data, _ = answered(form, tmp_path)
    path = tmp_path / f'given{FORMATS[form].suffix}'
    path.write_text(content)
    with pytest.raises(InputError, match=says):
        read_answers(form, path, data)


def test_odd_lines_of_mme(tmp_path):
    data, _ = answered('mme', tmp_path)
    (tmp_path / 'given').mkdir()
    (tmp_path / 'given' / 'count.txt').write_text('0001.png\tIs it count?\tYes\n')
    with pytest.raises(InputError, match='count.txt, line 1, has 3 cells; expected image, question, right answer'):
        read_answers('mme', tmp_path / 'given', data)
    (tmp_path / 'given' / 'count.txt').write_text('0001.png\tIs it red?\tYes\tNo\n')
    with pytest.raises(InputError, match='does not have, such as count/0001.png/Is it red'):
        read_answers('mme', tmp_path / 'given', data)
    with pytest.raises(InputError, match="no format of answers 'lava'. Did you mean `llava`"):
        read_answers('lava', tmp_path, data)
