"""What it takes to tokenize a data set: plans by hand, and the command with rates that are given and measured."""
import csv
import re
from dataclasses import replace

import pytest

from dtbox.errors import InputError
from dtbox.sizing import encoding, encoding_rates
from dtbox.sizing.encoding import Files, Rates, list_limits, plan_job
from dtbox.sizing.encoding_report import format_bytes, format_seconds, make_limit_table, make_plan_table

FILES = Files(image_bytes=1000, row_bytes=100, shard_bytes=50, shard_images=10, footer_seconds=0.001,
              name_seconds=0.002, manifest_bytes=200, most=100)


def test_a_core_does_one_after_the_other():
    rates = Rates(decode=100, model=50, write=100)
    assert rates.worker == pytest.approx(1 / (1 / 100 + 1 / 50 + 1 / 100)) == pytest.approx(25)
    assert rates.bottleneck == 'model'


@pytest.mark.parametrize('model, cores, rate, bottleneck', [
    (1000, 4, 200, 'decode'), (1000, 40, 1000, 'model'), (150, 4, 150, 'model')])
def test_a_gpu_works_beside_its_cores(model, cores, rate, bottleneck):
    """Four cores that decode 60 and write 300 a second give 4 / (1/60 + 1/300) = 200."""
    rates = Rates(60, model, 300, cores)
    assert rates.worker == pytest.approx(rate) and rates.bottleneck == bottleneck


@pytest.mark.parametrize('images, workers, seconds', [
    (10, 1, 10), (25, 1, 25), (25, 2, 15), (40, 2, 20), (45, 2, 25), (41, 4, 11), (5, 8, 5), (100, 3, 40)])
def test_the_last_shards_are_waited_for(images, workers, seconds):
    """Shards of 10 images at one image a second: of 45 images on 2 workers, each does two, and one the last five."""
    plan = plan_job(images, workers, Rates(2, 4, 4), FILES)
    assert plan.seconds == pytest.approx(seconds) and plan.rate == pytest.approx(images / seconds)
    assert plan.busy == min(workers, -(-images // 10)) and plan.lost == min(images, 10)


def test_a_plan_by_hand():
    plan = plan_job(1000, 5, Rates(2, 4, 4), FILES, efficiency=0.5, price=3.0)
    assert (plan.files, plan.bytes, plan.seconds) == (100, 1000 * 100 + 100 * 50, 400)
    assert plan.cost == pytest.approx(5 * 400 / 3600 * 3) and plan.read_rate == 2500 and plan.lost == 20
    assert plan.days == 400 / 86400 and plan_job(1000, 5, Rates(2, 4, 4), FILES).cost is None


def test_what_breaks_first():
    """100 shards in a folder; 60 s / 3 ms = 20,000 footers; 100 MB / 200 bytes; 600 LIST requests of 1,000 names."""
    assert [(limit.name, round(limit.files)) for limit in list_limits(FILES)] == [
        ('one folder of shards', 100), ('start, resume and check', 20000), ('MANIFEST.json', 500000),
        ('object store listings', 600000), ('names of a folder', 10 ** 7)]
    far = replace(FILES, most=10 ** 6, footer_seconds=1e-9, name_seconds=1e-9)
    assert list_limits(far)[0].name == 'MANIFEST.json'
    rows = make_limit_table([10, 1000, 1001, 10 ** 7], FILES)[1:]
    assert [(row[1], row[-1], row[-3]) for row in rows] == [
        ('1', 'nothing', '1'), ('100', 'nothing', '1'), ('101', 'one folder of shards', '2'),
        ('1,000,000', 'one folder of shards', '3')]
    assert rows[3][-2] == '100,000' and rows[0][-2] == '10' and rows[3][4] == '1,000 (1.67 min)'


@pytest.mark.parametrize('files, levels', [(1, 1), (100, 1), (101, 2), (100_000, 2), (100_001, 3)])
def test_levels_of_folders(files, levels):
    assert FILES.levels(files) == levels and encoding.FAN_OUT == 1000


def test_units():
    assert [format_bytes(n) for n in (0, 999, 1000, 999_600, 25.7e6, 3e15, 4e18)] == [
        '0 B', '999 B', '1 kB', '1 MB', '25.7 MB', '3 PB', '4e+03 PB']
    assert [format_seconds(s) for s in (0.5, 90, 7200, 86400 * 2.5, 86400 * 12345)] == [
        '0.5 s', '1.5 min', '2 h', '2.5 days', '12,345 days']


def test_a_table_names_idle_workers():
    rows = make_plan_table([plan_job(25, 8, Rates(2, 4, 4), FILES, price=1.0)], gpu=True, priced=True)
    assert rows[0][1] == 'GPUs' and rows[1][1] == '8 (3 busy)' and rows[0][-1] == 'cost'


@pytest.mark.parametrize('words, says', [
    (dict(images=0), '--images: 0 came'), (dict(workers=0), '--workers: 0 came'),
    (dict(efficiency=1.5), '--efficiency: 1.5 came'), (dict(price=-1.0), '--cost-per-hour: -1 came')])
def test_bad_plans(words, says):
    with pytest.raises(InputError, match=says):
        plan_job(**{**dict(images=10, workers=1, rates=Rates(1, 1, 1), files=FILES), **words})


def test_bad_rates_and_files():
    with pytest.raises(InputError, match='the rates are 0, 1 and 1 images a second'):
        Rates(0, 1, 1)
    with pytest.raises(InputError, match='--cores-per-gpu: a GPU has -1 cores'):
        Rates(1, 1, 1, -1)
    with pytest.raises(InputError, match='--shard-images: 0 came'):
        replace(FILES, shard_images=0)


def test_the_command_with_given_rates(tiny_config, tmp_path, command):
    """No rate is measured; sizes of files are."""
    pytest.importorskip('pyarrow')
    given = ['--decode-rate', 100, '--model-rate', 50, '--write-rate', 100, '--image-bytes', 1e5, '--efficiency', 1]
    code, out, err = command('scale', tiny_config, '--encode', '--images', '1e6', '2000000', '--workers', 10, *given,
                             '--cost-per-hour', 2, '--shard-images', 1000, '--out', tmp_path / 'plan')
    assert code == 0, err
    assert 'model 50 (given)' in out and 'Decoded: none, 100 kB a file' in out
    with open(tmp_path / 'plan' / 'encode.csv', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [row['images'] for row in rows] == ['1000000', '2000000']
    assert float(rows[0]['seconds']) == pytest.approx(4000)
    assert float(rows[0]['cost']) == pytest.approx(10 * 4000 / 3600 * 2, rel=1e-5)
    assert int(rows[0]['files']) == 1000 and float(rows[0]['read_bytes_per_s']) == pytest.approx(250 * 1e5)
    bits = 16 * 2 * 6 * 2  # 16 tokens x 2 depths x 6 bits, two streams
    assert int(rows[0]['bytes']) > 1e6 * bits / 8
    page = (tmp_path / 'plan' / 'encode.md').read_text()
    assert page.startswith('# Tokenize a data set with recipe') and page.count('\n| --- |') == 2


def test_the_command_measures(tiny_run, tiny_config, tmp_path, command):
    """Of a run, on a folder of images; each rate is said to be measured."""
    pytest.importorskip('pyarrow')
    photos = tiny_config.parent / 'photos' / 'train'
    code, out, err = command('scale', tiny_run, '--encode', '--seconds', 0.05, '--source', photos, '--embedding',
                             '--workers', 1, '--images', 100)
    assert code == 0, err
    assert out.count('(measured here)') == 3 and f'Decoded: 16 images of {photos}' in out


def test_measured_sizes(tiny_run, tmp_path):
    """A shard of random codes takes the bytes that are measured for a row and for a shard."""
    pytest.importorskip('pyarrow')
    import dtbox
    from dtbox.token_shards.writing import write_shard
    measured = encoding_rates.measure(dtbox.load(tiny_run), None, ['decode', 'model'], seconds=0.01)
    assert measured.decode is None and measured.model is None and measured.image_bytes is None and measured.write > 0
    meta = encoding_rates.describe_shards(dtbox.load(tiny_run))
    path = write_shard(tmp_path, 'a', encoding_rates.make_rows(meta, 500), meta)
    assert path.stat().st_size == pytest.approx(measured.shard_bytes + 500 * measured.row_bytes, rel=0.1)


@pytest.mark.parametrize('words, says', [
    (['--images', '1e6'], '--images: this option belongs to --encode'),
    (['--encode', '--gpus', '8'], '--gpus: this option plans training'),
    (['--encode', '--images', 'many'], '--images: many came; expected a whole number of at least 1, such as 1e6'),
    (['--encode', '--images', '1.5'], '--images: 1.5 came'),
    (['--encode', '--decode-rate', '-1'], 'the rates are -1, 1 and 1'),
    (['--encode', '--decode-rate', '1', '--source', '.'], '--source: --decode-rate is given'),
    (['--encode', '--source', 'EMPTY'], 'holds no images'),
    (['--encode', '--device', 'nonsense'], 'nonsense')])
def test_one_sentence(tiny_config, tmp_path, command, words, says):
    pytest.importorskip('pyarrow')
    code, _, err = command('scale', tiny_config, *(str(tmp_path) if word == 'EMPTY' else word for word in words))
    assert code == 2 and re.search(says, err) and len(err.splitlines()) == 1, err
