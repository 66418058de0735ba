"""Token shards are plain Parquet: pandas, DuckDB, Hugging Face datasets and Ray read what was written, as the page says
it (dtbox/tokens/README.md)."""
import numpy as np
import pytest

from dtbox.token_shards.cache import TokenCache
from dtbox.token_shards.manifest import write_manifest
from dtbox.tokens.encoder import Settings
from dtbox.tokens.run import write_record
from tests.token_kit import make_codes, make_meta, write_tokens

pytest.importorskip('pyarrow')
NUMBERS = [0, 1, 3, 100, 101, 102, 103]
"""Images with codes; number 2 is broken."""


@pytest.fixture
def tokens(tmp_path):
    """A folder as `dtbox encode` and a training leave it, with record, manifest and cache."""
    folder = write_tokens(tmp_path / 'tokens', size=4, broken=(2,))
    write_record(str(folder), Settings('run'))
    write_manifest(folder)
    TokenCache(folder)
    return folder


def assert_codes(keys, codes):
    """Codes of each image, flat, are those that were written."""
    found = {int(key[1:]): np.asarray(flat).reshape(4, 2) for key, flat in zip(keys, codes, strict=True)}
    assert sorted(found) == NUMBERS
    for number, value in found.items():
        assert np.array_equal(value, make_codes(make_meta(), number)['pixel'])


def test_pandas(tokens):
    pandas = pytest.importorskip('pandas')
    table = pandas.read_parquet(tokens)
    good = table[table.status == 'ok']
    assert_codes(good.key, np.stack(good.codes_pixel))
    assert good.codes_pixel.iloc[0].dtype == np.uint16 and good.texts.iloc[0].tolist()[0].startswith('image ')
    assert table[table.status == 'broken'].error.tolist() == ['cut short']


def test_duckdb(tokens):
    duckdb = pytest.importorskip('duckdb')
    rows = duckdb.sql(f"SELECT key, codes_pixel FROM '{tokens}/*.parquet' WHERE status = 'ok'").fetchall()
    assert_codes(*zip(*rows))
    kinds = dict(duckdb.sql(f"SELECT status, count(*) FROM '{tokens}/*.parquet' GROUP BY status").fetchall())
    assert kinds == dict(ok=7, broken=1)


def test_hugging_face_datasets(tokens, tmp_path, monkeypatch):
    datasets = pytest.importorskip('datasets')
    data = datasets.load_dataset('parquet', data_dir=str(tokens), split='train',
                                 cache_dir=str(tmp_path / 'cache'))
    good = data.filter(lambda row: row['status'] == 'ok')
    assert_codes(good['key'], good['codes_pixel'])
    assert str(data.features['codes_pixel'].feature.dtype) == 'uint16'


@pytest.mark.long
def test_ray(tokens):
    """`read_parquet` takes the folder, and passes over all but *.parquet; the filter runs in Ray."""
    ray = pytest.importorskip('ray')
    from ray import data as ray_data
    ray.init(address='local', num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='ERROR')
    try:
        data = ray_data.read_parquet(str(tokens))  # of a list of files, threads trip over each other without aiohttp
        rows = data.filter(expr="status == 'ok'").take_all()
        assert_codes([row['key'] for row in rows], [row['codes_pixel'] for row in rows])
    finally:
        ray.shutdown()
