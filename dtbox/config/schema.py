"""What the values of a recipe may be that dtbox itself reads, or gives MMEngine's Runner; one dataclass for each dict.

Arguments of parts are not here: their constructors say by annotations what they take (see `dtbox.registry`).
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Mapping, Sequence

from dtbox.values import Count, Factor, Positive, PositiveNumber, Seed, Table, Text, Within, check_value, read_hints

Part = Any
"""What a registry builds, and checks when it does."""
Workers = Annotated[int, Within(0, 1024)]
"""Processes of a data loader."""


@dataclass
class HeldOutLoader(Table):
    """`val_dataloader`: `batch_size` images of a rank at a time, read by `num_workers` processes (0: by this one)."""
    dataset: Part
    batch_size: Positive
    num_workers: Workers = 0


@dataclass
class TrainLoader(Table):
    """`train_dataloader`; `global_batch_size`, that of all ranks, may stand for `batch_size`, that of one."""
    dataset: Part
    batch_size: Positive | None = None
    global_batch_size: Positive | None = None
    num_workers: Workers = 0
    last: Literal['drop', 'carry', 'smaller'] = 'drop'


@dataclass
class Loop(Table):
    """`train_cfg`, as TrainLoop takes it."""
    max_iters: Positive
    val_interval: Count = 0
    tolerate: Count = 0


@dataclass
class ClipNorm(Table):
    """`clip_grad`: the gradients of a part are scaled down to this norm (torch.nn.utils.clip_grad_norm_)."""
    max_norm: PositiveNumber
    type: Literal['norm'] = 'norm'
    norm_type: float = 2.0
    error_if_nonfinite: bool = False
    foreach: bool | None = None


@dataclass
class ClipValue(Table):
    """`clip_grad`: each gradient is cut to this size (torch.nn.utils.clip_grad_value_)."""
    clip_value: PositiveNumber
    type: Literal['value']
    foreach: bool | None = None


@dataclass
class Group(Table):
    """One of `groups` of an optimizer: factors of learning rate and weight decay, other arguments of the optimizer."""
    lr_mult: Factor = 1.0
    decay_mult: Factor = 1.0
    options: Mapping[str, Any] | None = None


@dataclass
class Optimization(Table):
    """The entry of a part in `optim_wrapper`."""
    optimizer: Mapping[str, Any]
    freeze: Sequence[str] | None = None
    groups: Mapping[str, Group | None] | None = None
    clip_grad: ClipNorm | ClipValue | None = None
    accumulative_counts: Positive = 1


@dataclass
class Recipe(Table):
    """The top level of a config; other names there are variables."""
    model: Mapping[str, Any] | None = None
    train_dataloader: TrainLoader | None = None
    val_dataloader: HeldOutLoader | None = None
    val_evaluator: Mapping[str, Part] | None = None
    optim_wrapper: Mapping[str, Optimization | None] | None = None
    param_scheduler: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    train_cfg: Loop | None = None
    hooks: Mapping[str, Part] | None = None
    vis_backends: Sequence[Mapping[str, Any]] | None = None
    plugins: str | Sequence[str] | None = None
    tiny: Mapping[str, Any] | None = None
    seed: Seed = 0
    amp: Literal['bfloat16'] | None = None
    threads: Annotated[int, Within(1, 1024)] | None = None  # of ten thousands the system makes none
    cpu_ranks: Annotated[int, Within(1, 256)] | None = None  # that `dtbox train` starts where there is no GPU
    work_dir: Text | None = None
    load_from: Text | None = None
    data_root: Any = None
    image_size: Any = None
    model_wrapper_cfg: Mapping[str, Any] | None = None
    ema: Mapping[str, Any] | None = None
    compile: bool | Mapping[str, Any] | None = None
    rank_timeout: PositiveNumber | None = None


DICTS = {'train_dataloader': TrainLoader, 'val_dataloader': HeldOutLoader, 'train_cfg': Loop,
         'optim_wrapper.*': Optimization}
"""Dotted path -> what describes the dict there."""


def check_recipe(cfg: Mapping[str, Any]) -> None:
    """Raise `InputError` for a value of a resolved recipe that dtbox reads and that is none of those allowed."""
    for name, hint in read_hints(Recipe).items():
        if name in cfg:
            check_value(cfg[name], hint, name)
