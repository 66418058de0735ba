"""A multimodal language model of dtbox as a model of VLMEvalKit (github.com/open-compass/VLMEvalKit).

    python plugins/vlmevalkit/dtbox_vlmevalkit.py RUN --toolkit VLMEvalKit --data MMBench_DEV_EN --mode all
"""
from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any

from dtbox.apis.loading import load_as
from dtbox.apis.mllm_requests import Request, answer_requests
from dtbox.apis.opening import MLLM, choose_device
from dtbox.errors import InputError

NAME = 'dtbox'


def find_package(module: str) -> ModuleType:
    """Import and return a module of VLMEvalKit."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise InputError(f'the adapter needs `{module}` of VLMEvalKit, which cannot be imported ({e}). Clone it, and '
                         'install the clone with: pip install -e .') from e


class DtboxVLM(find_package('vlmeval.vlm.base').BaseModel):
    """The model of a run.

    Args:
        run: run folder, folder of `save_pretrained`, or `dtbox://NAME`.
        checkpoint, plugins: see `dtbox.load`.
        device: torch device; None takes the GPU where there is one.
        max_tokens: most tokens of a reply; None takes the model's.
    """
    INTERLEAVE = True
    allowed_types = ['text', 'image']

    def __init__(self, run: str, checkpoint: str | None = None, device: str | None = None,
                 max_tokens: int | None = None, plugins: Sequence[str] = ()) -> None:
        super().__init__()
        self.max_tokens = max_tokens
        self.model = load_as(MLLM, run, checkpoint, device=device or choose_device(), plugins=list(plugins))

    def generate_inner(self, message: Sequence[dict[str, str]], dataset: str | None = None) -> str:
        """Return the greedy reply to a message.

        Args:
            message: dicts `type` ('text', 'image') and `value` (a text, the path of an image), in order.
            dataset: name of the benchmark; prompts are VLMEvalKit's own for every one.
        """
        content: list[Any] = []
        for part in message:
            if part.get('type') not in self.allowed_types:
                raise InputError(f'a message has a part of the type {part.get("type")!r}; expected '
                                 f'{" and ".join(self.allowed_types)}: the model reads neither videos nor sounds.')
            content.append(part['value'] if part['type'] == 'text' else dict(type='image', image=part['value']))
        request = Request([dict(role='user', content=content)], self.max_tokens)
        return answer_requests(self.model, [request])[0]


def main(argv: Sequence[str] | None = None) -> None:
    """Run VLMEvalKit's run.py with this model, called `dtbox`; options that are not known here go there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('run', help='run folder, folder of save_pretrained, or dtbox://NAME')
    parser.add_argument('--toolkit', default='.', help='clone of VLMEvalKit, which holds run.py (default: here)')
    parser.add_argument('--device', help='torch device')
    parser.add_argument('--max-tokens', type=int, help='most tokens of a reply')
    args, rest = parser.parse_known_args(argv)
    if not os.path.isfile(os.path.join(args.toolkit, 'run.py')):
        raise InputError(f'{args.toolkit} has no run.py; expected a clone of VLMEvalKit.', '--toolkit')
    models = find_package('vlmeval.config').supported_VLM
    models[NAME] = partial(DtboxVLM, run=args.run, device=args.device, max_tokens=args.max_tokens)
    sys.path.insert(0, os.path.abspath(args.toolkit))
    sys.argv = ['run.py', '--model', NAME, *rest]
    importlib.import_module('run').main()


if __name__ == '__main__':
    main()
