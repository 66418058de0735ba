"""The parts of the GPU check: what each asks, how long it may take, what it needs. Importing this module imports no
torch."""
from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dtbox.errors import InputError, closest

LIMIT = 480.0
"""Seconds of all parts together."""
DETERMINISTIC = {'CUBLAS_WORKSPACE_CONFIG': ':4096:8'}
"""What deterministic products of cuBLAS need before the first one."""


@dataclass(frozen=True)
class Part:
    """A part of the check.

    Attributes:
        name: as a user gives it.
        question: that it answers, for the list.
        place: MODULE:FUNCTION; a module without a dot is one of `dtbox.diagnostics.gpu`. The function takes (Settings,
            Report).
        seconds: after which it is ended.
        gigabytes: of GPU memory that it needs at full size.
        packages: modules that it needs beyond those of dtbox.
        variables: of the environment that it needs in a process of its own.
    """
    name: str
    question: str
    place: str
    seconds: float
    gigabytes: float = 1.0
    packages: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    def find_function(self) -> Callable:
        """Return the function, its module imported."""
        module, _, name = self.place.partition(':')
        package = '' if '.' in module else 'dtbox.diagnostics.gpu.'
        return getattr(importlib.import_module(package + module), name)

    def find_missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]


PARTS = (
    Part('search', 'are the codes the nearest ones, at five shapes and with ties?', 'search:check', 30),
    Part('quantizers', 'does every quantizer give the codes and gradients of the CPU?', 'quantizers:check', 35),
    Part('attention', 'do all attention backends agree?', 'attention:check', 25),
    Part('precision', 'how far are float32 and bfloat16 on the card from float32 on the CPU?', 'precision:check', 40,
         4.0),
    Part('ranks', 'do NCCL, DDP and FSDP2 with one rank train as a bare task?', 'ranks:check', 40, 2.0),
    Part('compile', 'does a compiled task train as one that is not?', 'compiled:check', 80, 4.0),
    Part('memory', 'does a training step take the memory that `dtbox describe` predicts?', 'memory:check', 40, 20.0,
         ('lpips', 'torchvision')),
    Part('search-speed', 'how fast is the search beside cdist, vector-quantize-pytorch and the matrix rate?',
         'search_speed:measure', 45, 12.0),
    Part('speed-b16', 'images a second of B/16 at 256 pixels', 'model_speed:measure_base', 70, 10.0),
    Part('speed-so400m', 'images a second of So400m at 384 pixels', 'model_speed:measure_so400m', 90, 22.0),
    Part('step', 'a training step of B/16 beside the direct implementation', 'step_speed:measure', 120, 20.0,
         ('lpips', 'torchvision')),
    Part('drawing', 'seconds of drawings by a language model', 'drawing_speed:measure', 45, 8.0, ('transformers',)),
    Part('gaps', 'how long does the card wait for the host?', 'gaps:measure', 45, 8.0),
    # last: it runs in a process of its own
    Part('resume', 'does a resumed run end bit for bit as one that was not interrupted?', 'resuming:check', 60, 2.0,
         variables=DETERMINISTIC),
)
"""In the order in which they run: first what is right or wrong, then what is fast."""

EXTRAS = {'lpips': 'lpips', 'transformers': 'transformers>=5', 'triton': 'triton', 'xformers': 'xformers',
          'vector_quantize_pytorch': 'vector-quantize-pytorch>=1.20'}
"""Module -> what pip calls it, of packages that parts use and dtbox does not need."""
NAMES = {'mmcv-lite': 'mmcv', 'open_clip_torch': 'open_clip', 'pillow': 'PIL'}
"""Name of pip -> module, where they differ."""
BASE = ('torch>=2.4', 'torchvision', 'mmengine>=0.10.7', 'mmcv-lite>=2.1', 'timm>=1.0.20', 'open_clip_torch>=2.30',
        'pycocotools', 'braceexpand', 'tokenizers', 'safetensors', 'numpy', 'scipy', 'pillow', 'matplotlib', 'jinja2',
        'rich', 'tqdm')
"""What dtbox needs, where it is run from a clone and no installation tells."""


def choose_parts(only: Sequence[str] | None = None, skip: Sequence[str] = ()) -> list[Part]:
    """Return the parts of these names, in order; `InputError` for a name that is none, or where none is left."""
    names = [part.name for part in PARTS]
    for option, given in (('--only', only or ()), ('--skip', skip)):
        for name in given:
            if name not in names:
                raise InputError(f'`{name}` is not a part of the check.{closest(name, names)} Its parts: '
                                 f'{", ".join(names)}.', option)
    chosen = [part for part in PARTS if (not only or part.name in only) and part.name not in skip]
    if not chosen:
        raise InputError('no part is left: --skip takes out all that --only names. Name other parts.', '--skip')
    return chosen


def find_requirements() -> list[str]:
    """Return what pip has to install for every part to run, each as pip takes it; [] where nothing is missing."""
    try:
        needed = [line for line in importlib.metadata.requires('dtbox') or () if 'extra ==' not in line]
    except importlib.metadata.PackageNotFoundError:
        needed = list(BASE)
    missing = []
    for line in needed:
        name = re.split(r'[^\w.-]', line.strip(), maxsplit=1)[0]
        if importlib.util.find_spec(NAMES.get(name, name).replace('-', '_')) is None:
            missing.append(line.partition(';')[0].strip().replace(' ', ''))
    return missing + [line for module, line in EXTRAS.items() if importlib.util.find_spec(module) is None]
