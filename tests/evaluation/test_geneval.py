"""GenEval's results.jsonl by the rule of its summary_scores.py, worked out by hand."""
import json

import pytest

from dtbox.errors import InputError
from dtbox.evaluation import format_table
from dtbox.evaluation.geneval import TASKS, read_results

RIGHT = dict(single_object=[1, 1, 1, 1], two_object=[1, 0, 1, 0], counting=[0, 0, 0, 1], colors=[1, 1, 0, 1],
             position=[0, 0, 0, 0], color_attr=[1, 0, 0, 0, 0, 0, 0, 1])


def rows_of(right=RIGHT):
    """One prompt of four images each, two of color_attr."""
    rows = []
    for task, found in right.items():
        for i, correct in enumerate(found):
            metadata = json.dumps(dict(tag=task, include=[], prompt=f'{task} {i // 4}'))
            rows.append(dict(filename=f'out/{task}/samples/{i:04}.png', tag=task, prompt=task, correct=bool(correct),
                             reason='', metadata=metadata, details='{}'))
    return rows


def write(path, rows):
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return path


def test_by_hand(tmp_path):
    """Tasks 1, 1/2, 1/4, 3/4, 0, 1/4; overall 2.75/6, while 12 of 28 images are correct, and 6 of 7 prompts."""
    results = read_results(write(tmp_path / 'results.jsonl', rows_of()))
    values = results.of_protocol('geneval').sets['all']
    scores = dict(zip(TASKS, (1, .5, .25, .75, 0, .25)))
    assert values == {'geneval': pytest.approx(2.75 / 6), 'geneval_images': pytest.approx(12 / 28),
                      'geneval_prompts': pytest.approx(6 / 7),
                      **{f'geneval_task/{task}': score for task, score in scores.items()}}
    assert results.counts == dict(all=28)
    assert results.skipped == {'GenEval@geneval': 'the results are of 7 prompts; GenEval has 553'}


def test_order_counts_for_nothing_and_prompts_are_stamped(tmp_path):
    first = read_results(write(tmp_path / 'a.jsonl', rows_of()))
    assert read_results(write(tmp_path / 'b.jsonl', rows_of()[::-1])).to_dict() == first.to_dict()
    other = read_results(write(tmp_path / 'c.jsonl', rows_of()[:-4]))
    one, two = (results.stamp('geneval@geneval').split('-') for results in (first, other))
    assert one[0] == two[0] and one[1] != two[1]


def test_table(tmp_path):
    rows = rows_of()
    del rows[-1]
    table = format_table(read_results(write(tmp_path / 'a.jsonl', rows)).of_protocol('geneval'))
    assert 'GenEval, single_object' in table and '100.0%' in table
    assert '1 prompt has another number of images than 4 (such as 3)' in ' '.join(table.split())


def edited(line, **changes):
    rows = rows_of()
    rows[line] = {**rows[line], **changes}
    return rows


@pytest.mark.parametrize('rows, says', [
    ([], 'has no image of single_object, two_object'), (rows_of()[4:], 'has no image of single_object; the overall'),
    (edited(2, tag='colour'), r'line 3 of .* has the tag .colour.\. Did you mean `colors`'),
    (edited(2, correct='yes'), "line 3 of .* has 'yes' as `correct`; expected a bool"),
    (edited(2, correct=None), 'line 3 of .* has None as `correct`'),
    (edited(2, filename='out/single_object/samples/0000.png'), 'line 3 of .* is a second result of'),
    ([dict(tag='colors', prompt='x')], 'line 1 of .* has nothing as `filename`')])
def test_refused(tmp_path, rows, says):
    with pytest.raises(InputError, match=says):
        read_results(write(tmp_path / 'results.jsonl', rows))


def test_a_file_that_is_no_file(tmp_path):
    with pytest.raises(InputError, match='cannot be read'):
        read_results(tmp_path / 'none.jsonl')
    (tmp_path / 'cut.jsonl').write_text('{"filename": ')
    with pytest.raises(InputError, match='line 1 of .* is not JSON'):
        read_results(tmp_path / 'cut.jsonl')
