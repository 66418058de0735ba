"""Video: the frames of files and of folders, one after the other."""
from __future__ import annotations

import logging
import os
import re
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import print_log
from PIL import Image

from dtbox.counts import format_count
from dtbox.datasets.base import BrokenSample, PairDataset
from dtbox.datasets.folder_listing import SUFFIXES
from dtbox.datasets.left_out import describe_suffixes, get_suffix, name_some
from dtbox.datasets.read import read_image
from dtbox.errors import InputError
from dtbox.registry import DATASETS

FILES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')
OPEN = 4
"""Videos that a process keeps open."""


@DATASETS.register_module()
class Video(PairDataset):
    """Frames of videos in their order; PIL RGB of their own size. Keys are CLIP/FRAME, such as `walk.mp4/000012`.

    Files are read by mmcv's VideoReader (OpenCV). A folder that holds images is a clip, its frames in the order of
    their names; numbers that are missing among these are missing among those of the keys.

    Args:
        data_root: a video file, a folder of frames, or a folder of such files and folders.
        pipeline, seed, broken: as in `PairDataset`; broken are frames that cannot be decoded.
        split: name of the held-out part.
        set: name of the set in the results; None takes the split's.
        stride: take every so many frames.
        limit: take at most so many frames of a clip; None for all.

    Raises:
        InputError: no videos there, or one that cannot be opened (with broken='skip' those are left out and named in
            `flaws`).
    """
    has_texts = False

    def __init__(self, data_root: str | Path | None = None, pipeline: Sequence = (), seed: int = 0,
                 broken: str = 'error', split: str = 'heldout', set: str | None = None, stride: int = 1,
                 limit: int | None = None):
        super().__init__(pipeline, seed, broken)
        for name, value in (('stride', stride), ('limit', limit)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f'`{name}` is {value!r}; expected an int >= 1.', name)
        if not data_root or not isinstance(data_root, (str, os.PathLike)):
            raise InputError('Video needs `data_root`: a video file, a folder of frames, or a folder of those; got '
                             f'{data_root!r}.', 'data_root')
        root = Path(data_root).expanduser()
        if not root.exists():
            raise InputError(f'data_root {root} does not exist.', 'data_root')
        self.split = split
        self.part = set or split
        self.stride = stride
        self._readers = OrderedDict()
        self.clips, self.ends = [], []
        for path in self._find_clips(root):
            try:
                frames = _frames(path)
            except InputError as e:
                if broken == 'error':
                    raise
                self.flaws.append(str(e))
                print_log(f'Video {self.part}: {e}', 'current', level=logging.WARNING)
                continue
            count = len(range(0, len(frames), stride))
            count = count if limit is None else min(count, limit)
            self.clips.append((path.name, path, frames))
            self.ends.append((self.ends[-1] if self.ends else 0) + count)
        if not self.clips:
            why = self.flaws[0] if self.flaws else f'videos end in {", ".join(FILES)}, frames are images.'
            raise InputError(f'{root} holds no video that can be read: {why}', 'data_root')
        self.size = self.ends[-1]
        self.places = {}
        for clip, (name, path, frames) in enumerate(self.clips):
            if isinstance(frames, list) and (lost := find_lost(places := number_frames(frames))):
                self.places[clip] = places
                self.note(f'{name}: {format_count(lost, "frame", "is")} missing from the numbers of its files; frames '
                          'on both sides of such a gap are not neighbours')

    def _find_clips(self, root):
        """Return the files and folders that are clips, and note what else is there."""
        if root.is_file():
            if root.suffix.lower() in SUFFIXES:
                raise InputError(f'data_root {root} is an image, not a video. Give the folder of the frames, or a '
                                 f'video file ({", ".join(FILES)}).', 'data_root')
            return [root]
        clips = [root]
        others = Counter()
        if not _images(root):
            inside = sorted(p for p in root.iterdir() if not p.name.startswith('.'))
            clips = [p for p in inside if p.is_file() and p.suffix.lower() in FILES or p.is_dir() and _images(p)]
            folders = [p.name for p in inside if p.is_dir() and p not in clips]
            if folders:
                self.note(f'{format_count(len(folders), "folder", "is")} left out: no images lie there, of which a '
                          f'clip is made: {name_some(folders)}')
            others.update(get_suffix(p.name) for p in inside if p.is_file() and p not in clips)
        for folder in (p for p in clips if p.is_dir()):
            beside = [p for p in folder.iterdir() if not p.name.startswith('.')]
            others.update('folder' if p.is_dir() else get_suffix(p.name) for p in beside
                          if p.is_dir() or p.suffix.lower() not in SUFFIXES)
        if inner := others.pop('folder', 0):
            self.note(f'{format_count(inner, "folder", "is")} left out within clips: the images beside are the frames')
        self.note(*describe_suffixes(others, f'videos ({", ".join(FILES)}) and frames'))
        return clips

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """Return the frame at `index` as in `PairDataset.sample`."""
        if not 0 <= index < self.size:
            raise IndexError(f'frame {index} of {self.size}')
        clip = bisect_right(self.ends, index)
        name, path, frames = self.clips[clip]
        number = (index - (self.ends[clip - 1] if clip else 0)) * self.stride
        place = self.places[clip][number] if clip in self.places else number
        key = f'{name}/{place:06d}'
        try:
            image = read_image(frames[number]) if isinstance(frames, list) else self._decode(clip, path, number)
        except InputError as e:
            raise BrokenSample(key, str(e)) from e
        return dict(image=image, text='', label=-1, key=key, set=self.part)

    def _decode(self, clip, path, number):
        if clip not in self._readers:
            self._readers[clip] = _open(path)
            if len(self._readers) > OPEN:
                self._readers.popitem(last=False)
        frame = self._readers[clip].get_frame(number)
        if frame is None:
            raise InputError(f'frame {number} of the video {path} cannot be decoded: broken or truncated.')
        return Image.fromarray(frame[..., ::-1])  # OpenCV reads BGR

    def rate(self, name: str) -> float | None:
        """Return the frames a second of a clip as it is read here; None for folders of frames, which do not say."""
        _, path, frames = next(clip for clip in self.clips if clip[0] == name)
        return None if isinstance(frames, list) else _open(path).fps / self.stride

    def contents(self) -> Iterator[str]:
        """Yield names and lengths of the clips."""
        yield from (f'{name} {end}' for (name, _, _), end in zip(self.clips, self.ends))

    def __getstate__(self):
        """For workers: open videos stay here."""
        return dict(self.__dict__, _readers=OrderedDict())


def _images(folder):
    return sorted(str(p) for p in folder.iterdir() if p.suffix.lower() in SUFFIXES
                  and not p.name.startswith('.')) if folder.is_dir() else []


def _frames(path):
    """Return a list of image files, or a range for a video file."""
    if path.is_dir():
        return _images(path)
    return range(_open(path).frame_cnt)


def number_frames(paths: Sequence[str]) -> list[int]:
    """Return the number of each frame of a clip, from 0: by the numbers at the end of the files' names, in steps of the
    most frequent one, where they tell; otherwise one after the other."""
    digits = [re.search(r'(\d+)$', os.path.splitext(path)[0]) for path in paths]
    numbers = [int(found[1]) for found in digits if found]
    steps = Counter(after - before for before, after in zip(numbers, numbers[1:]))
    step = steps.most_common(1)[0][0] if steps else 0
    if len(numbers) != len(paths) or step < 1 or any(one < step or one % step for one in steps):
        return list(range(len(paths)))
    return [(number - numbers[0]) // step for number in numbers]


def find_lost(places: Sequence[int]) -> int:
    """Return how many frames are missing between the first and the last."""
    return places[-1] + 1 - len(places) if places else 0


def _open(path):
    import mmcv
    reader = mmcv.VideoReader(str(path))
    why = 'no video, cut short, or of a codec that OpenCV does not know here'
    if reader.opened and reader.frame_cnt > 0 and reader.get_frame(0) is not None:
        return reader
    if reader.opened and reader.frame_cnt < 1:
        why = 'it tells of no frames, so it is empty, cut short or no video'
    raise InputError(f'the video {path} cannot be decoded: {why}. Re-encode it (ffmpeg -i IN -c:v libx264 OUT.mp4), or '
                     'give a folder of frames.')
