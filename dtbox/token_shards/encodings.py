"""How the columns of a token shard are encoded: whichever of two ways gives fewer bytes.

A dictionary packs codes into as many bits as the number of different ones needs. Byte-stream split puts first all low
bytes, then all high bytes; it wins where a dictionary would be as large as the codes themselves: large codebooks and
few images. Both are compressed by zstd.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dtbox.token_shards.format import ShardMeta, need_pyarrow

if TYPE_CHECKING:
    import pyarrow

LEVEL = 3
"""Of zstd."""
PAGES = dict(compression='zstd', compression_level=LEVEL, write_page_checksum=True)
SPLIT = 'BYTE_STREAM_SPLIT'


def choose_encodings(table: pyarrow.Table, meta: ShardMeta) -> dict[str, Any]:
    """Return the arguments of `ParquetWriter` for a shard whose first row group is `table`.

    The same rows give the same choice. Columns that are not of codes: a dictionary where few values repeat.
    """
    dictionary, split = ['source_shard', 'status'], {}
    for name in (name for stream in meta.streams for name in stream.columns):
        leaf, column = f'{name}.list.element', table.select([name])
        as_split = _measure(column, use_dictionary=False, column_encoding={leaf: SPLIT})
        if as_split < _measure(column, use_dictionary=True):
            split[leaf] = SPLIT
        else:
            dictionary.append(leaf)
    return dict(PAGES, use_dictionary=dictionary, column_encoding=split or None)


def _measure(table: pyarrow.Table, **encoding: Any) -> int:
    """Return the bytes of a file of one column."""
    pa = need_pyarrow()
    import pyarrow.parquet as pq
    sink = pa.MockOutputStream()
    pq.write_table(table, sink, write_statistics=False, **PAGES, **encoding)
    return sink.size()
