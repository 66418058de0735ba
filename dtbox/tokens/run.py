"""Encode a data set into a folder of token shards: what `dtbox encode` runs."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Optional

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.files import LEFTOVER, check_name, explain_writing, parse_json, remove_leftovers, write_atomic
from dtbox.token_shards.format import need_pyarrow, shard_name
from dtbox.token_shards.manifest import ABOUT, MANIFEST, write_manifest
from dtbox.token_shards.reading import list_shards
from dtbox.tokens.encoder import Encoder, Settings
from dtbox.tokens.engines import make_engine
from dtbox.tokens.engines.messages import Start
from dtbox.tokens.plan import Plan, make_plan
from dtbox.tokens.progress import Progress
from dtbox.tokens.schedule import Limits, Schedule
from dtbox.tokens.sources import Source

RECORD = f'{ABOUT}/encode.json'
"""File of a folder that says how it was encoded: for whoever decodes it or adds to it, never the truth about codes."""
COPY = {'s3': 'aws s3 sync {folder} {url}', 'gs': 'gcloud storage rsync -r {folder} {url}',
        'hf': 'hf upload-large-folder {rest} {folder} --repo-type dataset',
        'az': 'azcopy copy "{folder}/*" {url}', 'abfs': 'azcopy copy "{folder}/*" {url}'}
"""Object store -> the command that copies a folder there."""


@dataclass(frozen=True)
class Work:
    """Who encodes.

    Attributes:
        engine, workers, address: see `make_engine`.
        part: (i, n), see `make_plan`.
        append: see `make_plan`.
        limits: Limits.
    """
    engine: str = 'local'
    workers: Optional[int] = None
    address: Optional[str] = None
    part: tuple[int, int] = (0, 1)
    append: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Result:
    """What a start has done.

    Attributes:
        plan: Plan.
        progress: with the sums over the input shards that were encoded.
        failed: name of an input shard -> why it is not done.
    """
    plan: Plan
    progress: Progress
    failed: Mapping[str, str]

    def tell(self, out: str) -> list[str]:
        """Return what has become of it, as lines."""
        done = self.progress
        rows = f'{format_count(done.rows, "row")} of codes in {format_count(done.shards, "file")} of {out}'
        broken = f'; {format_count(done.broken, "image", "is")} broken' if done.broken else ''
        lines = [f'{format_count(done.images_done, "image")}, {rows}{broken}; {done.rate():,.1f} images/s']
        if self.failed:
            count = format_count(len(self.failed), 'input shard', 'is')
            lines.append(f'failed: {count} not done. Mend what is named above; the same command does them.')
        return lines


def encode(source: Source, out: str, settings: Settings, work: Work, console: Any = None) -> Result:
    """Encode a data set; what is done already stays as it is.

    Args:
        source: data set.
        out: folder of the files, new or of the same fingerprint.
        settings: how images are encoded.
        work: who encodes.
        console: see Progress.

    Raises:
        InputError: see `Encoder`, `make_plan`, `make_engine` and `Schedule.run`; a folder that cannot be written to.
    """
    check_out(out)
    need_pyarrow()
    encoder = Encoder(settings, compute=False)
    with explain_writing(out):
        os.makedirs(out, exist_ok=True)
        _sweep(out, work)
    plan = make_plan(source, out, encoder.fingerprint, work.append, work.part)
    places = dict(run=_make_absolute(settings.run), checkpoint=_make_absolute(settings.checkpoint))
    start = Start(replace(settings, **places), os.path.abspath(out), encoder.fingerprint.digest)
    write_record(out, start.settings)
    fingerprint = encoder.fingerprint
    del encoder  # workers open their own
    with Progress(len(plan.todo), console) as progress:
        for sentence in source.notes:
            progress.say(sentence)
        progress.say(_describe(plan))
        failed: Mapping[str, str] = {}
        if plan.todo:
            engine = make_engine(work.engine, start, work.workers, work.address)
            try:
                if engine.remark:
                    progress.say(engine.remark)
                schedule = Schedule(engine, work.limits, progress)
                failed = schedule.failed
                schedule.run(plan.todo)
            finally:
                engine.close()
                _sweep(out, work)
    whole = all(os.path.isfile(os.path.join(out, shard_name(shard.name, fingerprint))) for shard in plan.shards)
    if (whole or not plan.elsewhere) and (plan.todo or not os.path.isfile(os.path.join(out, MANIFEST))):
        write_manifest(out)  # of many tasks the last one does it
    return Result(plan, progress, failed)


def _sweep(out: str, work: Work) -> None:
    """Remove what killed workers have left, unless there may be other tasks that this machine does not see."""
    if work.part[1] == 1 and os.path.isdir(out):
        remove_leftovers(out, LEFTOVER)


def _describe(plan: Plan) -> str:
    parts = [f'{format_count(len(plan.todo), "input shard")} to encode', f'{plan.done:,} done before']
    return ', '.join(parts + ([f'{plan.elsewhere:,} left to other tasks'] if plan.elsewhere else []))


def _make_absolute(path: Any) -> Any:
    return os.path.abspath(path) if path and os.path.exists(path) else path


def check_out(out: str) -> None:
    """Raise `InputError` unless token shards can be written to a place: a folder of this machine, new or with token
    shards."""
    scheme, colon, rest = out.partition('://')
    if colon:
        folder = os.path.basename(out.rstrip('/')) or 'tokens'
        command = COPY.get(scheme, 'rclone copy {folder} {url}').format(
            folder=folder, url=out, rest=rest.removeprefix('datasets/'))
        raise InputError(f'{out} is an object store, which cannot rename a file that is whole into its place. Encode '
                         f'into a folder, and copy that when it is finished: {command}', 'OUT')
    check_name(out)
    if os.path.exists(out) and not os.path.isdir(out):
        raise InputError(f'{out} is a file; expected a folder for the token shards.', 'OUT')
    if os.path.isdir(out):
        names = [name for name in os.listdir(out) if not name.startswith('.')]
        if names and not list_shards(out):
            raise InputError(f'{out} holds other files, such as {sorted(names)[0]}, and no token shards. Give a new '
                             'folder.', 'OUT')


def write_record(out: str, settings: Settings) -> None:
    """Write `RECORD` into a folder, unless it is there as it is to be."""
    values = {name: value for name, value in asdict(settings).items() if name not in ('trusted', 'decoders')}
    text = json.dumps(values, indent=1, sort_keys=True) + '\n'
    path = os.path.join(out, RECORD)
    with explain_writing(path):
        if not os.path.isfile(path) or open(path, encoding='utf-8').read() != text:
            write_atomic(path, text)


def read_record(out: str) -> dict[str, Any]:
    """Return what `RECORD` of a folder says, {} where there is none that can be read."""
    try:
        with open(os.path.join(out, RECORD), encoding='utf-8') as file:
            record = parse_json(file.read())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
