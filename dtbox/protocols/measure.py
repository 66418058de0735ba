"""Measure one model by several protocols: the model runs once over the images, however many protocols read it."""
from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

import torch
from mmengine.config import Config

from dtbox import __version__, distributed
from dtbox.apis.loading import open_config
from dtbox.apis.opening import MLLM, TOKENIZER, WORDS, find_use, open_task
from dtbox.config import list_known_keys, load_config, resolve, set_option, take_data_options
from dtbox.config.find import find_config
from dtbox.errors import InputError
from dtbox.evaluation import SetEvaluator, format_table
from dtbox.evaluation.dump import check_dump
from dtbox.evaluation.loop import evaluate_all
from dtbox.evaluation.names import ALL
from dtbox.evaluation.probes import Bank
from dtbox.evaluation.results import Results
from dtbox.evaluation.retrieval import collect_side_embeddings
from dtbox.evaluation.stamps import hash_dataset, hash_file
from dtbox.extend.record import make_records
from dtbox.protocols.asking import ask_benchmark
from dtbox.protocols.base import Protocol
from dtbox.protocols.blanked import BlankedStreams, measure_blanked
from dtbox.protocols.replies import BenchmarkReplies
from dtbox.protocols.subject import Subject
from dtbox.training.build import check_required
from dtbox.training.code_cache import CodeCache
from dtbox.training.dataloaders import build_val_dataloader


def measure_protocols(run: str, protocols: Sequence[Protocol], checkpoint: str | None = None, data: str | None = None,
                      options: dict | None = None, plugins: Sequence[str] = (), folder: str | None = None,
                      say: Callable[[str], None] = print, dump: str | None = None) -> Results:
    """Measure a trained tokenizer, or a multimodal language model.

    Args:
        run: run folder; or a config file, together with `checkpoint`.
        protocols: list of Protocol (see `load_protocol`), all of tokenizers or all of language models.
        checkpoint: checkpoint file; None takes the run folder's.
        data: config with `val_dataloader` (see configs/_base_/datasets) to measure on; None takes the run's held-out
            data. Its `image_size` follows the model's.
        options: dict of dotted key -> value; keys that the data config has go there, all others to the run's.
        plugins: plugins that the config does not name.
        folder: for the files that protocols leave, each in a folder of its name.
        say: called with lines of text.
        dump: new folder for the images that metrics measure, as their networks get them (see `dtbox.evaluation.dump`).

    Returns:
        Results whose values are called METRIC@PROTOCOL.

    Raises:
        InputError: as `measure_run`; two protocols of one name, or those of another kind of model; data without what
            every protocol needs.
    """
    start, date = time.time(), time.strftime('%Y-%m-%d %H:%M:%S')
    names = [p.name for p in protocols]
    if not protocols or len(set(names)) < len(names):
        raise InputError(f'the protocols are {", ".join(names) or "none"}; expected at least one, each once.',
                         '--protocol')
    cfg, path, opened, sized = open_data(run, checkpoint, data, options, plugins)
    check_protocols(protocols, find_use(cfg), path)
    evaluators = {p.name: p.evaluator() for p in protocols}
    check_dump(dump, [metric for evaluator in evaluators.values() for metric in evaluator.prototypes])
    model, state = open_task(cfg, path)
    if find_use(cfg) == MLLM:
        name = os.path.basename(os.path.dirname(os.path.abspath(path)))
        results = _ask(model, cfg, sized, protocols, folder or '.', say, name)
    else:
        subject = Subject(model, cfg, state, path, build_val_dataloader(cfg.val_dataloader), opened, sized)
        results = _run(subject, protocols, evaluators, folder or '.', say, dump)
    about = dict(
        config=str(run), checkpoint=path, checkpoint_hash=hash_file(path), data=str(data) if data else None, time=date,
        seconds=round(time.time() - start, 1), device=model.iteration.device.type, dtbox=__version__,
        torch=str(torch.__version__), plugins=make_records(cfg))
    return replace(Results.join(results), iteration=state.get('iteration'), evaluation=about)


def check_protocols(protocols: Sequence[Protocol], use: str, source: str) -> None:
    """Raise `InputError` unless all protocols measure what a run is.

    Args:
        protocols: that are asked for.
        use: what the run opens as, see `dtbox.apis.opening.find_use`.
        source: the run's checkpoint, for the message.
    """
    wrong = [p.name for p in protocols if p.use != use]
    if wrong:
        measures = 'the protocol {} measures' if len(wrong) == 1 else 'the protocols {} measure'
        other = next(word for kind, word in WORDS.items() if kind != use)
        raise InputError(f'{source} is {WORDS[use]}; expected {other}, which {measures.format(", ".join(wrong))}. '
                         '`dtbox test --protocol list` says what each measures.', '--protocol')


def _ask(task: Any, cfg: Config, sized: Callable[[Any], dict] | None, protocols: Sequence[Protocol],
         folder: str, say: Callable[[str], None], name: str) -> dict[str, Results]:
    """Ask the questions of each protocol; returns name of a protocol -> its Results."""
    height, width = task.tokenizer.model.image_size
    loader = cfg.val_dataloader if sized is None else sized(height if height == width else (height, width))
    codes = CodeCache(task.tokenizer)
    return {p.name: measure_blanked(task, p, cfg, loader, codes) if isinstance(p, BlankedStreams) else ask_benchmark(
        task, cast(BenchmarkReplies, p), loader, codes, os.path.join(folder, p.name), say, name) for p in protocols}


def _run(subject: Subject, protocols: Sequence[Protocol], evaluators: dict[str, SetEvaluator], folder: str,
         say: Callable[[str], None], dump: str | None) -> dict[str, Results]:
    """Run the common pass and what each protocol does after it; returns name of a protocol -> its Results."""
    bank = None
    if any(p.needs_training for p in protocols):
        bank = lru_cache(maxsize=None)(lambda: build_training_bank(subject, say))
    passing = {name: evaluator for name, evaluator in evaluators.items() if evaluator.prototypes}
    results = evaluate_all(subject.model, subject.loader, passing, bank, dump) if passing else {}
    for p in protocols:
        stamp = dict(hash=p.hash, data=hash_dataset(subject.loader.dataset))
        results.setdefault(p.name, Results({ALL: {}}, protocols={p.name: stamp}))
        results[p.name] = replace(results[p.name], infos=(*results[p.name].infos, *p.infos()))
    for p in protocols:
        for line in p.finish(subject, evaluators[p.name], results[p.name], os.path.join(folder, p.name)):
            say(line)
    return results


def open_data(run: str, checkpoint: str | None, data: str | None, options: dict | None,
              plugins: Sequence[str]) -> tuple[Config, str, tuple, Callable[[Any], dict] | None]:
    """Return (resolved config of a run with the held-out data to measure on, checkpoint path, `opened` and `data` of
    Subject)."""
    options, own = dict(options or {}), {}
    if data is not None:
        data = find_config(data, 'data', '--data')
        own = take_data_options(data, options)
    cfg, path = open_config(run, checkpoint, options, plugins)
    opened = (run, checkpoint, options, plugins)
    if data is None:
        check_required(cfg, ('val_dataloader',))
        return cfg, path, opened, None

    def sized(size: Any) -> dict:
        other = load_config(data, own)
        if 'image_size' in other and 'image_size' not in own:
            set_option(other, 'image_size', size)
        check_required(other, ('val_dataloader',))
        return resolve(other).val_dataloader
    if find_use(cfg) == TOKENIZER:  # the size of a language model's images is known when its tokenizer is open
        cfg.val_dataloader = sized(cfg.model.tokenizer.image_size)
    return cfg, path, opened, sized


def report_protocols(results: Results) -> str:
    """Return the results of `measure_protocols` as text: a table for each protocol."""
    about = results.evaluation
    kind = 'answers' if 'answers' in about else 'checkpoint'
    lines = [
        f'{kind:<11} {about[kind]}, sha256 {about[f"{kind}_hash"]}',
        f'data        {about["data"] or "that of the run"}',
        f'evaluated   {about["time"]}, {about["seconds"]:.1f} s on {about["device"]}, dtbox {about["dtbox"]}',
    ]
    for name, stamp in results.protocols.items():
        title = f'protocol {name} (settings {stamp["hash"]}, data {stamp["data"] or "unknown"})'
        lines += ['', title, '', format_table(results.of_protocol(name))]
    return '\n'.join(lines)


@torch.no_grad()
def build_training_bank(subject: Subject, say: Callable[[str], None]) -> Bank:
    """Return the Bank of the training images, prepared as the held-out ones are."""
    data = copy.deepcopy(dict(subject.cfg.val_dataloader['dataset']))
    if 'split' not in list_known_keys(data, 'val_dataloader.dataset'):
        raise InputError(f'`{data.get("type")}` has no `split`, so there are no training images for k-NN and linear '
                         'probes.', 'val_dataloader.dataset')
    data['split'] = 'train'
    loader = build_val_dataloader(dict(subject.cfg.val_dataloader, dataset=data))
    say(f'embedding {len(loader.dataset):,} training images for k-NN and linear probes')
    rows, labels = {}, []
    for batch in loader:
        if not len(batch) or batch.labels is None:
            continue
        batch = subject.model.prepare(batch)
        classed = (batch.labels >= 0).nonzero().flatten().cpu()
        labels.append(batch.labels.cpu()[classed])
        for side, value in collect_side_embeddings(subject.model.predict(batch)).items():
            if value is not None:
                rows.setdefault(side, []).append(value.float().cpu()[classed])
    if not labels:
        raise InputError('the training images have no labels, so nothing can be learned from them for k-NN and linear '
                         'probes.')
    labels = [part for parts in distributed.gather_objects(labels) for part in parts]
    rows = {side: distributed.gather_rows(torch.cat(parts)) for side, parts in rows.items()}
    return Bank(rows, torch.cat(labels))
