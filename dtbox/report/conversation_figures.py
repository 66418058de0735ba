"""What language models drew and said: the sheets that their runs leave, as figures of the report."""
from __future__ import annotations

import os
import shutil

from PIL import Image

from dtbox.report.experiment import Experiment
from dtbox.report.figures import Figure
from dtbox.report.metric_names import make_slugs
from dtbox.runs import RunFolder

SHEETS = {'drawings': 'Held-out prompts: the real image, then drawings; below them the prompt, and what the model '
                      'calls its drawing.',
          'replies': 'Held-out images: the caption, then an answer for each kind of question; wrong ones in red, the '
                     'right ones in brackets.'}
"""Kind of a sheet, which is that of its figure, -> what it shows."""


def copy_sheets(experiment: Experiment, folder: str) -> tuple[list[Figure], list[str]]:
    """Copy the sheets of the first seed of each variant into a folder, pixel by pixel.

    Returns:
        (Figures, sentences on sheets that cannot be shown).
    """
    figures: list[Figure] = []
    troubles: list[str] = []
    for kind, note in SHEETS.items():
        for variant in experiment.variants:
            runs = [RunFolder(trial.folder) for trial in experiment.of(variant).values()]
            paths = [path for run in runs if os.path.isfile(path := getattr(run, kind))]
            if not paths:
                continue
            try:
                with Image.open(paths[0]) as image:
                    image.load()
            except (OSError, ValueError, SyntaxError) as e:
                troubles.append(f'{paths[0]} cannot be shown ({type(e).__name__}: {e}).')
                continue
            name = experiment.name(variant)
            figure = Figure(f'{kind}_{make_slugs(experiment)[variant]}', name, (note,), kind, ('.png',))
            shutil.copyfile(paths[0], figure.paths(folder)[0])
            figures.append(figure)
    return figures, troubles
