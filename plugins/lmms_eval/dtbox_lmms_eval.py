"""A multimodal language model of dtbox as a model of lmms-eval (github.com/EvolvingLMMs-Lab/lmms-eval).

    python plugins/lmms_eval/launch.py --model dtbox --model_args pretrained=RUN --tasks mme --batch_size 8

Letters: R requests.
"""
from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from PIL import Image

from dtbox.apis.loading import load_as
from dtbox.apis.mllm_requests import Request, answer_requests, score_requests
from dtbox.apis.opening import MLLM, choose_device
from dtbox.errors import InputError

NAME = 'dtbox'
MARK = re.compile(r'<image(?: \d+)?>')
"""Where a text shows an image: `<image>`, or `<image 2>` with its number."""
READ = ('until', 'max_new_tokens', 'temperature', 'top_k', 'top_p', 'do_sample', 'num_beams')
"""Settings of a task that count; others, such as `image_aspect_ratio`, are those of other models."""


def find_package(module: str) -> ModuleType:
    """Import and return a module of lmms-eval."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise InputError(f'the adapter needs `{module}` of the package lmms-eval, which cannot be imported ({e}). '
                         'Install it with: pip install lmms-eval') from e


@find_package('lmms_eval.api.registry').register_model(NAME)
class DtboxLMM(find_package('lmms_eval.api.model').lmms):
    """The model of a run.

    Args:
        pretrained: run folder, folder of `save_pretrained`, or `dtbox://NAME`.
        checkpoint: see `dtbox.load`.
        device: torch device; None takes the GPU where there is one.
        batch_size: requests that are computed at a time; it changes no reply.
        max_batch_size: of lmms-eval's search for a batch size, which there is not; left aside.
        dtype: of the weights.
        plugin: folder, file or module with parts to register.
    """
    is_simple = True

    def __init__(self, pretrained: str, checkpoint: str | None = None, device: str | None = None,
                 batch_size: int | str = 1, max_batch_size: int | None = None, dtype: str = 'float32',
                 plugin: str | None = None) -> None:
        super().__init__()
        self.batch_size = read_size(batch_size)
        if int(os.environ.get('WORLD_SIZE', '1')) > 1:
            raise InputError('the adapter runs in one process, and lmms-eval was started with several. Start it '
                             'without a launcher.')
        self.pretrained = pretrained
        self.model = load_as(MLLM, pretrained, checkpoint, device=device or choose_device(), dtype=dtype,
                             plugins=[plugin] if plugin else [])

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return the replies to R requests (context, settings, doc_to_visual, doc_id, task, split), in their order."""
        asked = []
        for request in requests:
            context, settings, to_visual, doc_id, task, split = request.args
            visuals = list_visuals(to_visual(self.task_dict[task][split][doc_id]))
            asked.append(make_request(context, visuals, settings))
        replies = answer_requests(self.model, asked, self.batch_size)
        for request, reply in zip(requests, replies):
            self.cache_hook.add_partial('generate_until', (request.args[0], request.args[1]), reply)
        return replies

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Return (log-probability in nats, whether greedy decoding gives it) of the continuations of R requests
        (context, doc_to_target, doc_to_visual, doc_id, task, split); the token that ends a reply counts, too."""
        asked = []
        for request in requests:
            context, to_target, to_visual, doc_id, task, split = request.args
            doc = self.task_dict[task][split][doc_id]
            target = to_target if isinstance(to_target, str) else to_target(doc)
            asked.append((make_messages(context, list_visuals(to_visual(doc))), target))
        return score_requests(self.model, asked, self.batch_size)

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[tuple[str, ...]]:
        """Return the replies of all rounds of R requests (context, settings, doc_to_visual, doc_to_text, doc_id, task,
        split), in their order.

        After each round `doc_to_text(doc, previous_output=, round_idx=, previous_round_info=)` says (visuals, context,
        whether it was the last round, all replies so far, its own notes). A round is a prompt of its own.
        """
        replies: list[list[str]] = [[] for _ in requests]
        notes: list[Any] = [None] * len(requests)
        asked: dict[int, Request] = {}
        for i, request in enumerate(requests):
            context, settings, to_visual, _, doc_id, task, split = request.args
            asked[i] = make_request(context, list_visuals(to_visual(self.task_dict[task][split][doc_id])), settings)
        number = 0
        while asked:
            for i, reply in zip(asked, answer_requests(self.model, list(asked.values()), self.batch_size)):
                replies[i].append(reply)
            number += 1
            last, asked = asked, {}
            for i in last:
                _, settings, _, to_text, doc_id, task, split = requests[i].args
                visuals, context, ended, said, notes[i] = to_text(
                    self.task_dict[task][split][doc_id], previous_output=replies[i], round_idx=number,
                    previous_round_info=notes[i])
                replies[i] = list(said)
                if not ended:
                    asked[i] = make_request(context, list_visuals(visuals), settings)
        return [tuple(said) for said in replies]


def read_size(value: Any) -> int:
    """Return a batch size; `InputError` for one that is no whole number from 1."""
    if not str(value).isdecimal() or int(value) < 1:
        raise InputError(f'got batch_size={value!r}; expected a whole number from 1. Batch sizes are not searched for.')
    return int(value)


def list_visuals(visuals: Any) -> list[Image.Image]:
    """Return what a task shows as a list of PIL images; `InputError` for videos and sounds."""
    if visuals is None:
        return []
    found = []
    for visual in visuals if isinstance(visuals, Iterable) and not isinstance(visuals, (str, dict)) else [visuals]:
        if isinstance(visual, (list, tuple)):
            found += list_visuals(visual)
        elif isinstance(visual, Image.Image):
            found.append(visual)
        else:
            raise InputError(f'a request shows {type(visual).__name__} {visual!r:.60}; expected PIL images: the model '
                             'reads neither videos nor sounds.')
    return found


def make_messages(context: str, visuals: Sequence[Image.Image]) -> list[dict[str, Any]]:
    """Return one message of the user: the images where the text marks them, before the text where it marks none."""
    marks = MARK.findall(context)
    images = [dict(type='image', image=visual) for visual in visuals]
    if not marks or len(marks) != len(visuals):
        text = MARK.sub('', context).strip()
        return [dict(role='user', content=[*images, *([text] if text else [])])]
    numbers = [int(mark[7:-1]) - 1 if ' ' in mark else i for i, mark in enumerate(marks)]
    if sorted(numbers) != list(range(len(visuals))):
        raise InputError(f'a request marks the images {", ".join(marks)} and has {len(visuals)}; expected each once.')
    content: list[Any] = []
    for text, number in zip(MARK.split(context), [*numbers, None]):
        content += [text] if text.strip() else []
        content += [] if number is None else [images[number]]
    return [dict(role='user', content=content)]


def make_request(context: str, visuals: Sequence[Image.Image], settings: dict[str, Any]) -> Request:
    """Return a request with the settings that a task gives; `InputError` for beam search."""
    given = {name: settings[name] for name in READ if settings.get(name) is not None}
    if given.get('num_beams', 1) != 1:
        raise InputError(f'a task asks for num_beams={given["num_beams"]}; there is no beam search. Set 1.')
    until = given.get('until', ())
    temperature = given.get('temperature', 0) if given.get('do_sample', True) else 0
    return Request(make_messages(context, visuals), given.get('max_new_tokens'), temperature,
                   given.get('top_k') if temperature else None, given.get('top_p') if temperature else None,
                   until=(until,) if isinstance(until, str) else tuple(until))


def main() -> None:
    """Run lmms-eval's command line with this model, called `dtbox`."""
    models, place = find_package('lmms_eval.models'), f'{__name__}.{DtboxLMM.__name__}'
    if hasattr(models, 'MODEL_REGISTRY_V2'):
        manifest = find_package('lmms_eval.models.registry_v2').ModelManifest(model_id=NAME, simple_class_path=place)
        models.MODEL_REGISTRY_V2.register_manifest(manifest, overwrite=True)
    else:
        models.AVAILABLE_MODELS[NAME] = place
    find_package('lmms_eval.__main__').cli_evaluate()
