"""`dtbox score-drawings`: folders by protocols, and GenEval's results."""
import json
import os

import pytest

from dtbox.evaluation.results import Results
from tests.cli.test_mllm_verbs import run
from tests.clip_kit import NAME, WORDS, make_files
from tests.clip_kit import tiny_clip as tiny_clip  # noqa: F401
from tests.evaluation.test_fid import Small
from tests.evaluation.test_geneval import rows_of, write


@pytest.fixture
def folders(tmp_path):
    """Drawings in GenEval's names, six prompts of one image, and real images."""
    paths = make_files(tmp_path / 'made', 6, seed=0, size=(32, 32))
    for i, path in enumerate(paths):
        place = tmp_path / 'drawn' / f'{i:05}' / 'samples'
        place.mkdir(parents=True)
        path.rename(place / '0000.png')
    make_files(tmp_path / 'real', 8, seed=1)
    (tmp_path / 'prompts.jsonl').write_text(''.join(json.dumps(dict(tag='colors', prompt=word)) + '\n'
                                                    for word in WORDS))
    return tmp_path


def test_protocols_of_a_folder(folders, tiny_clip, monkeypatch, capsys):
    """Three protocols in one call; what a second call compares with it are its hashes."""
    monkeypatch.setattr('dtbox.evaluation.fid.open_inception', lambda *args: Small())
    words = ('score-drawings', folders / 'drawn', folders / 'real', '--protocol', 'rfid_clean', 'frechet_tower',
             'clip_score', '--layout', 'geneval', '--prompts', folders / 'prompts.jsonl', '--n', 1, '--cfg-options',
             f'inception_clean={tiny_clip[0]}', f'tower={NAME}', f'tower_weights={tiny_clip[0]}')
    code, out, err = run(capsys, *words)
    assert code == 0, err
    assert f'CLIPScore of {NAME}, drawn ↑' in out and 'FID of drawings ↓' in out and 'Frechet, ' in out
    path = f'{folders / "drawn"}.scores.json'
    assert out.splitlines()[-1] == f'written to {path}'
    results = Results.read(path)
    assert results.sets['all'].keys() == {'drawing_fid@rfid_clean', f'frechet_tower@frechet_tower/{NAME}/drawn',
                                          f'clip_score@clip_score/{NAME}/drawn',
                                          f'clip_score@clip_score/{NAME}/drawn/stderr'}
    assert results.counts == dict(all=6) and 'dtbox score-drawings' in results.evaluation['command']
    assert 'the distance is biased' in results.skipped['TowerFrechet@frechet_tower']
    assert run(capsys, *words)[1].splitlines()[-1] == f'written to {folders / "drawn"}.scores.1.json'
    again = Results.read(f'{folders / "drawn"}.scores.1.json')
    assert again.sets == results.sets and again.protocols == results.protocols
    os.remove(folders / 'real' / '0.png')
    run(capsys, *words, '--out', folders / 'other.json')
    other = Results.read(folders / 'other.json')
    one, two = (r.stamp('drawing_fid@rfid_clean').split('-') for r in (results, other))
    assert one[0] == two[0] and one[1] != two[1]


def test_results_of_geneval(tmp_path, capsys):
    path = write(tmp_path / 'results.jsonl', rows_of())
    code, out, _ = run(capsys, 'score-drawings', path, '--out', tmp_path / 'geneval.json')
    assert code == 0 and '45.8%' in out and 'GenEval, color_attr' in out
    assert json.loads((tmp_path / 'geneval.json').read_text())['all']['geneval@geneval'] == pytest.approx(2.75 / 6)


@pytest.mark.parametrize('words, says', [
    (['DRAWN', 'REAL'], 'how to measure is not given'),
    (['DRAWN', 'REAL', '--protocol', 'codes'], 'measures CodeUsage, which needs a model'),
    (['DRAWN', 'REAL', '--protocol', 'rfid_clean'], "the weights of clean-fid's Inception are not given"),
    (['DRAWN', '--protocol', 'frechet_emoji'], 'TowerFrechet compares with real images; give their folder, too'),
    (['DRAWN', '--protocol', 'clip_score'], 'CLIPScore compares drawings with their prompts, which are not given'),
    (['DRAWN', '--protocol', 'clip_score', '--layout', 'geneval'], '--layout and --prompts go together'),
    (['DRAWN', '--protocol', 'clip_score', '--layout', 'geneval', '--prompts', 'PROMPTS'],
     'lacks 18 of 24 drawings, such as 00000/samples/0001.png. Continue drawing'),
    (['DRAWN', '--protocol', 'clip_score', '--layout', 'geneval', '--prompts', 'PROMPTS', '--n', '1'],
     'the weights of `ViT-L-14-quickgelu` are not given'),
    (['DRAWN', 'REAL', '--protocol', 'frechet_emoji', '--cfg-options', 'weigths=1'], 'no protocol takes'),
    (['NONE', 'REAL', '--protocol', 'frechet_emoji'], 'none does not exist'),
    (['PROMPTS', 'REAL'], "is a file, GenEval's results, which needs no real"),
    (['DRAWN', 'REAL', '--protocol', 'frechet_emoji', '--batch', '0'], 'batch: got 0')])
def test_refused(folders, capsys, words, says):
    table = dict(DRAWN=folders / 'drawn', REAL=folders / 'real', PROMPTS=folders / 'prompts.jsonl',
                 NONE=folders / 'none')
    code, _, err = run(capsys, 'score-drawings', *[table.get(word, word) for word in words])
    assert code == 2 and says in err and len(err.splitlines()) == 1
    assert not os.path.exists(f'{folders / "drawn"}.scores.json')
