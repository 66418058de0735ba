"""Training samples as text: which tokens are given, shared, images, and targets.

Letters: T places, N visual places of an image.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from dtbox.apis.mllm_opening import build_mllm
from dtbox.apis.opening import MLLM, check_use, find_use
from dtbox.counts import format_count
from dtbox.datasets.left_out import name_some
from dtbox.mllm.sequences.rendered import Rendered
from dtbox.mllm.sequences.spans import Unusable
from dtbox.training.build import check_required
from dtbox.training.dataloaders import build_train_dataloader

COLOURS = {'target': 32, 'drawn image': 35, 'shared': 34, 'given image': 36, 'given': 90}
"""What a place is -> its ANSI colour."""
MOST = 40
"""Lines about samples that cannot be used or are broken."""
WIDTH = max(map(len, COLOURS))


def show_samples(cfg: Mapping[str, Any], count: int, colour: bool = False) -> Iterator[str]:
    """Yield lines about the first samples of a training run, and about all that were read and cannot be used: their
    keys, and why.

    Args:
        cfg: resolved config of a multimodal language model.
        count: samples that are shown, fewer where the data has fewer; those of their batches are counted.
        colour: use ANSI colours.

    Raises:
        InputError: the config of another model, or one without training data.
    """
    check_required(cfg, ('model', 'train_dataloader'))
    check_use(find_use(cfg), MLLM, None)
    sequence = build_mllm(cfg['model']).sequence
    loader = build_train_dataloader(dict(cfg['train_dataloader'], num_workers=0), int(cfg.get('seed', 0)))
    shown = read = 0
    reasons: dict[str, dict[str, None]] = {}
    broken = list(getattr(loader.dataset, 'flaws', ()))  # rows that were left out when the data was opened
    for batch in loader:
        broken += batch.broken or []
        for i, conversation in enumerate(batch.conversations):
            read += 1
            try:
                rendered = sequence.render(conversation, sequence.is_dropped(batch, i))
                if not rendered.target.any():
                    raise Unusable(conversation.key, 'has nothing to predict: no answer.')
            except Unusable as e:
                reasons.setdefault(e.reason, {})[e.key] = None
                continue
            if shown < count:
                shown += 1
                yield from describe_sample(rendered, conversation.kind, sequence.tokens, colour)
        if shown >= count or not len(batch) or read >= len(loader.dataset):  # the loader never ends
            break
    yield (f'{format_count(read, "sample")} read, {sum(map(len, reasons.values()))} of them cannot be used, '
           f'{len(broken)} are broken.')
    lines = []
    for reason, keys in sorted(reasons.items(), key=lambda item: -len(item[1])):
        lines.append(f'{format_count(len(keys), "sample")} ({name_some(keys)}): {reason}')
    yield from (f'  {line}' for line in [*lines, *broken][:MOST])
    if len(lines) + len(broken) > MOST:
        yield f'  ... and {len(lines) + len(broken) - MOST} more lines.'


def describe_sample(rendered: Rendered, kind: str, tokens: Any, colour: bool = False) -> Iterator[str]:
    """Yield a sample as lines: a title, then its places in parts, each with what it is, its tokens and their ids.

    Args:
        rendered: the sample, T places.
        kind: of its conversation.
        tokens: SequenceTokenizer.
        colour: use ANSI colours.
    """
    targets = format_count(int(rendered.target.sum()), 'target')
    yield f'{rendered.key} ({kind}): {format_count(len(rendered), "place")}, {targets}'
    places = [(name_place(rendered, i), int(rendered.segment[i])) for i in range(len(rendered))]
    for (name, segment), part in groupby(range(len(rendered)), lambda i: places[i]):
        own = list(part)
        ids = rendered.ids[own].tolist()
        if name.endswith('image'):
            text = f'{format_count(len(own), "place")}'
        else:
            text = ' '.join(repr(tokens.decode([i], special=True)) for i in ids) + f'  {ids}'
        line = f'  {name:<{WIDTH}} {text}'
        yield f'\033[{COLOURS[name]}m{line}\033[0m' if colour else line
    yield ''


def name_place(rendered: Rendered, i: int) -> str:
    """Return what a place of a sample is, a key of `COLOURS`."""
    if rendered.visual[i] >= 0:
        return 'drawn image' if rendered.target[i] else 'given image'
    return 'target' if rendered.target[i] else 'shared' if rendered.prefix[i] else 'given'
