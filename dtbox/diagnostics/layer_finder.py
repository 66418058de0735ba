"""The layer finder: what each layer of a frozen encoder holds of pixels and of meaning, and the pair of layers that
follows.

The encoder runs once a batch and all layers' probes (`probes.py`) learn from that pass, so no features are kept: memory
is that of the layers' features of one batch, and of one probe's step. `choice.py` has the rule that picks the layers.

Legend: B batch, N tokens, D width, E width of the text embeddings.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch.utils.data import DataLoader

from dtbox.counts import format_count
from dtbox.diagnostics.layer_choice import compute_standings, propose
from dtbox.diagnostics.layer_probes import Probes, fit, standardise
from dtbox.diagnostics.layer_scores import LayerScores
from dtbox.diagnostics.subjects import open_encoder
from dtbox.errors import InputError
from dtbox.layout import Grid, need_grid
from dtbox.losses.contrastive import same_text
from dtbox.training.build import check_required
from dtbox.training.dataloaders import build_train_dataloader, build_val_dataloader
from dtbox.training.preprocess import prepare

MOST_TOKENS = 1024
"""Layers with more tokens are left out unless they are asked for: attention over them is what would take the time."""
STATISTICS = 8
"""Training batches that the channels are standardised by."""

FEW = 100
"""Steps of the probes below which a remark warns of them."""


def choose_layers(encoder: Any, layers: Sequence[int] | None, remarks: list[str]) -> list[int]:
    """Return the layers to probe; those that are left out go to `remarks`.

    Args:
        encoder: of the tokenizer.
        layers: those that were named, or None for all on a grid of at most `MOST_TOKENS` tokens.
        remarks: added to.

    Raises:
        InputError: layers that are not there, or whose tokens do not lie on a grid, which the probes decode.
    """
    wrong = [layer for layer in layers or () if not 0 <= layer <= encoder.depth]
    if wrong:
        raise InputError(f'there is no layer {wrong[0]}; the encoder has the layers 0 (its embedding) to '
                         f'{encoder.depth}.', '--layers')
    if layers:
        for layer in layers:
            need_grid(encoder.layout(layer), f'the probe of layer {layer}')
        return sorted(set(layers))
    layouts = {layer: encoder.layout(layer) for layer in range(encoder.depth + 1)}
    placeless = [f'{layer} ({layout})' for layer, layout in layouts.items() if not isinstance(layout, Grid)]
    if placeless:
        remarks.append(f'left out, as their tokens do not lie on a grid: {", ".join(placeless)}')
    sizes = {layer: layout.tokens for layer, layout in layouts.items() if isinstance(layout, Grid)}
    kept = [layer for layer, size in sizes.items() if size <= MOST_TOKENS]
    gone = [f'{layer} ({format_count(size, "token")})' for layer, size in sizes.items() if layer not in kept]
    if not kept:
        raise InputError(f'every layer on a grid has more than {MOST_TOKENS:,} tokens. Name some with --layers.')
    if gone:
        remarks.append(f'left out for their size: {", ".join(gone)}; name them with --layers')
    return kept


class Features:
    """A batch of a loader -> what the probes learn from: see `fit`.

    Args:
        subject: Subject; with a text tower, texts are embedded too.
        layers: layers to tap.
        with_texts: whether the data has texts.
    """

    def __init__(self, subject: Any, layers: Sequence[int], with_texts: bool):
        self.encoder = subject.encoder
        self.text = subject.text if with_texts else None
        self.layers = set(layers)
        self.device = next(subject.encoder.parameters()).device

    @torch.no_grad()
    def __call__(self, batch):
        """Batch -> (dict layer -> [B,N,D], images [B,3,H,W], text embeddings [B,E] or None, pairs [B,B] or None)."""
        batch = prepare(batch, self.device)
        self.encoder.check_images(batch.images)
        found = self.encoder.run(self.encoder.embed(batch.images), 0, max(self.layers), self.layers)[1]
        if self.text is None or batch.texts is None:
            return found, batch.images, None, None
        return found, batch.images, self.embed(batch.texts), same_text(batch.texts, batch.texts, self.device)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """Strings -> embeddings [T,E] of length 1."""
        return F.normalize(self.text(self.text.ids(list(texts))).float(), dim=-1)


def probe_layers(source: str, encoder: str | None = None, layers: Sequence[int] | None = None, iters: int = 300,
                 batch_size: int | None = None, within_db: float = 1.0, within_points: float = 5.0, seed: int = 0,
                 options: dict | None = None, plugins: Sequence[str] = (),
                 say: Callable[[str], None] = lambda line: None) -> dict:
    """Probe the layers of an encoder on the training images of a config and score them on its held-out ones.

    Args:
        source, encoder, options, plugins: see `open_encoder`.
        layers: layers to probe; None for all of at most `MOST_TOKENS` tokens.
        iters: optimizer steps of the probes.
        batch_size: images a batch; None takes the config's.
        within_db: tolerance of the pixel layer, dB of PSNR.
        within_points: tolerance of the semantic layer, percentage points of R@1, mean of both directions.
        seed: of the probes and of the order of the data.
        say: called with lines about the progress.

    Returns:
        dict: `layers` (for each layer its scores, see `LayerScores.row`, and its standing), `proposal`, `remarks`,
            `settings`.
    """
    start = time.time()
    if iters < 1 or within_db < 0 or within_points < 0 or seed < 0:
        raise InputError(f'expected at least 1 iteration and tolerances and a seed of at least 0; got iters={iters}, '
                         f'within_db={within_db}, within_points={within_points}, seed={seed}.')
    subject = open_encoder(source, encoder, options, plugins)
    check_required(subject.cfg, ('train_dataloader', 'val_dataloader'))
    train = build_train_dataloader({**subject.cfg.train_dataloader,
                                    **({'batch_size': batch_size} if batch_size else {})},
                             seed)
    val = build_val_dataloader(subject.cfg.val_dataloader)
    kept = choose_layers(subject.encoder, layers, subject.remarks)
    told = bool(train.dataset.metainfo.get('texts')) and bool(val.dataset.metainfo.get('texts'))
    if subject.text is not None and not told:
        subject.remarks.append('no semantics: the data has no texts')
    features = Features(subject, kept, told)
    width = subject.text.pooled_dim if features.text is not None else None
    part = subject.encoder
    probes = {layer: Probes(part.width(layer), part.grid(layer), part.image_size, width, seed).to(features.device)
              for layer in kept}
    standardise(probes, iter(train), features, STATISTICS)
    if iters < FEW:
        subject.remarks.append(f'after {format_count(iters, "step")} the probes say little of what the layers hold: '
                               'they are compared by how fast they learn, too')
    every = max(1, iters // 10)

    def tick(done: int) -> None:
        if done % every == 0:
            say(f'probes: step {done} of {iters}, {time.time() - start:.0f} s')
    fit(probes, iter(train), features, iters, tick)
    scores = score(probes, features, val, subject.cfg)
    return assemble(subject, scores, dict(
        source=str(source), encoder=subject.name, iters=iters, batch_size=train.batch_sampler.batch_size, seed=seed,
        within_db=within_db, within_points=within_points, training_images=len(train.dataset),
        heldout_images=len(val.dataset), seconds=round(time.time() - start, 1)))


@torch.no_grad()
def score(probes: dict, features: Features, loader: DataLoader, cfg: Config) -> dict:
    """Run the probes over held-out images: dict layer -> LayerScores."""
    found = {layer: LayerScores() for layer in probes}
    texts = []
    keys = []
    sets = []
    labels = []
    for batch in loader:
        layers, images, embedded, _ = features(batch)
        for layer, probe in probes.items():
            found[layer].add(images, *probe(layers[layer]))
        sets += batch.sets or ['heldout'] * len(batch)
        keys += batch.keys or [str(len(keys) + i) for i in range(len(batch))]
        labels += [-1] * len(batch) if batch.labels is None else batch.labels.tolist()
        texts += [('', None)] * len(batch) if embedded is None else list(zip(batch.texts, embedded.cpu()))
    classes = None
    if features.text is not None and any(label >= 0 for label in labels):
        names = list(loader.dataset.metainfo.get('classes') or ())
        templates = next((m.get('templates') for m in (cfg.get('val_evaluator') or {}).values() if m.get('type')
                          == 'ZeroShot'), None) or ('{}',)
        templates = [templates] if isinstance(templates, str) else templates
        parts = [torch.stack([features.embed([t.replace('{}', name) for name in names[i:i + 256]])
                              for t in templates]).mean(0)
                 for i in range(0, len(names), 256)]
        classes = F.normalize(torch.cat(parts), dim=-1).cpu() if names else None
    for one in found.values():
        one.finish(keys, sets, texts, labels, classes)
    return found


def assemble(subject: Any, scores: dict, settings: dict) -> dict:
    """Turn the scores of all layers into the result of `probe_layers`."""
    encoder, first = subject.encoder, next(iter(scores.values()))
    pixel = compute_standings({layer: [s.psnr] for layer, s in scores.items()}, settings['within_db'])
    semantic = compute_standings({layer: list(s.hits.values()) for layer, s in scores.items()},
                                 settings['within_points'] / 100) if first.hits else None
    if semantic is not None and not max(s.score for s in semantic.values()):
        subject.remarks.append('no semantic layer: no probe found a single right text or image')
        semantic = None
    if semantic is not None and first.zeroshot is None:
        subject.remarks.append('no zero-shot classification: the data has no classes')
    if len({encoder.layout(layer).tokens for layer in scores}) > 1:
        subject.remarks.append('the layers differ in their number of tokens: more tokens reconstruct more easily')
    pair = propose(pixel, semantic)
    if pair.remark:
        subject.remarks.append(pair.remark)
    rows = []
    for layer, one in scores.items():
        row = dict(layer=layer, tokens=encoder.layout(layer).tokens, width=encoder.width(layer), **one.row())
        row.update(psnr_loss=pixel[layer].loss, psnr_loss_ci95=pixel[layer].half, good_for_pixels=pixel[layer].good)
        if semantic is not None:
            row.update(r1=semantic[layer].score, r1_loss=semantic[layer].loss, r1_loss_ci95=semantic[layer].half,
                       good_for_semantics=semantic[layer].good)
        rows.append(row)
    return dict(layers=rows, proposal=dict(pixel=pair.pixel, semantic=pair.semantic), remarks=subject.remarks,
                settings=settings)
