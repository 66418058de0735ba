"""What is diagnosed: the encoder or the codes of a run folder, or what a config starts from."""
from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import torch

from dtbox.apis.loading import open_config
from dtbox.apis.opening import choose_device, open_tokenizer, set_threads
from dtbox.config import list_known_keys, load_config, resolve
from dtbox.diagnostics.output_folder import is_run
from dtbox.errors import InputError, closest
from dtbox.registry import DATASETS, ENCODERS
from dtbox.training.build import check_required


@dataclass
class Subject:
    """What is probed.

    Attributes:
        encoder: frozen Encoder.
        name: of the encoder, 'teacher' included.
        text: frozen text tower, or None.
        cfg: resolved config.
        remarks: sentences about what is odd or missing.
    """
    encoder: Any
    name: str
    text: Optional[Any]
    cfg: Any
    remarks: list = field(default_factory=list)


def open_encoder(source: str, encoder: str | None = None, options: Mapping[str, Any] | None = None,
                 plugins: Sequence[str] = ()) -> Subject:
    """Open the encoder and text tower of a run folder, or those that a config starts from.

    Args:
        source: run folder or config file.
        encoder: name of an encoder of the tokenizer, 'teacher', or None for the first encoder.
        options: dict of dotted config key -> value to override.
        plugins: plugins that the config does not name.

    Raises:
        InputError: no such encoder; what opening a run says.
    """
    path = None
    if is_run(source):
        cfg, path = open_config(source, None, options, plugins)
    else:
        cfg = resolve(load_config(source, options, plugins))
        check_required(cfg, ('model',))
    set_threads(cfg)
    tokenizer = open_tokenizer(cfg, path).model
    names = [*tokenizer.encoders, *(['teacher'] if cfg.model.get('teacher') else [])]
    name = encoder or names[0]
    if name not in names:
        raise InputError(f'there is no encoder `{name}`.{closest(name, names)} There are: '
                         f'{", ".join(names)}.', '--encoder')
    if name == 'teacher' and name not in tokenizer.encoders:
        if path is not None:
            torch.manual_seed(int(cfg.get('seed', 0)))  # a teacher may name no weights
        part = ENCODERS.build(cfg.model.teacher['encoder'], where='model.teacher.encoder',
                              image_size=tokenizer.image_size)
        part.init_weights()
    else:
        part = tokenizer.encoders[name]
    subject = Subject(part, name, tokenizer.text, cfg)
    if getattr(part, 'weights', '') is None and (path is None or name == 'teacher'):
        subject.remarks.append(f'the encoder `{name}` names no weights: these are the layers of a random network')
    _check_text(subject, path)
    for module in (subject.encoder, subject.text):
        if module is not None:
            module.to(choose_device()).eval().requires_grad_(False)
    return subject


def _check_text(subject, path):
    """Take a text tower that says nothing out of a Subject, and say why."""
    text, why = subject.text, None
    if text is None:
        why = 'the tokenizer has no text tower'
    elif text.tokenizer is None:
        why = 'the text tower has no tokenizer'
    elif path is None and getattr(text, 'weights', '') is None:
        why = 'the text tower names no weights, so its embeddings would be random'
    if why:
        subject.text = None
        subject.remarks.append(f'no semantics: {why}')


def open_codes(run: str, split: str, options: dict | None = None, plugins: Sequence[str] = ()) -> tuple[Any, Any, int]:
    """Open the codes of a run folder.

    Args:
        run: run folder.
        split: 'heldout', or 'train': training images in the form of the held-out ones.
        options: dict of dotted config key -> value to override.
        plugins: plugins that the config does not name.

    Returns:
        (VisualTokenizer in evaluation mode, dataset, batch size of its evaluation).
    """
    if not is_run(run):
        raise InputError(f'{run} is no run folder with a checkpoint.pth; the codes of an untrained model stand for '
                         'nothing. Give the folder of a run.')
    cfg, path = open_config(run, None, options, plugins)
    check_required(cfg, ('val_dataloader',))
    set_threads(cfg)
    model = open_tokenizer(cfg, path, choose_device()).model
    if not len(model.vocabularies):
        raise InputError(f'the tokenizer of {run} has no vocabularies, so it has no codes.')
    data = copy.deepcopy(dict(cfg.val_dataloader['dataset']))
    if split == 'train':
        if 'split' not in list_known_keys(data, 'val_dataloader.dataset'):
            raise InputError(f'`{data.get("type")}` has no `split`, so its training images cannot be had in '
                             'evaluation form.', '--split')
        data['split'] = 'train'
    dataset = DATASETS.build(data, where='val_dataloader.dataset')
    return model, dataset, int(cfg.val_dataloader['batch_size'])
