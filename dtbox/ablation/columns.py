"""The columns of results.csv beside the axes and the metrics, and what the facts of a trial are."""
from __future__ import annotations

from dtbox.evaluation.info import MetricInfo

FIRST = ('trial', 'folder', 'status', 'reason')
"""Columns that stand before the axes."""
FACTS = {info.name: info for info in (
    MetricInfo('iterations', 'iterations', '', ',.0f'),
    MetricInfo('seconds', 'time', 's', ',.0f', 'lower', 'cost'),
    MetricInfo('peak_mb', 'peak memory', 'MB', ',.0f', 'lower', 'cost'),
    MetricInfo('encode_rate', 'images encoded a second', '', ',.0f', 'higher', 'cost'),
    MetricInfo('decode_rate', 'images decoded a second', '', ',.0f', 'higher', 'cost'),
    MetricInfo('parameters', 'parameters', '', ',.0f'),
    MetricInfo('tokens', 'codes per image', '', ',.0f'),
    MetricInfo('bits', 'bits per image', '', ',.0f'),
    MetricInfo('bits_per_pixel', 'bits per pixel', '', '.3f'),
    MetricInfo('threads', 'threads', '', '.0f'))}
"""Facts of a trial; those before `tokens` differ from seed to seed, or may."""
HASHES = ('config_hash', 'code_hash', 'plugin_hash', 'data_hash')
TAKEN = (*FIRST, 'seed', 'overrides', *FACTS, *HASHES, 'identity', 'protocol', 'tokenizer_hash')
"""Columns that every trial has; an axis cannot have the name of one of them."""
