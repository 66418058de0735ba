"""Records of finished trials in one file: a grid continues from them where its folders are gone."""
import csv
import os
import shutil
import zipfile

import numpy as np
import pytest

from dtbox.ablation import GridFolder, read_grid, run_grid
from dtbox.ablation.records import pack_records, unpack_records
from dtbox.errors import InputError
from tools.ablate import main


@pytest.fixture
def grid(write_grid):
    return read_grid(write_grid())


@pytest.fixture
def packed(grid, tmp_path, instant):
    """(file of records of the trials of seed 0, folder that they come from); one trial has scores of single images,
    and one has failed."""
    instant(outcome={'2__narrow__seed0': 'failed'})
    out = str(tmp_path / 'out')
    run_grid(grid, out, only='*seed0')
    np.savez(os.path.join(out, 'trials', '1__wide__seed0', 'samples.npz'), x=np.arange(3))
    with open(os.path.join(out, 'trials', '1__wide__seed0', 'checkpoint.pth'), 'w') as f:
        f.write('weights')
    assert pack_records(grid, out, str(tmp_path / 'records.zip')) == 3
    return str(tmp_path / 'records.zip'), out


def read_table(folder):
    with open(os.path.join(folder, 'results.csv'), newline='') as f:
        return {row['trial']: row for row in csv.DictReader(f)}


def test_a_grid_continues_from_records(grid, packed, instant):
    """The folder is gone: results come back as they were, no weights, and what has none runs."""
    records, out = packed
    before = read_table(out)
    samples = open(os.path.join(out, 'trials', '1__wide__seed0', 'samples.npz'), 'rb').read()
    shutil.rmtree(out)
    assert unpack_records(records, 'small', out) == 3
    engine = instant()
    _, rows = run_grid(grid, out, resume=True, only='*seed0')
    assert engine.started == ['2__narrow__seed0'] and sum(row['status'] == 'done' for row in rows) == 4
    after = read_table(out)
    assert [after[name] for name in sorted(before)[:3]] == [before[name] for name in sorted(before)[:3]]
    assert sorted(os.listdir(os.path.join(out, 'trials', '1__wide__seed0'))) == [
        'metrics.json', 'samples.npz', 'trial.json']
    assert open(os.path.join(out, 'trials', '1__wide__seed0', 'samples.npz'), 'rb').read() == samples


def test_what_is_there_stays(grid, packed, instant):
    """A trial with a folder, finished or not, is not touched; other records are added to a grid that has begun."""
    records, out = packed
    shutil.rmtree(os.path.join(out, 'trials', '1__wide__seed0'))
    record = GridFolder(out).file('trials/2__wide__seed0/trial.json')
    with open(record, 'a') as f:
        f.write(' ')
    about = open(GridFolder(out).file('grid.json')).read()
    assert unpack_records(records, 'small', out) == 1
    assert open(record).read().endswith(' ') and open(GridFolder(out).file('grid.json')).read() == about
    assert unpack_records(records, 'small', out) == 0


def test_records_name_no_place(packed, grid, tmp_path):
    """The same trials are the same bytes, and nothing in them says where the grid was run."""
    records, out = packed
    with zipfile.ZipFile(records) as archive:
        text = b''.join(archive.read(name) for name in archive.namelist() if name.endswith('.json'))
    assert str(tmp_path).encode() not in text.replace(os.path.realpath(grid.trials[0].base).encode(), b'')
    pack_records(grid, out, str(tmp_path / 'again.zip'))
    assert open(records, 'rb').read() == (tmp_path / 'again.zip').read_bytes()


@pytest.mark.parametrize('member, says', [
    ('../trials/x/trial.json', 'holds ../trials/x/trial.json'), ('trials/../x/trial.json', r'holds trials/\.\./x'),
    ('trials/x/config.py', 'holds trials/x/config.py'), (None, 'has no grid.json'), ('', 'cannot be read'),
    ('grid.json', 'grid.json in .* cannot be read')])
def test_files_that_are_no_records(packed, tmp_path, member, says):
    """Nothing is written beside the folder of the grid, nor into it."""
    records, _ = packed
    if member == '':
        (tmp_path / 'records.zip').write_bytes(b'PK no archive')
    else:
        with zipfile.ZipFile(records, 'w') as archive:
            archive.writestr(member or 'trials/x/trial.json', '[]')
    with pytest.raises(InputError, match=f'--records: .*{says}'):
        unpack_records(records, 'small', str(tmp_path / 'new'))
    assert not os.path.exists(tmp_path / 'new')


def test_the_command_line(grid, packed, write_grid, tmp_path, capsys, instant):
    records, out = packed
    engine = instant()
    work = str(tmp_path / 'new')
    words = [grid.path, '--work-dir', work, '--resume', '--no-report', '--only', '1__*seed0', '--records', records]
    main(words)
    assert not engine.started
    assert '3 finished trials added from' in capsys.readouterr().out
    for more, says in ((['--dry-run'], 'it goes with --resume'), (['--pack', 'x'], 'it goes with --resume')):
        with pytest.raises(SystemExit):
            main([*words, *more])
        assert says in capsys.readouterr().err
    other = write_grid(name='other.py')
    with pytest.raises(SystemExit):
        main([other, '--work-dir', work, '--resume', '--records', records])
    assert 'holds records of the grid small; expected those of other' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([grid.path, '--work-dir', str(tmp_path / 'none'), '--pack', str(tmp_path / 'x.zip')])
    assert 'holds no finished trial of the grid small' in capsys.readouterr().err
