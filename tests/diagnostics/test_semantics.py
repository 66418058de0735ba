"""tools/diagnose.py semantics: neighbours, words of regions, shuffled codes, and a page of them."""
import json
import os

import pytest
import torch
from PIL import Image

from dtbox.diagnostics.semantics import draw_neighbours, find_likeness, format_table, make_semantics
from dtbox.errors import InputError
from tools.diagnose import main


def test_a_page_of_a_run_without_texts(tiny_run, tmp_path, capsys):
    out = tmp_path / 'page'
    main(['semantics', str(tiny_run), '--out', str(out), '--images', '3', '--gallery', '8'])
    found = json.load(open(out / 'semantics.json'))
    assert found['images'] == 8 and found['remarks'] == ['no words: the tokenizer has no head, no text tower, or no '
                                                           'text tokenizer']
    assert set(found['shuffled']) == {'as they are', 'pixel codes shuffled'} and found['shuffled']['as they are'] > 0
    page = (out / 'index.html').read_text()
    assert page.count('<img') == 2 and 'data:image/png;base64,' in page and 'http' not in page.replace('http-equiv', '')
    assert Image.open(out / 'neighbours.png').width > 1000 and not os.path.exists(out / 'regions.png')
    assert 'reconstruction, pixel codes shuffled:' in capsys.readouterr().out


@pytest.fixture(scope='module')
def emoji_run(tmp_path_factory):
    """A run of the main recipe with texts, two steps long, that still knows its held-out images."""
    from dtbox.config import load_config
    from dtbox.training.runner import Runner
    folder = tmp_path_factory.mktemp('semantics') / 'run'
    options = {'batch_size': 16, 'max_iters': 2, 'val_evaluator': dict(_delete_=True, psnr=dict(type='PSNR')),
               'hooks': dict(_delete_=True, checkpoint=dict(type='Checkpoint', interval=2)),
               'gan': None}
    runner = Runner.from_config(load_config('configs/dualtoken_rq.py', options), work_dir=str(folder))
    runner.val_parts = {}  # its scores are of no interest
    runner.train()
    return str(folder)


def test_words_of_regions(emoji_run, tmp_path):
    found = make_semantics(emoji_run, str(tmp_path), images=2, gallery=64, grid=2, say=lambda line: None)
    assert found['remarks'] == [] and len(found['regions']) == 2
    for row in found['regions'].values():
        assert (
            len(row['regions']) == len(row['regions'][0]) == 2
            and len(row['whole']) == 3
            and all(isinstance(w, str) for w in row['whole'])
        )
    assert set(found['neighbours']) == {'pixel', 'semantic', 'pooled embedding'}
    assert all(0 <= f['share'] <= 1 and 0 <= f['chance'] <= 1 for f in found['neighbours'].values())
    assert 'nearest have' in format_table(found) and Image.open(tmp_path / 'regions.png').height > 400


def test_neighbours_by_hand(tmp_path):
    rows = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1.0], [0.1, 0.9]]), dim=1)
    seen = dict(features=dict(pixel=rows), pooled=None, labels=[0, 0, 1, 1], texts=[''] * 4, keys=list('abcd'),
                thumbs=[torch.zeros(4, 4, 3, dtype=torch.uint8).numpy()] * 4)
    kind, same = find_likeness(seen)
    assert kind == 'the class' and same(0, 1) and not same(1, 2)
    found = draw_neighbours(seen, [0], str(tmp_path), 'x')
    assert found['pixel']['share'] == pytest.approx(1 / 3) and found['pixel']['chance'] == pytest.approx(1 / 3,
                                                                                                         abs=0.05)
    seen.update(labels=[-1] * 4, texts=['a red bird', 'a bird', 'a red bird', 'a dog'])
    kind, same = find_likeness(seen)
    assert kind == 'a word of the caption' and same(0, 1) and not same(1, 3)


@pytest.mark.parametrize('options, says', [
     (dict(images=0), '--images'), (dict(gallery=1), '--gallery'), (dict(grid=0), '--grid')])
def test_numbers_that_make_no_sense(tiny_run, tmp_path, options, says):
    with pytest.raises(InputError, match=says):
        make_semantics(str(tiny_run), str(tmp_path), **options)
