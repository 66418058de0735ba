"""Floors and anchors of a multimodal language model, from a run of it, or from the run of its tokenizer: no language
model is needed, so they can be measured before one is trained."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dtbox.apis.loading import open_config
from dtbox.apis.opening import open_task
from dtbox.arguments import allow_none, read_arguments, read_count, read_path
from dtbox.errors import InputError
from dtbox.evaluation.anchors import measure_caption_floor, measure_drawing_anchors
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer
from dtbox.registry import DATASETS
from dtbox.structures import Batch
from dtbox.tokenizers.guidance import read_guiding_texts

HELDOUT = dict(type='TwemojiDraw', split='variants')
TRAINING = dict(type='TwemojiDraw', split='train')


def read_drawings(dataset: Iterable[Mapping[str, Any]]) -> tuple[Tensor, list[str]]:
    """Return (images uint8 [n,3,H,W], n prompts) of the conversations of the kind 'draw'.

    Raises:
        InputError: there is none.
    """
    talks = [item['conversation'] for item in dataset]
    pairs = [(talk.images[turn.images[0].image], question.text) for talk in talks if talk.kind == 'draw'
             for question, turn in zip(talk.turns, talk.turns[1:]) if turn.images]
    if not pairs:
        raise InputError('the data has no conversation of the kind \'draw\', such as those of TwemojiDraw.')
    return torch.stack([image for image, _ in pairs]), [prompt for _, prompt in pairs]


@read_arguments(checkpoint=allow_none(read_path), block=read_count())
@torch.no_grad()
def measure_run_anchors(run: str, checkpoint: str | None = None, heldout: dict | None = None,
                        training: dict | None = None, options: dict | None = None, plugins: Sequence[str] = (),
                        block: int = 64) -> dict[str, dict[str, dict[str, float]]]:
    """Measure floors and anchors with the codes, the teacher and the text tower of the run of a tokenizer, or with the
    codes and the judge of the run of a multimodal language model.

    Args:
        run, checkpoint, options, plugins: see `dtbox.apis.evaluation.measure_run`.
        heldout, training: configs of data sets whose conversations are drawings; None for TwemojiDraw's `variants` and
            `train`.
        block: images at a time.

    Returns:
        dict: `drawings`, anchor -> scores of `judge_images`; `captions`, stream -> scores of `score_captions` of the
        name of the training image with the nearest codes.

    Raises:
        InputError: what `measure_run` says, a run without teacher or text tower, or other data.
    """
    task, _ = open_task(*open_config(run, checkpoint, options, plugins))
    context = task.eval_context(None)
    if context.teacher is None or context.embed_text is None:
        raise InputError(f'the run {run} has no teacher with a text tower, which judges images by names (in the config '
                         'of a multimodal language model: model.judge).')
    sides = [read_drawings(DATASETS.build(cfg or default)) for cfg, default in ((heldout, HELDOUT),
                                                                               (training, TRAINING))]
    names, known_names = (texts for _, texts in sides)
    real, reconstructions, rows = _run_tokenizer(task, sides[0][0], names, block)
    known, _, known_rows = _run_tokenizer(task, sides[1][0], None, block)
    drawings = measure_drawing_anchors(real, names, known, known_names, context.teacher, context.embed_text,
                                       reconstructions)
    captions = {stream: measure_caption_floor(rows[stream], names, known_rows[stream], known_names) for stream in rows}
    return dict(drawings=drawings, captions=captions)


def _run_tokenizer(task: Any, images: Tensor, texts: Sequence[str] | None, block: int
                   ) -> tuple[Tensor, Any, dict[str, Tensor]]:
    """Return (images in [-1, 1], reconstructions or None, stream -> sum over depths of the code rows [n,N,C]); images
    are reconstructed where `texts` are given, which say what they show."""
    frozen = isinstance(task.tokenizer, FrozenTokenizer)
    tokenizer, real = task.tokenizer.model if frozen else task.tokenizer, []
    made: list[Tensor] = []
    rows: dict[str, list[Tensor]] = {name: [] for name in tokenizer.streams}
    for first, part in zip(range(0, len(images), block), images.split(block)):
        prepared = part.to(task.device).float() / 127.5 - 1 if frozen else task.prepare(Batch(images=part)).images
        codes = tokenizer.encode(prepared)
        real.append(prepared.cpu())
        if texts is not None and tokenizer.decoder is not None:
            shown = read_guiding_texts(tokenizer, texts[first:first + block])
            made.append(tokenizer.decode(codes, shown).float().cpu())
        for name, stream in tokenizer.streams.items():
            rows[name].append(stream.quantizer.decode(codes[name]).float().cpu())
    return torch.cat(real), torch.cat(made) if made else None, {name: torch.cat(parts) for name, parts in rows.items()}
