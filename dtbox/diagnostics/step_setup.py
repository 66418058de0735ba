"""The training step that `dtbox diagnose time` measures: a task with random weights, and a batch.

An encoder that has the sizes of the teacher's shares its weights, as at the start of a real run.
"""
from __future__ import annotations

import copy
import os
from typing import Any

import torch
from mmengine.config import Config

from dtbox.errors import InputError
from dtbox.structures import Batch
from dtbox.tokenizers.visual import VisualTokenizer
from dtbox.training.build import build_parts, build_task
from dtbox.training.optim import build_optim_wrappers

NETWORKS = dict(vgg='vgg16', alex='alexnet', squeeze='squeezenet1_1')
"""Networks of LPIPS -> torchvision's names."""
READERS = ('LPIPSLoss', 'GramLoss')
"""Losses that read the weights of such a network from a file."""


def write_network(net: str, folder: str) -> str:
    """Write random weights of a network of LPIPS, as torchvision names them; returns the path."""
    import torchvision
    path = os.path.join(folder, f'{NETWORKS[net]}.pth')
    state = getattr(torchvision.models, NETWORKS[net])(weights=None).state_dict()
    torch.save({key: value for key, value in state.items() if key.startswith('features.')}, path)
    return path


def build_step(cfg: Config, batch: int | None, random: bool, folder: str) -> tuple[Any, Any, Any, list[str]]:
    """Return (task with random weights, its optimizers, a batch as the data loader gives it, remarks)."""
    cfg, remarks = copy.deepcopy(cfg), ['loading of data is not measured']
    if cfg.get('compile'):
        remarks.append('`compile` is left out: compiled graphs hide the operators')
    if cfg.model.get('teacher') and cfg.model.teacher.get('cache'):
        cfg.model.teacher.cache = None
        remarks.append("the teacher's cache is left out")
    seed = int(cfg.get('seed', 0))
    if random:
        write_random_networks(cfg, folder)
        torch.manual_seed(seed)
        task: Any = build_task(cfg)
        optim = build_optim_wrappers(task.parts, cfg.optim_wrapper, task.optional_parts)
        data: Any = make_batch(task, batch or int(cfg.train_dataloader.batch_size))
        remarks.append('random images')
    else:
        cfg.train_dataloader.update(num_workers=0, **({} if batch is None else dict(batch_size=batch)))
        parts = build_parts(cfg, seed)
        task, optim = parts['model'], parts['optim']
        data = next(iter(parts['train']))
    share_weights(task)
    return task, optim, data, remarks


def make_batch(task: Any, count: int) -> Batch:
    """Return random images, each with a text, for a task that trains a tokenizer."""
    if not isinstance(getattr(task, 'tokenizer', None), VisualTokenizer):
        raise InputError('this recipe does not train on images alone. Leave --random out, so that the data of the '
                         'config is read.', '--random')
    images = torch.randint(0, 256, (count, 3, *task.tokenizer.image_size), dtype=torch.uint8)
    return Batch(images=images, texts=[f'image {i}' for i in range(count)], keys=[str(i) for i in range(count)])


def write_random_networks(cfg: Config, folder: str) -> None:
    """Let the losses of a config that read LPIPS's network read random weights of its sizes."""
    for loss in (cfg.model.get('losses') or {}).values():
        if loss and loss.get('type') in READERS:
            loss.weights = write_network(loss.get('net', 'vgg'), folder)


def share_weights(task: Any) -> None:
    """Give the teacher the weights of the student's encoder of the same sizes, where there is one."""
    teacher = getattr(task, 'teacher', None)
    if teacher is None or not isinstance(getattr(task, 'tokenizer', None), VisualTokenizer):
        return
    wanted = {name: value.shape for name, value in teacher.encoder.state_dict().items()}
    for encoder in task.tokenizer.encoders.values():
        state = encoder.state_dict()
        if {name: value.shape for name, value in state.items()} == wanted:
            teacher.encoder.load_state_dict(state)
            return
