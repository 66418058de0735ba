"""What the process of one trial runs: python -m dtbox.ablation.trial FOLDER [PID of the grid]

The folder holds config.py and trial.json. A trial that was cut short resumes from its last checkpoint. What came of it
is in trial.json: `status` done, failed or diverged, `reason`, and the facts of its row.
"""
from __future__ import annotations

import time

BEGUN = time.monotonic()

import contextlib  # noqa: E402
import functools  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402

from dtbox.files import is_disk_full, parse_json, require_file, write_atomic  # noqa: E402
from dtbox.locks import Locked  # noqa: E402
from dtbox.processes import end_with_parent  # noqa: E402
from dtbox.runs import RunFolder  # noqa: E402

HASHES = ('config_hash', 'code_hash', 'plugin_hash', 'data_hash')
"""What `hashes` of a record holds."""
NO_ROOM = 74
"""Exit code of a trial whose disk is full: its record says nothing, and it can resume from its last checkpoint."""


class Stale(RuntimeError):
    """Code, data or plugins have changed since the grid was started."""


def read_record(folder: str) -> dict:
    """Return trial.json of a trial's folder as a dict; {} where there is none, or none that is whole, which is said."""
    path = RunFolder(folder).record
    try:
        require_file(path)
        with open(path, encoding='utf-8') as f:
            record = parse_json(f.read())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        _warn_of_record(path, f'{type(e).__name__}: {e}')
        return {}
    hashes = record.get('hashes') if isinstance(record, dict) else None
    if not isinstance(hashes, dict) or not {'status', *HASHES} <= {*record, *hashes} or not isinstance(
            record.get('reason', ''), str):
        _warn_of_record(path, 'it is not what a grid writes')
        return {}
    return record


@functools.lru_cache(maxsize=None)
def _warn_of_record(path: str, why: str) -> None:
    from mmengine.logging import print_log
    print_log(f'{path} cannot be read ({why}); its trial counts as not done, and a grid runs it again beside what is '
              'there.', 'current', level=logging.WARNING)


def write_record(folder: str, record: dict) -> None:
    """Write trial.json in one step."""
    write_atomic(RunFolder(folder).record, json.dumps(record, indent=1) + '\n')


def run(folder: str, record: dict) -> dict:
    """Train and evaluate; returns the facts of the row. Raises whatever goes wrong."""
    from dtbox.ablation.facts import compute_model_facts, measure_peak_megabytes
    from dtbox.ablation.identity import PARTS, compute_identity, hash_code, hash_config, hash_data, hash_plugins
    from dtbox.config import load_config
    from dtbox.training.runner import Runner
    from dtbox.trust import trust_remote_code
    with trust_remote_code():  # the grid itself has written this folder
        cfg = load_config(RunFolder(folder).config)
    hashes = dict(config_hash=hash_config(cfg), code_hash=hash_code(), plugin_hash=hash_plugins(cfg))
    runner = Runner.from_config(cfg, work_dir=folder, resume=True)
    hashes['data_hash'] = hash_data(cfg, runner.train_dataloader.dataset, runner.val_parts['val']
                                    and runner.val_parts['val'].dataset)
    for part in PARTS:
        if hashes[part] != record['hashes'][part]:
            raise Stale(f'the {part.replace("_", " ")} is {hashes[part]}, but was {record["hashes"][part]} when the '
                        'grid was started')
    runner.train()
    return dict(iterations=runner.iter_done, **compute_model_facts(runner.task),
                identity=compute_identity(hashes), peak_mb=measure_peak_megabytes())


def run_attempt(folder: str) -> dict:
    """Run a trial; returns its record with what came of it. Raises nothing but what keeps a record from being
    written."""
    from dtbox.errors import Diverged, InputError
    record = read_record(folder)
    try:
        record.update(run(folder, record), status='done', reason='')
    except Diverged as e:
        record.update(status='diverged', reason=str(e))
    except Stale as e:
        record.update(status='failed', reason=str(e), stale=True)
    except Exception as e:
        if is_disk_full(e):
            raise
        if not isinstance(e, InputError):
            traceback.print_exc()
        record.update(status='failed', reason=str(e) if isinstance(e, InputError) else f'{type(e).__name__}: {e}')
    record['seconds'] = round(record.get('seconds_before', 0) + time.monotonic() - BEGUN, 2)
    return record


def main(folder: str, parent: int | None = None) -> int:
    """Run the trial of a folder; returns the exit code: 0 done, 1 failed or diverged, NO_ROOM where the disk is
    full."""
    end_with_parent(parent)
    try:
        with Locked(RunFolder(folder).trial_lock, 'this trial'):
            record = run_attempt(folder)
            write_record(folder, record)
    except Exception as e:
        if not is_disk_full(e):
            raise
        with contextlib.suppress(OSError):
            traceback.print_exc()
        return NO_ROOM
    if record['status'] != 'done':
        print(f'{record["status"]}: {record["reason"]}', file=sys.stderr)
    return int(record['status'] != 'done')


if __name__ == '__main__':
    code = main(sys.argv[1], *map(int, sys.argv[2:3]))
    if code == NO_ROOM:
        os._exit(code)  # what is left in the streams cannot be written either, which would make it another code
    sys.exit(code)
