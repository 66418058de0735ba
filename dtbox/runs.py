"""The folder of a run: the names of its files, and how a run takes it for itself.

No other module spells these names (`tests/test_runs.py` holds this). `dtbox/run_formats.py` counts the layouts.
"""
from __future__ import annotations

import contextlib
import glob
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dtbox import __version__
from dtbox.errors import InputError, RenamedError
from dtbox.files import parse_json, require_file, write_atomic
from dtbox.run_formats import FORMAT, Origin, check_format
from dtbox.run_owner import Owned

CHECKPOINT_SUFFIXES = ('.pth', '.pt', '.safetensors')
"""How the names of checkpoint files end."""

_RUNS = 'work_dirs'
_IMAGES, _OLD_IMAGES = 'images', 'pictures'
_HEADER = re.compile(r'(?:Written|Converted) by dtbox (\S+?)[;.]? ')
_PROTOCOLS = re.compile(r'protocols(?:\.(\d+))?\.json')


class RunFolder(Owned):
    """The files of a run: paths, whether they are there or not. Nothing is read or written before a method is called.

    Args:
        path: of the folder, which need not exist.

    Attributes:
        config: the config, bases merged.
        checkpoint: weights, and all else that an exact continuation needs.
        about: version of dtbox and format of the folder (from format 2 on).
        plugins: records of the plugins that the run uses.
        text_tokenizer: the text tokenizer that the run was trained with.
        metrics: scores of the last evaluation.
        samples: scores of single held-out images.
        protocols: scores by named protocols; a second measurement goes to protocols.1.json and so on.
        history: loss terms and learning rates, a JSON object a line.
        codebook_history: use of the codes during training, a JSON object a line.
        conflict_history, conflict: angles between gradients during training, a JSON object a line, and their summary.
        losses_plot, codebooks_plot, codebook_history_plot, conflict_plot: figures.
        reconstructions: held-out images and their reconstructions, as a figure.
        heldout_strip: held-out images above their reconstructions, pixel by pixel.
        drawings, replies: of a multimodal language model, held-out samples as figures.
        nonfinite: folder of the batches whose loss was NaN or infinite.
        running_lock: locked while a run trains in the folder.
        record, console, trial_lock: of a trial of a grid: how it went, what its process printed, and its lock.
        diagnostics: folder for diagnoses of the run.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        self.config = self.file('config.py')
        self.checkpoint = self.file('checkpoint.pth')
        self.about = self.file('run.json')
        self.plugins = self.file('plugins.json')
        self.text_tokenizer = self.file('tokenizer.json')
        self.metrics = self.file('metrics.json')
        self.samples = self.file('samples.npz')
        self.protocols = self.file('protocols.json')
        self.history = self.file('history.jsonl')
        self.codebook_history = self.file('codebooks.jsonl')
        self.conflict_history = self.file('conflict.jsonl')
        self.conflict = self.file('conflict.json')
        self.losses_plot = self.file('losses.png')
        self.codebooks_plot = self.file('codebooks.png')
        self.codebook_history_plot = self.file('codebook_health.png')
        self.conflict_plot = self.file('conflict.png')
        self.reconstructions = self.file('reconstructions.png')
        self.heldout_strip = self.file('heldout.png')
        self.drawings = self.file('drawings.png')
        self.replies = self.file('replies.png')
        self.anchors = self.file('anchors.json')
        self.nonfinite = self.file('nonfinite')
        self.running_lock = self.file('.running')
        self.record = self.file('trial.json')
        self.console = self.file('log.txt')
        self.trial_lock = self.file('.lock')
        self.diagnostics = self.file('diagnostics')

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f'RunFolder({self.path!r})'

    def file(self, name: str) -> str:
        """Return the path of a file or folder in here."""
        return os.path.join(self.path, name)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return os.path.basename(os.path.abspath(self.path))

    @property
    def images(self) -> str:
        """Folder of the images drawn during training; that of format 1 where it has not been renamed."""
        old = self.file(_OLD_IMAGES)
        return old if os.path.isdir(old) and not os.path.isdir(self.file(_IMAGES)) else self.file(_IMAGES)

    def image_sheet(self, iteration: int, kind: str = '') -> str:
        """Return the path of the reconstructions drawn after `iteration` iterations, or of another `kind` of sheet."""
        return os.path.join(self.images, f'{kind}{"_" if kind else ""}iter_{iteration:06d}.png')

    def checkpoint_copy(self, iteration: int) -> str:
        """Return the path of the checkpoint that is kept of `iteration`."""
        return self.file(f'checkpoint_{iteration}.pth')

    def nonfinite_batch(self, iteration: int, rank: int) -> str:
        """Return the path of a rank's batch of `iteration` (from 1) whose loss was NaN or infinite."""
        return os.path.join(self.nonfinite, f'iteration_{iteration:08d}_rank_{rank}.pt')

    def is_run_config(self, path: str | os.PathLike) -> bool:
        """Whether a file is the config of this folder, and a run (or whoever sent it) has written the folder."""
        same = os.path.abspath(path) == os.path.abspath(self.config)
        return same and any(os.path.isfile(file) for file in (self.about, self.checkpoint, self.plugins, self.metrics))

    def has_config(self) -> bool:
        """Return whether the folder holds a config."""
        return os.path.isfile(self.config)

    def has_checkpoint(self) -> bool:
        """Return whether the folder holds a checkpoint."""
        return os.path.isfile(self.checkpoint)

    def list_protocols(self) -> list[str]:
        """Return the paths of all results by protocols, the latest last."""
        numbers = {name: int(match[1] or 0) for name in os.listdir(self.path) if (match := _PROTOCOLS.fullmatch(name))}
        return [self.file(name) for name in sorted(numbers, key=lambda name: numbers[name])]

    def list_consoles(self) -> list[str]:
        """Return the paths of what the run printed or logged, the most telling first: the console of a trial, then
        logs, the latest first."""
        logs = glob.glob(os.path.join(glob.escape(self.path), '*', '*.log'))
        return [path for path in (self.console, *sorted(logs, reverse=True)) if os.path.isfile(path)]

    def read_origin(self) -> Origin:
        """Return who wrote the folder.

        Raises:
            InputError: run.json was not written by dtbox.
        """
        try:
            require_file(self.about)
            with open(self.about, encoding='utf-8') as file:
                about = parse_json(file.read())
            return Origin(int(about['format']), str(about['dtbox']))
        except FileNotFoundError:
            return Origin(1, self._read_version())
        except (OSError, ValueError, TypeError, KeyError) as e:
            raise InputError(f'{self.about} was not written by dtbox, or is cut short ({e}). Expected '
                             f'{{"format": {FORMAT}, "dtbox": "{__version__}"}} with the version that wrote the '
                             'folder.') from e

    def _read_version(self) -> str:
        """Return the version in the first line of config.py, where format 1 has it; '' where it is not told."""
        with contextlib.suppress(OSError, UnicodeDecodeError), open(self.config, encoding='utf-8') as file:
            match = _HEADER.search(file.readline())
            return match[1] if match else ''
        return ''

    def write_origin(self, converted: Mapping[str, Any] | None = None) -> None:
        """Say in run.json that this version of dtbox wrote the folder; what is of an older format takes its new name.

        Args:
            converted: of published weights that were converted, where they come from and under which licences.
        """
        if self.images == self.file(_OLD_IMAGES):
            os.rename(self.images, self.file(_IMAGES))
        write_atomic(self.about, json.dumps(dict(
            format=FORMAT, dtbox=__version__, **({'converted': dict(converted)} if converted else {}))) + '\n')

    def read_converted(self) -> dict[str, Any]:
        """Return what run.json says of converted weights (see `write_origin`); {} where it says nothing."""
        with contextlib.suppress(OSError, ValueError, TypeError), open(self.about, encoding='utf-8') as file:
            about = parse_json(file.read())
            return dict(about['converted']) if isinstance(about, dict) and 'converted' in about else {}
        return {}

    def check_format(self) -> None:
        """Raise `InputError` where this version of dtbox does not read the format of the folder."""
        check_format(f'the run folder {self.path}', self.read_origin())

    def check_places(self) -> None:
        """Raise `InputError` where the folder may not be written to, or a folder, a pipe or a device stands where a run
        writes a file, or a file where it writes a folder: a run would find it out when it saves."""
        folders = (self.path, self.images, self.nonfinite, self.diagnostics)
        for place in (*folders, *(path for path in vars(self).values() if isinstance(path, str))):
            kind = 'folder' if place in folders else 'file'
            right = os.path.isdir(place) if kind == 'folder' else os.path.isfile(place)
            if os.path.exists(place) and not right:
                raise InputError(f'{place} is not a {kind}, and a run writes a {kind} of this name. Rename it or move '
                                 'it away.')
            if kind == 'folder' and right and not os.access(place, os.W_OK | os.X_OK):
                raise InputError(f'the folder {place} may not be written to. Change its mode, or copy the run to '
                                 'another place.')

    @contextlib.contextmanager
    def explain_old_names(self) -> Iterator[RunFolder]:
        """Add to an error about a renamed part within the block which version of dtbox wrote the folder, and what to
        do."""
        try:
            yield self
        except RenamedError as e:
            if not os.path.isfile(self.about) and not self.has_checkpoint():  # a config of its own, not that of a run
                raise
            writer = self.read_origin().tell_writer()
            raise RenamedError(f'{e.message} {writer} wrote the run folder {self.path}: write the new name into '
                               f'{self.config}, or open the folder with that version.', e.where) from e


def choose_run_folder(config: str | None) -> RunFolder:
    """Return the folder of a new run of a config file: work_dirs/NAME for NAME.py or NAME/config.py, and the run folder
    itself for its config."""
    config = os.path.abspath(config or 'run.py')
    run = find_run_of(config)
    return run if run.is_run_config(config) else RunFolder(os.path.join(_RUNS, name_run(config)))


def name_run(config: str) -> str:
    """Return NAME for a config file NAME.py or NAME/config.py."""
    run = find_run_of(os.path.abspath(config))
    file = os.path.basename(config)
    return run.name if file == os.path.basename(run.config) else os.path.splitext(file)[0]


def find_run_of(file: str) -> RunFolder:
    """Return the folder in which a file of a run lies."""
    return RunFolder(os.path.dirname(file) or '.')


def name_samples(metrics: str) -> str | None:
    """Return the path of the scores of single images beside the results at `metrics`: samples.1.npz beside
    metrics.1.json; None where the file has another name."""
    run = find_run_of(metrics)
    stem, suffix = os.path.splitext(os.path.basename(run.metrics))
    match = re.fullmatch(rf'{stem}(\..+)?{suffix}', os.path.basename(metrics))
    if match is None:
        return None
    start, end = os.path.splitext(run.samples)
    return os.path.join(os.path.dirname(metrics), f'{os.path.basename(start)}{match[1] or ""}{end}')
