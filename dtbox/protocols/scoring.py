"""Score answer files of benchmarks without a model."""
from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace

from dtbox import __version__
from dtbox.config import load_config, resolve, take_data_options
from dtbox.config.find import find_config
from dtbox.errors import InputError
from dtbox.evaluation import Results
from dtbox.evaluation.stamps import compute_digest, hash_file
from dtbox.extend import load_plugins
from dtbox.protocols.asking import score_benchmark
from dtbox.protocols.base import Protocol
from dtbox.protocols.replies import BenchmarkReplies
from dtbox.training.build import check_required


def score_answers(answers: str, protocols: Sequence[Protocol], data: str | None, options: dict | None = None,
                  plugins: Sequence[str] = ()) -> Results:
    """Score an answer file by the protocols of a benchmark.

    Args:
        answers: the file, or the folder of MME.
        protocols: of language models; the format is theirs.
        data: config with `val_dataloader` of the questions; their images need not be there.
        options: dict of dotted key -> value for the data config.
        plugins: plugins that bring metrics or datasets.

    Returns:
        Results whose values are called METRIC@PROTOCOL.

    Raises:
        InputError: no data, an option that they do not have, a protocol that measures no replies; see `read_answers`.
    """
    start, date = time.time(), time.strftime('%Y-%m-%d %H:%M:%S')
    load_plugins(plugins)
    if data is None:
        raise InputError('answers are scored beside the questions of their benchmark. Give its data, such as '
                         '--data pope.', '--data')
    wrong = [p.name for p in protocols if not isinstance(p, BenchmarkReplies)]
    if wrong:
        raise InputError(f'the protocol {wrong[0]} does not score replies; take that of the benchmark, such as pope.',
                         '--protocol')
    path, rest = find_config(data, 'data', '--data'), dict(options or {})
    own = take_data_options(path, rest)
    if rest:
        raise InputError(f'neither the protocols nor {path} have the key {next(iter(rest))}.', '--cfg-options')
    cfg = load_config(path, own)
    check_required(cfg, ('val_dataloader',))
    loader = resolve(cfg).val_dataloader
    results = Results.join({p.name: score_benchmark(p, loader, answers) for p in protocols
                            if isinstance(p, BenchmarkReplies)})
    about = dict(answers=str(answers), answers_hash=hash_answers(answers), data=str(data), time=date,
                 seconds=round(time.time() - start, 1), device='no device', dtbox=__version__)
    return replace(results, evaluation=about)


def hash_answers(path: str) -> str:
    """Return the SHA-256 of an answer file, or of the files of a folder and their names, 16 hex digits."""
    if not os.path.isdir(path):
        return hash_file(path)
    return compute_digest({name: hash_file(os.path.join(path, name)) for name in os.listdir(path)
                           if os.path.isfile(os.path.join(path, name))})
