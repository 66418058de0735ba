"""Questions without one right answer: LLaVA's question files, MM-Vet, captions of any data set.

LLaVA: Liu et al., arXiv 2304.08485. MM-Vet: Yu et al., arXiv 2308.02490.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from dtbox.counts import format_count
from dtbox.datasets.benchmarks.base import BenchmarkDataset
from dtbox.datasets.benchmarks.files import check_keys, read_json, read_rows
from dtbox.datasets.image_files import ImageFiles, find_data_folder
from dtbox.datasets.twemoji import Twemoji
from dtbox.errors import InputError
from dtbox.questions import Question
from dtbox.registry import DATASETS


@DATASETS.register_module()
class LLaVAQuestions(BenchmarkDataset):
    """A question file of LLaVA: {"question_id", "image", "text"} a line, and "category" where there is one. The text
    is asked as it is where the prompt is '{question}'.

    Args:
        data_root: folder of the file.
        file: of the questions.
        images: folder of the images in `data_root`.
        more: as in `BenchmarkDataset`.

    Raises:
        InputError: no such file, another version of it.
    """
    benchmark = 'llava'

    def __init__(self, data_root: str | None = None, file: str = 'questions.jsonl', images: str = '',
                 **more: Any) -> None:
        super().__init__(**more)
        root = find_data_folder(data_root, 'LLaVAQuestions', 'It holds the file of questions.')
        rows = read_rows(root / file, dict(question_id=(int, str), image=str, text=str))
        self.fill([Question(str(row['question_id']), row['question_id'], row['text'],
                            category=str(row.get('category', '')), image=row['image']) for row in rows],
                  root / file, root / images)


@DATASETS.register_module()
class MMVetQuestions(BenchmarkDataset):
    """MM-Vet: `mm-vet.json`, {"v1_0": {"imagename", "question", ...}}, and `images`.

    Args:
        data_root: folder of the file.
        file, images: of the questions; folder of the images in `data_root`.
        more: as in `BenchmarkDataset`.

    Raises:
        InputError: no such file, another version of it.
    """
    benchmark = 'mmvet'

    def __init__(self, data_root: str | None = None, file: str = 'mm-vet.json', images: str = 'images',
                 **more: Any) -> None:
        super().__init__(**more)
        root = find_data_folder(data_root, 'MMVetQuestions', 'It holds mm-vet.json and the images.')
        rows = read_json(root / file)
        if not isinstance(rows, Mapping):
            raise InputError(f'{root / file} holds a {type(rows).__name__}; expected an object id -> question.', 'file')
        for name, row in rows.items():
            check_keys(row, dict(imagename=str, question=str), f'{root / file}, question {name}')
        self.fill([Question(name, name, row['question'], image=row['imagename']) for name, row in rows.items()],
                  root / file, root / images)


@DATASETS.register_module()
class AskedCaptions(BenchmarkDataset):
    """The images of a data set with captions, which the prompt alone asks for; the right answers are all captions of an
    image.

    Args:
        data: config of a data set of images with texts, such as dict(type='CocoCaptions', data_root=...).
        more: as in `BenchmarkDataset`.

    Raises:
        InputError: a data set without captions.
    """
    benchmark = 'captions'

    def __init__(self, data: Mapping[str, Any], prompt: Any = 'Describe the image.', **more: Any) -> None:
        super().__init__(prompt=prompt, **more)
        self.data = DATASETS.build(dict(data), where='data')
        captions = list_captions(self.data)
        self.index = {key: i for i, (key, _) in enumerate(captions)}
        bare = sum(not some for _, some in captions)
        if bare:
            self.note(f'{format_count(bare, "image", "is")} left out of {type(self.data).__name__}: without a caption')
        self.fill([Question(key, key, '', tuple(some)) for key, some in captions if some],
                  type(self.data).__name__)

    def open_image(self, question: Question) -> Image.Image:
        """Return the image as the data set has it: emoji with their transparency."""
        image: Image.Image = self.data.sample(self.index[question.key], np.random.default_rng(0))['image']
        return image


def list_captions(data: Any) -> list[tuple[str, Sequence[str]]]:
    """Return (key, captions) of each image of a data set.

    Raises:
        InputError: a data set that does not list captions.
    """
    if isinstance(data, ImageFiles) and data.captions is not None:
        return [(data.key(i), data.captions[i]) for i in range(len(data))]
    if isinstance(data, Twemoji):
        return [(emoji.key, emoji.captions[:1]) for _, emoji in data.samples]
    raise InputError(f'`{type(data).__name__}` does not list captions; expected a data set such as CocoCaptions, '
                     'Captions or Twemoji.', 'data')
