"""Folders of drawings for MJHQ-30K and GenEval: names, contents, and a run that is stopped and continued."""
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from dtbox.apis import drawn_folder
from dtbox.apis.drawing_layouts import Drawing, read_layout
from dtbox.apis.drawn_folder import draw_folder
from dtbox.apis.mllm_files import draw_files
from dtbox.errors import InputError
from tests.cli.test_mllm_verbs import run

META = {'0a1f': dict(category='people', prompt='a face'), '77b2': dict(category='food', prompt='red apple'),
        '9c.x': dict(category='food', prompt='a face')}
ROWS = [dict(tag='single_object', include=[{'class': 'apple', 'count': 1}], prompt='a photo of an apple'),
        dict(tag='color_attr', include=[{'class': 'apple', 'count': 1, 'color': 'red'}], exclude=[],
             prompt='a red apple – really')]


@pytest.fixture
def mjhq(tmp_path):
    path = tmp_path / 'meta_data.json'
    path.write_text(json.dumps(META))
    return path


@pytest.fixture
def geneval(tmp_path):
    path = tmp_path / 'evaluation_metadata.jsonl'
    path.write_text(''.join(json.dumps(row) + '\n' for row in ROWS))
    return path


def files_of(folder):
    """Path below a folder -> bytes, of every file; the record apart."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob('*'))
            if path.is_file() and path.name != 'drawings.json'}


def open_all(folder):
    """Path below a folder -> levels, of every drawing."""
    return {path.relative_to(folder).as_posix(): np.asarray(Image.open(path)).astype(int)
            for suffix in ('jpg', 'png') for path in sorted(folder.rglob(f'*.{suffix}'))}


def assert_same_drawings(one, two):
    """Equal up to the rounding of a decoder that sees another batch; other codes differ by tens of levels."""
    assert one.keys() == two.keys()
    assert max(np.abs(one[name] - two[name]).max() for name in one) <= 3


def test_mjhq_names(mjhq):
    """A prompt that comes again continues its numbers, so that its drawings differ."""
    layout = read_layout('mjhq', mjhq)
    assert layout.drawings == (Drawing('people/0a1f.jpg', 'a face', 0), Drawing('food/77b2.jpg', 'red apple', 0),
                               Drawing('food/9c.x.jpg', 'a face', 1))
    assert layout.texts == {}


def test_geneval_names_and_metadata(geneval):
    """As GenEval's own writer leaves them: json.dump of the line, without the end of a line."""
    layout = read_layout('geneval', geneval)
    assert [drawing.file for drawing in layout.drawings] == [
        f'{i:05d}/samples/{j:04d}.png' for i in range(2) for j in range(4)]
    assert layout.texts['00000/metadata.jsonl'] == (
        '{"tag": "single_object", "include": [{"class": "apple", "count": 1}], "prompt": "a photo of an apple"}')
    assert layout.texts['00001/metadata.jsonl'] == (
        '{"tag": "color_attr", "include": [{"class": "apple", "count": 1, "color": "red"}], "exclude": [], '
        '"prompt": "a red apple \\u2013 really"}')


@pytest.mark.parametrize('name, text, says', [
    ('mjhq', '{}', 'is empty'), ('mjhq', '[]', 'expected a JSON object'),
    ('mjhq', '{"a": {"prompt": "x"}}', "the entry 'a' of .* expected an object with `category` and `prompt`"),
    ('mjhq', '{"a": {"category": "c", "prompt": " "}}', "the entry 'a'"),
    ('mjhq', '{"../a": {"category": "c", "prompt": "x"}}', "the name '../a', which cannot be that of a file"),
    ('mjhq', '{"a": {"category": "..", "prompt": "x"}}', "the name '..'"),
    ('mjhq', '{"a": {"category": "c", "prompt": "x"}, "a": {"category": "d", "prompt": "x"}}', "'a' comes twice"),
    ('geneval', '\n', 'is empty'), ('geneval', '{"tag": "colors"}', 'line 1 of .* has nothing as `prompt`'),
    ('geneval', '{"tag": "colours", "prompt": "x"}', 'Did you mean `colors`'),
    ('geneval', '{"tag": "colors", "prompt": ""}', 'line 1 of .* has an empty `prompt`'),
    ('geneval', '{"tag"', 'line 1 of .* is not JSON'), ('genval', '{}', 'Did you mean `geneval`')])
def test_files_of_prompts_that_are_refused(tmp_path, name, text, says):
    (tmp_path / 'prompts').write_text(text)
    with pytest.raises(InputError, match=says):
        read_layout(name, tmp_path / 'prompts')


def test_numbers_of_drawings_that_are_refused(mjhq, geneval, tmp_path):
    assert len(read_layout('geneval', geneval, 2).drawings) == 4
    with pytest.raises(InputError, match='one drawing of each prompt'):
        read_layout('mjhq', mjhq, 2)
    with pytest.raises(InputError, match='does not exist. Give MJHQ-30K'):
        read_layout('mjhq', tmp_path / 'none.json')


def test_drawings_are_those_of_draw(mllm, geneval, tmp_path):
    """Sample j of a prompt is drawing j of `draw`."""
    assert draw_folder(mllm, read_layout('geneval', geneval), str(tmp_path / 'out'), batch=3, seed=5) == 8
    wanted = {f'{i:05}/samples/{j:04}.png': np.asarray(image).astype(int) for i, row in enumerate(ROWS)
              for j, image in enumerate(mllm.draw_pil(row['prompt'], n=4, seed=5)[0])}
    assert_same_drawings(open_all(tmp_path / 'out'), wanted)
    assert (tmp_path / 'out' / '00001' / 'metadata.jsonl').read_text() == json.dumps(ROWS[1])
    assert sorted(os.listdir(tmp_path / 'out')) == ['00000', '00001', 'drawings.json']


def test_a_stopped_folder_becomes_the_same(mllm, mjhq, tmp_path, monkeypatch):
    """Stopped within a batch: whole files stay as they are, a broken one is drawn again, and all bytes are those of a
    folder that was not stopped."""
    layout = read_layout('mjhq', mjhq)
    whole, part = tmp_path / 'whole', tmp_path / 'part'
    assert draw_folder(mllm, layout, str(whole), batch=2) == 3
    assert sorted(files_of(whole)) == ['food/77b2.jpg', 'food/9c.x.jpg', 'people/0a1f.jpg']
    drawn = list(open_all(whole).values())
    assert min(np.abs(drawn[i] - drawn[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 10
    assert all(Image.open(whole / file).format == 'JPEG' for file in files_of(whole))

    def save(image, path, how, saved=[]):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(path)
        keep(image, path, how)
    keep = drawn_folder._save
    monkeypatch.setattr(drawn_folder, '_save', save)
    with pytest.raises(KeyboardInterrupt):
        draw_folder(mllm, layout, str(part), batch=2)
    monkeypatch.undo()
    assert len(files_of(part)) == 2
    broken = part / 'people' / '0a1f.jpg'
    broken.write_bytes(broken.read_bytes()[:-40])
    kept = os.stat(part / 'food' / '77b2.jpg').st_mtime_ns
    said = []
    assert draw_folder(mllm, layout, str(part), batch=2, say=said.append) == 2
    assert said == [f'3 drawings in {part}, 1 of them there already']
    assert os.stat(part / 'food' / '77b2.jpg').st_mtime_ns == kept and files_of(part) == files_of(whole)
    assert draw_folder(mllm, layout, str(part)) == 0


def test_batches_do_not_share_numbers(mllm, mjhq, tmp_path):
    """Another batch gives the same drawings, up to rounding."""
    for size in (1, 3):
        draw_folder(mllm, read_layout('mjhq', mjhq), str(tmp_path / f'{size}'), batch=size)
    assert_same_drawings(open_all(tmp_path / '1'), open_all(tmp_path / '3'))


@pytest.mark.parametrize('change, says', [
    (dict(seed=1), r'holds drawings with seed=0; now it is 1'), (dict(scale=1.5), r'with scale=2\.0; now it is 1\.5'),
    (dict(temperature=0), r'with temperature=0\.7; now it is 0')])
def test_a_folder_is_not_mixed(mllm, mjhq, tmp_path, change, says):
    layout, out = read_layout('mjhq', mjhq), tmp_path / 'out'
    draw_folder(mllm, layout, str(out))
    before = files_of(out)
    with pytest.raises(InputError, match=says):
        draw_folder(mllm, layout, str(out), **change)
    assert files_of(out) == before


def test_images_without_a_record_are_left_alone(mllm, mjhq, tmp_path):
    (tmp_path / 'out' / 'food').mkdir(parents=True)
    (tmp_path / 'out' / 'food' / '77b2.jpg').write_bytes(b'mine')
    with pytest.raises(InputError, match=r'holds 1 image such as food/77b2.jpg and no drawings.json'):
        draw_folder(mllm, read_layout('mjhq', mjhq), str(tmp_path / 'out'))
    assert (tmp_path / 'out' / 'food' / '77b2.jpg').read_bytes() == b'mine'


def test_a_record_of_other_drawings_stays(mllm, mjhq, tmp_path):
    """The folder of `dtbox draw RUN PROMPT` has a drawings.json of its own."""
    draw_files(mllm, 'a face', str(tmp_path))
    before = (tmp_path / 'drawings.json').read_bytes()
    with pytest.raises(InputError, match="holds drawings with layout=None; now it is 'mjhq'"):
        draw_folder(mllm, read_layout('mjhq', mjhq), str(tmp_path))
    assert (tmp_path / 'drawings.json').read_bytes() == before and not (tmp_path / 'food').exists()


def test_verb(mllm_run, geneval, tmp_path, capsys):
    words = 'draw', mllm_run, '--layout', 'geneval', '--prompts', geneval, '--out', tmp_path / 'out', '--n', 1
    code, out, _ = run(capsys, *words)
    assert code == 0 and out.splitlines() == [f'2 drawings in {tmp_path / "out"}, 0 of them there already', '2 drawn']
    assert run(capsys, *words)[1].splitlines()[-1] == '0 drawn'
    record = json.loads((tmp_path / 'out' / 'drawings.json').read_text())
    assert record['layout'] == 'geneval' and record['run'] == str(mllm_run) and re.fullmatch('[0-9a-f]{16}',
                                                                                             record['model'])


@pytest.mark.parametrize('words, says', [
    (['--layout', 'mjhq'], '--layout and --prompts go together'), ([], 'there is no prompt; expected words to draw'),
    (['--prompts', 'x.json'], '--layout and --prompts go together'), (['a', '--batch', '2'], '--batch goes with'),
    (['a', '--layout', 'mjhq', '--prompts', 'x.json'], "got the prompt 'a' beside --prompts"),
    (['--layout', 'mjhq', '--prompts', 'x.json'], 'the file of prompts x.json does not exist')])
def test_verb_refuses(tmp_path, capsys, words, says):
    """Before the model is opened."""
    code, _, err = run(capsys, 'draw', 'no_such_run', *words, '--out', tmp_path / 'out')
    assert code == 2 and says in err and len(err.splitlines()) == 1
