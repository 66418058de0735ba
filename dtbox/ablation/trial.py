"""What the process of one trial runs: python -m dtbox.ablation.trial FOLDER

The folder holds config.py and trial.json. A trial that was cut short goes on from its last checkpoint. What came of it is in trial.json:
`status` done, failed or diverged, `reason`, and the facts of its row.
"""
import time

BEGUN = time.time()

import ctypes  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402

from dtbox.ablation.locks import Locked  # noqa: E402
from dtbox.files import write_atomic  # noqa: E402

RECORD = 'trial.json'


class Stale(RuntimeError):
    """Code, data or plugins have changed since the grid was started."""


def read_record(folder):
    """Return trial.json of a trial's folder as a dict; {} where there is none, or none that is whole."""
    try:
        with open(os.path.join(folder, RECORD), encoding='utf-8') as f:
            return json.load(f)
    except (OSError, ValueError):
        return {}


def write_record(folder, record):
    """Write trial.json in one step."""
    write_atomic(os.path.join(folder, RECORD), json.dumps(record, indent=1) + '\n')


def die_with_parent():
    """On Linux, let the kernel kill this process when the one that started it dies, so that a killed grid leaves nothing running."""
    if sys.platform == 'linux':
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died before the call
            os._exit(137)


def run(folder, record):
    """Train and evaluate; returns the facts of the row. Raises whatever goes wrong."""
    from dtbox.ablation.facts import peak_megabytes, tokenizer_facts
    from dtbox.ablation.identity import PARTS, code_hash, config_hash, data_hash, identity, plugin_hash
    from dtbox.config import load_config
    from dtbox.training.runner import Runner
    cfg = load_config(os.path.join(folder, 'config.py'))
    hashes = dict(config_hash=config_hash(cfg), code_hash=code_hash(), plugin_hash=plugin_hash(cfg))
    runner = Runner.from_config(cfg, work_dir=folder, resume=True)
    hashes['data_hash'] = data_hash(cfg, runner.train_dataloader.dataset, runner.val_parts['val'] and runner.val_parts['val'].dataset)
    for part in PARTS:
        if hashes[part] != record['hashes'][part]:
            raise Stale(f'the {part.replace("_", " ")} is {hashes[part]}, but was {record["hashes"][part]} when the grid was started')
    runner.train()
    return dict(iterations=runner.iter_done, **tokenizer_facts(runner.core.tokenizer), identity=identity(hashes),
                peak_mb=peak_megabytes(), seconds=round(record.get('seconds_before', 0) + time.time() - BEGUN, 2))


def main(folder):
    """Run the trial of a folder; returns the exit code: 0 done, 1 failed or diverged."""
    die_with_parent()
    from dtbox.errors import Diverged, InputError
    with Locked(os.path.join(folder, '.lock'), 'this trial'):
        record = read_record(folder)
        try:
            record.update(run(folder, record), status='done', reason='')
        except Diverged as e:
            record.update(status='diverged', reason=str(e))
        except Stale as e:
            record.update(status='failed', reason=str(e), stale=True)
        except InputError as e:
            record.update(status='failed', reason=str(e))
        except Exception as e:
            traceback.print_exc()
            record.update(status='failed', reason=f'{type(e).__name__}: {e}')
        record.setdefault('seconds', round(record.get('seconds_before', 0) + time.time() - BEGUN, 2))
        if record['status'] != 'done':
            print(f'{record["status"]}: {record["reason"]}', file=sys.stderr)
        write_record(folder, record)
    return int(record['status'] != 'done')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
