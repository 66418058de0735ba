"""The metadata of a model card, in YAML at its head, as the Hugging Face hub reads it: licence, data sets, what the
model is for, and scores with the protocol and the stamp by which they compare."""
from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from dtbox.apis.opening import MLLM
from dtbox.errors import InputError
from dtbox.evaluation.names import ALL, STDERR, read_name
from dtbox.evaluation.results import RECIPE, Results
from dtbox.runs import RunFolder

DATASETS = dict(ImageNet='ILSVRC/imagenet-1k', CIFAR10='uoft-cs/cifar10')
"""Type of a data set here -> its name on the hub."""
OTHER = 'other'
"""The hub's word for a licence that has no identifier there."""
_IDENTIFIER = re.compile(r'[a-z0-9][a-z0-9.+-]*')


def build_metadata(model: Any, name: str, run: str | None = None, licence: str | None = None,
                   datasets: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the metadata of a model's card.

    Args:
        model: MultimodalModel or Tokenizer.
        name: of the model.
        run: run folder of the model, whose scores, data sets and (of converted weights) licence are told; None for
            none of these.
        licence: identifier of the hub, such as apache-2.0; None takes that of converted weights, where it is known.
        datasets: names on the hub of what it was trained on; None takes those of the run that are known there.

    Returns:
        plain values for YAML; what is not known is left out.

    Raises:
        InputError: a licence that is not an identifier; a config or results that cannot be read.
    """
    language = model.use == MLLM
    folder = RunFolder(run) if run is not None and os.path.isdir(run) else None
    converted = folder.read_converted() if folder else {}
    tag = 'any-to-any' if language and model.can_draw else 'image-text-to-text' if language else \
        'image-feature-extraction'
    tags = ['dtbox', 'visual-tokenizer', *(['multimodal'] if language else []),
            *([str(converted['kind'])] if converted.get('kind') else [])]
    data = list(datasets or ())
    if datasets is None and folder is not None and folder.has_config() and not converted:
        data = list_datasets(folder)
    metadata: dict[str, Any] = dict(library_name='dtbox', pipeline_tag=tag, **find_licence(converted, licence),
                                    tags=tags)
    metadata.update(dict(datasets=data) if data else {})
    scores = list_scores(folder, tag) if folder else []
    if scores:
        metadata['metrics'] = list(dict.fromkeys(one['type'] for result in scores for one in result['metrics']))
        metadata['model-index'] = [dict(name=name, results=scores)]
    return metadata


def format_metadata(metadata: Mapping[str, Any]) -> str:
    """Return metadata as the head of a card, with the lines that enclose it."""
    text = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True, default_flow_style=False, width=1000)
    return f'---\n{text}---\n'


def find_licence(converted: Mapping[str, Any], licence: str | None) -> dict[str, str]:
    """Return the entries of a card that say the licence; {} where it is not known, or where the projects that converted
    weights may be of have several.

    Args:
        converted: what run.json says of converted weights.
        licence: that the user says, which counts first.
    """
    if licence is not None:
        if not _IDENTIFIER.fullmatch(licence):
            raise InputError(f'got {licence!r:.80}; expected an identifier of the Hugging Face hub, such as mit, '
                             'apache-2.0, cc-by-nc-4.0 or other.', 'license')
        return dict(license=licence)
    projects = list_origins(converted)
    names = {(project['identifier'], project['weights'] if project['identifier'] == OTHER else '')
             for project in projects}
    if len(names) != 1 or not projects[0]['identifier']:
        return {}
    first = projects[0]
    if first['identifier'] != OTHER:
        return dict(license=first['identifier'])
    return dict(license=OTHER, license_name=re.sub(r'[^a-z0-9]+', '-', first['weights'].lower()).strip('-'),
                license_link=f'https://github.com/{first["source"]}')


def list_origins(converted: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the projects that run.json names, all entries as text."""
    keys = ('name', 'source', 'code', 'weights', 'identifier', 'remark')
    projects = converted.get('projects')
    return [{key: str(project.get(key, '')) for key in keys} for project in projects if isinstance(project, dict)
            ] if isinstance(projects, list) else []


def list_datasets(run: RunFolder) -> list[str]:
    """Return the names on the hub of the data sets that a run was trained on, those of mixtures among them."""
    from dtbox.config import load_config, resolve
    loader = resolve(load_config(run.path)).get('train_dataloader') or {}
    return list(dict.fromkeys(DATASETS[kind] for kind in _list_types(loader.get('dataset')) if kind in DATASETS))


def _list_types(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get('type'), str):
            yield node['type']
        for value in node.values():
            yield from _list_types(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _list_types(value)


def list_scores(run: RunFolder, task: str) -> list[dict[str, Any]]:
    """Return the `results` of a model index: scores of the last evaluation and of the last measurement by protocols, a
    set and protocol each, that have a direction.

    A score carries its protocol, the stamp 'SETTINGS-DATA' by which it compares, its standard error and number of
    images where they are known.
    """
    paths = [run.metrics, *run.list_protocols()[-1:]]
    found = [results for results in map(Results.read, paths) if results is not None]
    return [entry for results in found for entry in _list_results(results, task)]


def _list_results(results: Results, task: str) -> list[dict[str, Any]]:
    flat = results.flat()
    sets = [name for name in results.sets if name != ALL or len(results.held_out) != 1]
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for full, value in flat.items():
        name, described = read_name(full), results.described.describe(full)
        if name.is_stderr or name.depth is not None or described.lower is None or name.set not in sets:
            continue
        protocol = name.protocol or RECIPE
        metric = full.partition('/')[2]
        about: dict[str, Any] = dict(protocol=protocol, direction='lower' if described.lower else 'higher')
        about.update({key: found for key, found in dict(
            stamp=results.stamp(metric), stderr=flat.get(f'{full}{STDERR}'),
            images=results.counts.get(name.set)).items() if found})
        entry = entries.setdefault((name.set, protocol), dict(
            task=dict(type=task, name=f'protocol {protocol}'),
            dataset=dict(name=f'held-out set {name.set}', type=name.set, split=name.set), metrics=[]))
        entry['metrics'].append(dict(type=name.plain, value=value, name=described.label, args=about))
    return list(entries.values())
