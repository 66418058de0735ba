"""dtbox diagnose: what each diagnosis leaves, and one sentence for what cannot be asked."""
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from dtbox.cli.diagnose import VERB
from tests.tiny_run import write_photos

PACKAGED = ['configs/dualtoken_rq.py', '--cfg-options', 'train_dataloader.batch_size=8', 'threads=1']


@pytest.fixture(scope='module')
def told(tmp_path_factory):
    """Photographs with captions: 32 for training, 9 held out; every third is of one word."""
    folder = tmp_path_factory.mktemp('told')
    write_photos(folder, train=32, heldout=9)
    for part, count in (('train', 32), ('val', 9)):
        (folder / part / 'captions.txt').write_text(''.join(f'photo_{i:02d}.png\t{("red", "blue", "green")[i % 3]} '
                                                            f'disc {i}\n' for i in range(count)))
    return folder


def lines_of(capsys):
    found = capsys.readouterr()
    return found.out.splitlines(), found.err.splitlines()


def test_conflict_of_a_checkpoint(tiny_run, tmp_path, capsys):
    VERB.main(['conflict', str(tiny_run), '--batches', '3', '--out', str(tmp_path / 'out')])
    out, _ = lines_of(capsys)
    rows = [json.loads(line) for line in open(tmp_path / 'out' / 'conflict.jsonl')]
    assert [row['batch'] for row in rows] == [0, 1, 2] and rows[0]['layers'] == ['0', '1', '2',
                                                                                 '3'] and -1 < rows[0]['cosine'][0] < 1
    assert '| 2 |  |  |  | ' in '\n'.join(out) and 'not reached by reconstruction' in '\n'.join(out)
    assert out[-1] == f'written to {tmp_path / "out"}' and min(Image.open(tmp_path / 'out' / 'conflict.png').size) > 600


def test_conflict_while_a_recipe_trains(tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    VERB.main(['conflict', str(tiny_config), '--iters', '3', '--every', '2', '--semantics', 'semantic_pooled',
               '--cfg-options',
                   'val_dataloader=None', 'hooks=None'])
    run = tmp_path / 'work_dirs' / 'diagnostics' / 'recipe_0_conflict'
    assert [json.loads(line)['iteration'] for line in open(run / 'conflict.jsonl')] == [0, 2]
    assert json.loads((run / 'conflict.json').read_text())['terms']['semantics'] == ['semantic_pooled']
    assert 'max_iters = 3' in (run / 'config.py').read_text().replace('max_iters=3', 'max_iters = 3')


def test_layers_with_texts(told, tmp_path, capsys):
    """The packaged teacher on eight held-out images of our own: little to learn, but all of it there."""
    words = ['layers', *PACKAGED, f'data_root={told}', '--encoder', 'teacher', '--layers', '1', '8', '--iters', '3',
             '--out', str(tmp_path / 'out')]
    VERB.main(words)
    out, err = lines_of(capsys)
    found = json.loads((tmp_path / 'out' / 'layers.json').read_text())
    assert [row['layer'] for row in found['layers']] == [1, 8] and found['settings']['encoder'] == 'teacher'
    assert all(0 <= row[key] <= 1 for row in found['layers'] for key in ('ssim', 't2i_r1', 'i2t_r1'))
    assert out[0].startswith('| layer | tokens | PSNR [dB] |') and re.match(r'\| 1 \| 64 \| \d+\.\d\d \|', out[2])
    assert any(line.startswith('Proposed: pixel layer ')
               for line in out) and any(line.startswith('probes: step 3 of 3') for line in err)
    assert (tmp_path / 'out' / 'layers.md').read_text().splitlines()[2] == out[2]
    assert min(Image.open(tmp_path / 'out' / 'layers.png').size) > 400
    first = (tmp_path / 'out' / 'layers.json').read_text()
    VERB.main(words)  # the same again, beside it
    again = json.loads((tmp_path / 'out.1' / 'layers.json').read_text())
    assert (tmp_path / 'out' / 'layers.json').read_text() == first and again['layers'] == found['layers']


def test_atlas(tiny_run, told, tmp_path, capsys):
    VERB.main(['atlas', str(tiny_run), '--cfg-options', f'data_root={told}', '--split', 'train', '--codes', '4',
               '--context', '1',
                   '--out', str(tmp_path / 'out')])
    out, _ = lines_of(capsys)
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == [
        'atlas.json', 'atlas.md', 'information.png', 'pixel_depth0.png', 'pixel_depth1.png', 'semantic_depth0.png',
        'semantic_depth1.png']
    found = json.loads((tmp_path / 'out' / 'atlas.json').read_text())
    assert found['settings']['images'] == 32 and found['settings']['words'] == 4 and found['settings']['by'] == 'words'
    page = found['vocabularies']['pixel'][0]
    assert len(page['codes']) == 4 and set(page['information']) == {'words', 'colour', 'edges'} and page['size'] == 64
    shares = [code['information']['words'] for code in page['codes']]
    assert shares == sorted(shares, reverse=True)
    assert all(len({e['key'] for e in code['examples']}) == len(code['examples']) for code in page['codes'])
    assert out[2].startswith(f'| pixel | 0 | {page["used"]} of 64 | ')


def test_atlas_of_chosen_codes_without_texts(tiny_run, tmp_path, capsys):
    """The patches are those that the codes say: found again by encoding the images with the tokenizer."""
    import dtbox
    tokenizer = dtbox.load(tiny_run)
    photos = sorted((tiny_run.parent / 'photos' / 'val').iterdir())
    codes = tokenizer.encode([str(p) for p in photos])['semantic'][..., 1].numpy()
    used, unused = int(np.bincount(codes.ravel()).argmax()), next(c for c in range(64) if not (codes == c).any())
    VERB.main(['atlas', str(tiny_run), '--vocabulary', 'semantic', '--depth', '1', '--codes', f'{used},{unused}',
               '--out', str(tmp_path)])
    found = json.loads((tmp_path / 'atlas.json').read_text())
    page, = found['vocabularies']['semantic']
    assert [c['code'] for c in page['codes']] == [used, unused] and found['remarks'] == ['no information about words: '
                                                                                         'the data has no texts']
    assert [c['tokens'] for c in page['codes']] == [int((codes == used).sum()),
                                                    0] and page['codes'][1]['examples'] == []
    names = [f'val/{p.name}' for p in photos]
    for example in page['codes'][0]['examples']:
        assert codes[names.index(example['key']), 4 * example['row'] + example['column']] == used
    assert 'Note: no information about words: the data has no texts.' in capsys.readouterr().out


WRONG = {
    'nothing there': (['atlas', 'gone'], r'gone is no run folder with a checkpoint\.pth'),
    'a config has no codes': (['atlas', 'CONFIG'], r'is no run folder'),
    'unknown vocabulary': (['atlas', 'RUN', '--vocabulary', 'pixl'], r'no vocabulary `pixl`.*Did you mean `pixel`'),
    'unknown depth': (['atlas', 'RUN', '--depth', '2'], r'--depth: `pixel` has no depth 2; its depths are 0 to 1'),
    'unknown code': (['atlas', 'RUN', '--codes', '3', '64'], r'--codes: `pixel` has no code 64 at depth 0; its codes '
                                                             r'there are 0 to 63'),
    'no number': (['atlas', 'RUN', '--codes', 'many'], r'--codes: `many` is neither a number of codes nor a list'),
    'no codes': (['atlas', 'RUN', '--codes', '0'], r'expected at least 1 code'),
    'words without texts': (['atlas', 'RUN', '--by', 'words'], r'--by: .*the data has no texts'),
    'words too rare': (['atlas', 'RUN', '--by', 'words', '--images', '2', '--cfg-options', 'data_root=TOLD'],
                       r'is in at least 3 images'),
    'unknown layer': (['layers', 'CONFIG', '--layers', '4'], r'--layers: there is no layer 4; the encoder has the '
                                                             r'layers 0 .* to 3'),
    'unknown encoder': (['layers', 'CONFIG', '--encoder', 'trunc'], r'--encoder: there is no encoder `trunc`. Did you '
                                                                    r'mean `trunk`'),
    'no iterations': (['layers', 'CONFIG', '--iters', '0'], r'expected at least 1 iteration'),
    'no held-out data': (['layers', 'CONFIG', '--cfg-options', 'val_dataloader=None'], r'the config has no '
                                                                                       r'`val_dataloader`'),
    'one side only': (['conflict', 'CONFIG', '--cfg-options', 'model.losses.semantic=None', 'model.losses.pooled=None'],
                      r'hooks\.gradient_conflict\.semantics: the criterion has no term of semantics'),
    'unknown term': (['conflict', 'RUN', '--reconstruction', 'l22'], r'reconstruction: the criterion has no term '
                                                                     r'`l22`. Did you mean `l2`'),
    'negative iterations': (['conflict', 'CONFIG', '--iters', '-1'], r'--iters: -1 iterations; expected 0 or more'),
    'no batches': (['conflict', 'RUN', '--batches', '0'], r'--batches: 0 batches; expected at least 1'),
    'out is a file': (['conflict', 'RUN', '--out', 'CONFIG'], r'--out: the output folder .* is a file'),
}


@pytest.mark.parametrize('words, says', WRONG.values(), ids=WRONG)
def test_one_sentence(words, says, tiny_config, tiny_run, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(p.name for p in tiny_run.iterdir())
    with pytest.raises(SystemExit) as left:
        VERB.main([{'CONFIG': str(tiny_config), 'RUN': str(tiny_run)}.get(w, w).replace('TOLD', str(told))
                   for w in words])
    lines = [line for line in capsys.readouterr().err.splitlines() if ' - mmengine - ' not in line
             and 'images encoded' not in line]
    assert left.value.code == 2 and len(lines) == 1 and lines[0].startswith('error: ') and re.search(says,
                                                                                                     lines[0]), lines
    assert not list(tmp_path.iterdir()) and sorted(p.name for p in tiny_run.iterdir()) == before


def test_a_run_keeps_its_files(tiny_run, tmp_path):
    """Without --out the results lie in the run folder, and what was there stays."""
    run = tmp_path / 'run'
    shutil.copytree(tiny_run, run)
    before = {p: p.read_bytes() for p in run.rglob('*') if p.is_file()}
    for _ in range(2):
        VERB.main(['atlas', str(run), '--depth', '0', '--codes', '2', '--vocabulary', 'pixel'])
    assert {p: p.read_bytes() for p in before} == before
    assert sorted(p.name for p in (run / 'diagnostics').iterdir()) == ['atlas', 'atlas.1']
