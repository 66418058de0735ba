"""The whole report: every file, a page that needs nothing else, and folders that nobody loses."""
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from dtbox.errors import InputError
from dtbox.report import build
from dtbox.report.figures import draw_heldout_sheet
from dtbox.report.page import LARGE, build_data_uri, format_duration, format_prose
from dtbox.report.trials import read
from tests.report.synthetic import edit_rows, write_grid
from tools.report import main

HEAD = ['all/psnr', 'all/token_cosine']
VOID = {'meta', 'link', 'img', 'br'}


class Page(HTMLParser):
    """Checks that tags are closed; collects links, ids and text."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.links = []
        self.ids = []
        self.text = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs['id']] if 'id' in attrs else []
        self.links += [attrs[k] for k in ('href', 'src') if k in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ('style', 'script'):
            self.text.append(data)


def words(page):
    return ' '.join(' '.join(Page(Path(page).read_text()).text).split())


def test_files(page):
    folder = page.parent
    names = {str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file()}
    for table in ('scores', 'paired', 'facts', 'trials', 'scores_all', 'scores_variants', 'codes_all'):
        assert {f'tables/{table}.{suffix}' for suffix in ('md', 'csv', 'tex')} <= names
    for figure in ('tradeoff_all-psnr_all-token-cosine', 'axis_lr', 'axis_codebooks', 'learning_curves', 'codebooks'):
        assert {f'figures/{figure}.png', f'figures/{figure}.pdf'} <= names
        assert min(Image.open(folder / f'figures/{figure}.png').size) > 200
    assert 'figures/contact_sheet.png' in names
    assert set(json.loads((folder / 'report.json').read_text())['files']) == names - {'report.json'}
    assert not list(folder.parent.glob('.report*'))


def test_page_needs_nothing_else(page):
    found = Page(page.read_text())
    for link in found.links:
        if link.startswith('#'):
            assert link[1:] in found.ids
        elif not link.startswith('data:'):
            assert (page.parent / link).is_file(), link
    assert not re.search(r'https?://', page.read_text()) and '@import' not in page.read_text()
    assert sum(link.startswith('data:image/png') for link in found.links) == 6


def test_page_says_what_is_there(page, grid):
    text = words(page)
    for piece in ('A made-up grid', '7 of 8 trials finished, 1 diverged; 4 variants.', 'Asked for, but measured '
                                                                                       'nowhere: all/nothing.',
                  '0.01, two & <more>', 'Differences to the reference (0.001, one)', 'at iteration 7, the term l2 is '
                                                                                     'NaN.',
                  'stopped: the term l2 is NaN. <b>', 'line 39',
                  'python tools/ablate.py configs/ablations/made_up.py', 'cores 2', '1 h 02 min', 'c0dec0dec0dec0de',
                  'Dorfman, Berbaum and Metz', 'On the Pareto front: 0.001, one;',
                  'mean over those combinations of the other axes',
                  'recipe = made_up.py model.lr = 0.01 model.codebooks = one',
                  f'dtbox report {grid} --out {page.parent} Report built'):
        assert piece in text, piece
    assert 'line 5 ' not in text


def test_a_grid_without_finished_trials(tmp_path):
    write_grid(tmp_path, dict(a=['x', 'y']), [0], reference=dict(a='x'), failed=(0, 1))
    text = words(build(tmp_path))
    assert 'No trial has finished: there is nothing to compare yet.' in text
    assert '0 of 2 trials finished, 2 diverged' in text
    rows = (tmp_path / 'results.csv').read_text().splitlines()
    (tmp_path / 'results.csv').write_text(rows[0] + '\n')
    assert '0 of 0 trials finished' in words(build(tmp_path))


def test_trials_that_differ(tmp_path):
    write_grid(tmp_path, dict(a=['x', 'y', 'z']), [0, 1], images=5, reference=dict(a='x'), sheets=False)
    def spoil(rows):
        rows[2]['all/token_cosine'], rows[3]['code_hash'] = '', 'other'
        rows[4]['status'] = rows[5]['status'] = 'missing'
    edit_rows(tmp_path, spoil)
    shutil.rmtree(tmp_path / 'trials' / 'x__seed1')
    text = words(build(tmp_path, metrics=HEAD))
    for piece in ('2 of 6 trials have not run yet.', 'No finished trial: z.', 'Not measured in every trial (a dash): '
                                                                              'token cosine.',
                  'come from different versions of the code', '1 run folder is gone; its curves', '(n 1)',
                  'Variants that lack one of the two are left out.'):
        assert piece in text, piece
    assert 'What did not finish' not in text and 'held-out images Top row' not in text


def test_no_pairs(tmp_path):
    write_grid(tmp_path, dict(a=['x', 'y']), [0], images=5, metrics=['all/psnr'], reference=dict(a='x'), sheets=False)
    (tmp_path / 'trials' / 'y__seed0' / 'samples.npz').unlink()
    assert 'with the reference: no paired differences' in words(build(tmp_path))


def test_a_broken_picture_is_made_up_for_by_another_seed(tmp_path):
    write_grid(tmp_path, dict(a=['x', 'y']), [0, 1], images=2, tile=8)
    (tmp_path / 'f').mkdir()
    sizes = []
    for troubles in (0, 1, 2):
        sheet, said = draw_heldout_sheet(read([tmp_path]), tmp_path / 'f')
        assert len(said) == troubles and all('heldout.png' in s for s in said)
        sizes.append(Image.open(sheet.paths(tmp_path / 'f')[0]).size)
        (tmp_path / 'trials' / f'x__seed{troubles % 2}' / 'heldout.png').write_bytes(b'\x89PNG')
    assert sizes[0] == sizes[1] and sizes[2][1] < sizes[0][1]


def test_plain_runs(tiny_run, tmp_path, capsys):
    folders = []
    for name in ('a-seed0', 'a-seed1', 'b-seed0'):
        (tmp_path / name).mkdir()
        for file in ('metrics.json', 'samples.npz', 'heldout.png', 'history.jsonl', 'config.py'):
            shutil.copy(tiny_run / file, tmp_path / name / file)
        config = tmp_path / name / 'config.py'
        config.write_text(re.sub(r'(?m)^seed = 0$', f'seed = {name[-1]}', config.read_text()))
        folders.append(str(tmp_path / name))
    main([*folders, '--out', str(tmp_path / 'new' / 'report'), '--metrics', 'all/psnr', 'all/ssim', '--reference', 'a'])
    assert capsys.readouterr().out == f'written to {tmp_path}/new/report/index.html\n'
    text = words(tmp_path / 'new' / 'report' / 'index.html')
    assert '3 of 3 trials finished; 2 variants.' in text
    assert 'Differences to the reference (a)' in text
    assert '8 held-out images' in text
    rows = (tmp_path / 'new/report/tables/paired.csv').read_text().splitlines()
    assert rows[1].startswith('b,1,0.0,0.0,0.0,1,8,0.0')  # the same run twice: no difference at all
    (tmp_path / 'file').write_text('mine')
    below, out = str(tmp_path / 'file' / 'report'), str(tmp_path / 'out')
    for argv, says in ((folders[:1], '--out DIR'), ([str(tmp_path / 'none')], 'there is no folder'),
                       ([*folders, '--out', below],
                        f'cannot go to {below}'), ([*folders, '--out', out, '--reference', 'c'], 'no variant `c`'),
                       ([*folders, '--out', out, '--metrics', 'all/psnrr'], 'Did you mean `all/psnr`')):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        error = capsys.readouterr().err
        assert stop.value.code == 2 and says in error and error.startswith('error: ') and error.count('\n') == 1
    assert (tmp_path / 'file').read_text() == 'mine' and not (tmp_path / 'out').exists()


def test_only_reports_are_replaced(page, grid, tmp_path, monkeypatch):
    from dtbox.report import assembly
    def assemble(experiment, folder):
        os.makedirs(os.path.join(folder, 'figures'))
        return dict(figures=[], warnings=[])
    monkeypatch.setattr(assembly, 'assemble', assemble)
    out = tmp_path / 'report'
    shutil.copytree(page.parent, out)
    build(grid, out)
    assert {p.name for p in out.iterdir()} == {'figures', 'index.html', 'report.json'}
    (out / 'mine.txt').write_text('notes')
    with pytest.raises(InputError, match='mine.txt is not a file of the report'):
        build(grid, out)
    (out / 'mine.txt').unlink()
    (out / 'index.html').write_text('changed')
    with pytest.raises(InputError, match='index.html was changed'):
        build(grid, out)
    assert (out / 'index.html').read_text() == 'changed'
    for other in (grid, tmp_path / 'file'):
        (tmp_path / 'file').touch()
        with pytest.raises(InputError, match='--out DIR'):
            build(grid, other)
    (tmp_path / 'empty').mkdir()
    assert build(grid, tmp_path / 'empty') == str(tmp_path / 'empty' / 'index.html')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['empty', 'file', 'report']


def test_a_build_that_fails_leaves_the_old_report(page, grid, tmp_path, monkeypatch):
    from dtbox.report import assembly
    out = tmp_path / 'report'
    shutil.copytree(page.parent, out)
    before = (out / 'index.html').read_bytes()

    def broken(*args):
        raise OSError('disk full')
    monkeypatch.setattr(assembly, 'render', broken)
    monkeypatch.setattr(assembly, 'assemble', lambda experiment, folder: dict(figures=[], warnings=[]))
    with pytest.raises(InputError, match='cannot be written to .*disk full'):
        build(grid, out)
    monkeypatch.undo()
    monkeypatch.setattr(assembly, 'assemble', lambda experiment, folder: dict(figures=[], warnings=[]))
    rename = os.rename

    def refuse(src, dst):
        if src.endswith('.part'):
            raise OSError('no')
        rename(src, dst)
    monkeypatch.setattr(assembly.os, 'rename', refuse)
    with pytest.raises(InputError, match='cannot be written to .*no'):
        build(grid, out)
    assert (out / 'index.html').read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ['report']


def test_many_trials_stay_small(tmp_path):
    """A small stand-in for `python -m tests.report.synthetic`, which prints time and size for 100 trials."""
    write_grid(tmp_path, dict(a=[f'v{i}' for i in range(24)]), [0], images=10, metrics=HEAD, reference=dict(a='v0'),
               failed=range(10, 14))
    page = Path(build(tmp_path))
    assert page.stat().st_size < 2e6 and '20 of 24 trials finished, 4 diverged; 24 variants.' in words(page)
    assert 'Numbers as in the tables.' in words(page) and '24. v23' in words(page)


def test_large_pictures_become_jpeg_in_the_page(tmp_path):
    import numpy as np
    path = tmp_path / 'a.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)).save(path)
    uri, lossy = build_data_uri(path)
    assert path.stat().st_size > LARGE
    assert lossy
    assert uri.startswith('data:image/jpeg')
    assert len(uri) < LARGE * 4 / 3 + 100
    Image.new('RGB', (8, 8)).save(path)
    assert not build_data_uri(path)[1]


def test_words():
    assert format_prose('One <line>\ngoes on.\n\n- `a`: first\n  more\n- second\n\nEnd.') == (
        '<p>One &lt;line&gt; goes on.</p><ul><li><code>a</code>: first more</li><li>second</li></ul><p>End.</p>')
    assert format_prose('Lead:\n- a\n- b') == '<p>Lead:</p><ul><li>a</li><li>b</li></ul>'
    assert [format_duration(s) for s in (None, 12.4, 250, 3723)] == ['unknown', '12 s', '4 min 10 s', '1 h 02 min']


BROWSER = next((b for b in ('chromium', 'chromium-browser', 'google-chrome') if shutil.which(b)), None)


@pytest.mark.skipif(BROWSER is None, reason='no browser')
def test_nothing_sticks_out_on_wide_and_narrow_screens(page, tmp_path):
    """In a frame of either width, with everything unfolded, nothing is wider than the frame but what scrolls in its own
    box."""
    frame = tmp_path / 'frame.html'
    frames = ''.join(f'<iframe width="{w}" height="900" src="file://{page}"></iframe>' for w in (1440, 390))
    frame.write_text(f'''<pre id="out"></pre>{frames}<script>
        window.onload = () => {{ out.textContent = [...document.querySelectorAll('iframe')].map(f => {{
            const d = f.contentDocument; d.querySelectorAll('details').forEach(x => x.open = true);
            const e = d.documentElement, bad = [...d.querySelectorAll('body *')].filter(x => !x.closest('.scroll, pre')
                && x.getBoundingClientRect().right > e.clientWidth + 1).map(x => x.tagName);
            return [e.scrollWidth <= e.clientWidth, bad.join(' '), d.images.length].join(',');
        }}).join('|') + '|end'; }};</script>''')
    flags = ['--headless', '--no-sandbox', '--disable-gpu', '--allow-file-access-from-files',
             f'--user-data-dir={tmp_path}/profile', '--dump-dom']
    done = subprocess.run([BROWSER, *flags, f'file://{frame}'], capture_output=True, text=True, timeout=120)
    assert 'true,,6|true,,6|end' in done.stdout, done.stdout[-2000:]
