"""Every registry of dtbox, and the one way parts are built from a config.

Slots (`ENCODERS`, `QUANTIZERS`, ...) belong to dtbox alone: they have no parent and resolve registered names and
classes only, never import paths. The registries under them extend MMEngine's where its Runner looks for a name.
`locations` imports a room when a name is first asked for, so `import dtbox` stays cheap.
"""
from __future__ import annotations

import importlib
import inspect
from typing import Any, Callable, Mapping

from mmengine.registry import DATASETS as MM_DATASETS
from mmengine.registry import HOOKS as MM_HOOKS
from mmengine.registry import METRICS as MM_METRICS
from mmengine.registry import MODELS as MM_MODELS
from mmengine.registry import PARAM_SCHEDULERS as MM_SCHEDULES
from mmengine.registry import Registry

from dtbox.errors import InputError, RenamedError, closest, explained
from dtbox.renames import find_argument, find_name
from dtbox.values import check_values

PARENTS = {'model': 'mmengine.model', 'dataset': 'mmengine.dataset', 'metric': 'mmengine.evaluator',
           'hook': 'mmengine.hooks', 'parameter scheduler': 'mmengine.optim'}
"""MMEngine registry -> the module that registers its parts."""
INSTALLED = 'dtbox.extend'
"""The module that loads the plugins of installed packages. As with `locations`, its name is all that the registry
knows."""
OBSERVERS: list[Callable] = []
"""What sees every registration while a plugin is imported; the last one counts (see `dtbox.extend.watch.observe`)."""


def check_arguments(target: Callable, args: Mapping[str, Any], name: str) -> None:
    """Raise `InputError` when `target(**args)` would refuse an argument or miss one.

    Args:
        target: class or function that is going to be called.
        args: its keyword arguments.
        name: what to call the target in the message.
    """
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    known = [k for k, p in parameters.items() if p.kind is not p.VAR_POSITIONAL]
    for key in args:
        if key not in known:
            moved = find_argument(getattr(target, '__name__', ''), key)
            if moved is not None:
                raise RenamedError(f'{name} takes no argument `{key}`: {moved.tell(key)}')
            raise InputError(f'{name} takes no argument `{key}`.{closest(key, known)} It takes: {", ".join(known)}.')
    missing = [k for k in known if parameters[k].default is inspect.Parameter.empty and k not in args]
    if missing:
        raise InputError(f'{name} needs the argument{"s" * (len(missing) > 1)} '
                         f'{", ".join(f"`{m}`" for m in missing)}; got {", ".join(args) or "none"}.')


def call_checked(target: Callable, args: Mapping[str, Any], name: str, more: Mapping[str, Any] | None = None) -> Any:
    """Return `target(**args, **more)`, the arguments checked by name and by annotation.

    Args:
        target: class or function.
        args: what a config gives.
        name: what to call the target in messages.
        more: arguments of the caller, whose values are not checked.

    Raises:
        InputError: an argument that there is not, one that is missing, a value that its annotation does not allow.
        ForeignError: the target has raised an error of its own.
    """
    check_arguments(target, {**args, **(more or {})}, name)
    check_values(target, args)
    with explained(f'{name} cannot be made of these values'):
        return target(**args, **(more or {}))


class Slot(Registry):
    """A registry whose `build` explains itself.

    An unknown name lists what is registered and the closest match; an argument that the constructor refuses is named,
    and so is a value that does not fit its annotation; an `InputError` raised inside is passed on with `where` put in
    front, so that the message bears the config path, and any other error becomes one.
    """

    def _register_module(self, module: Any, module_name: str | list[str] | None = None, force: bool = False) -> None:
        """Register a class or function; an observer sees it first, where there is one."""
        register = super()._register_module
        if OBSERVERS:
            OBSERVERS[-1](self, register, module, module_name, force)
        else:
            register(module, module_name, force)

    def _candidates(self) -> dict[str, Any]:
        found, node = {}, self
        while node is not None:
            node.import_from_location()
            for key, value in node.module_dict.items():
                found.setdefault(key, value)
            node = node.parent
        return found

    def get(self, key: str) -> Any:
        """Return the registered class or function of that name; `InputError` when there is none."""
        found = self._candidates()
        if key not in found and self.parent is not None:
            # MMEngine's own registries do not know where their parts are
            importlib.import_module(PARENTS[self.parent.name])
            found = self._candidates()
        if key not in found:
            if importlib.import_module(INSTALLED).load_installed():
                found = self._candidates()
        if key in found:
            return found[key]
        moved = find_name(self.name, key)
        if moved is not None:
            raise RenamedError(f'{moved.tell(key, self.name)} Write type={moved.new!r}.')
        own = sorted(self.module_dict)
        raise InputError(f'`{key}` is not registered under {self.name}.{closest(key, found)} '
                         f'Registered: {", ".join(own) or "nothing"}. A plugin that brings it must be named in '
                         '`plugins`, or by --plugin.')

    def build(self, cfg: Any, where: str = '', **defaults: Any) -> Any:
        """Build the part that `cfg` describes.

        Args:
            cfg: dict with `type` (registered name or class) and the constructor's arguments; an object that is already
                built is returned as it is.
            where: config path of `cfg`, for messages.
            defaults: arguments given by the caller where `cfg` does not set them (sizes that follow from other parts).
                Those that the constructor does not take are dropped.
        """
        if not isinstance(cfg, dict):
            if cfg is None or isinstance(cfg, (str, int, float, list, tuple)):
                raise InputError(f'expected a dict with `type` for {self.name}, got {cfg!r}.', where)
            return cfg
        args = {k: v for k, v in cfg.items()}
        try:
            kind = args.pop('type', None)
            if kind is None:
                raise InputError(f'a part of {self.name} needs the key `type`; got the keys {sorted(args)}. '
                                 f'Registered: {", ".join(sorted(self._candidates()))}.')
            target = self.get(kind) if isinstance(kind, str) else kind
            if not callable(target):
                raise InputError(f'`type` is {kind!r}; expected the name of a part of {self.name}. Registered: '
                                 f'{", ".join(sorted(self._candidates()))}.', 'type')
            name = f'`{getattr(target, "__name__", kind)}`'
            taken = _parameters(target)
            more = {k: v for k, v in defaults.items() if k not in args and (taken is None or k in taken)}
            return call_checked(target, args, name, more)
        except InputError as e:
            raise e.within(where) from e.__cause__


def _parameters(target: Callable) -> set[str] | None:
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return None
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else set(parameters)


def _slot(name: str, *rooms: str) -> Slot:
    return Slot(name, scope='dtbox', locations=[f'dtbox.{r}' for r in rooms])


def _child(name: str, parent: Registry, *rooms: str) -> Slot:
    return Slot(name, parent=parent, scope='dtbox', locations=[f'dtbox.{r}' for r in rooms])


ATTENTION = _slot('attention', 'layers')
ESTIMATORS = _slot('gradient estimators', 'layers')
PROJECTIONS = _slot('projections', 'layers')
ENCODERS = _slot('encoders', 'encoders')
TEXTS = _slot('text towers', 'texts')
TEXT_TOKENIZERS = _slot('text tokenizers', 'texts')
QUANTIZERS = _slot('quantizers', 'quantizers')
CODEBOOKS = _slot('codebooks', 'quantizers')
STARTS = _slot('codebook starts', 'quantizers')
DECODERS = _slot('decoders', 'decoders')
PIXEL_HEADS = _slot('pixel heads', 'decoders')
HEADS = _slot('heads', 'heads')
LMS = _slot('language models', 'lms')
LOSSES = _slot('losses', 'losses')
AUGMENTATIONS = _slot('augmentations', 'losses')
DISCRIMINATORS = _slot('discriminators', 'discriminators')
TOKENIZERS = _slot('tokenizers', 'tokenizers', 'apis.trained_tokenizer')
VOCABULARIES = _slot('vocabularies', 'tokenizers')
VISUAL_EMBEDDINGS = _slot('visual embeddings', 'visual_embeddings')
VISUAL_HEADS = _slot('visual heads', 'visual_heads')
MLLMS = _slot('multimodal language models', 'mllm.model')
PROTOCOLS = _slot('protocols', 'protocols')
SEQUENCES = _slot('sequences', 'mllm.sequences')
MIXTURES = _slot('mixtures', 'datasets')

MODELS = _child('models', MM_MODELS, 'training.tokenizer_task', 'training.mllm_task')
DATASETS = _child('datasets', MM_DATASETS, 'datasets')
TRANSFORMS = _slot('transforms', 'datasets')
METRICS = _child('metrics', MM_METRICS, 'evaluation')
HOOKS = _child('hooks', MM_HOOKS, 'hooks')
WRAPPERS = _slot('model wrappers', 'training.parallel')
SCHEDULES = _child('schedules', MM_SCHEDULES, 'training.schedules')

ALL = dict(attention=ATTENTION, estimators=ESTIMATORS, projections=PROJECTIONS, encoders=ENCODERS, texts=TEXTS,
           text_tokenizers=TEXT_TOKENIZERS, quantizers=QUANTIZERS, codebooks=CODEBOOKS, starts=STARTS,
           decoders=DECODERS, pixel_heads=PIXEL_HEADS, heads=HEADS, lms=LMS,
           losses=LOSSES, augmentations=AUGMENTATIONS, discriminators=DISCRIMINATORS,
           tokenizers=TOKENIZERS, vocabularies=VOCABULARIES,
           visual_embeddings=VISUAL_EMBEDDINGS, visual_heads=VISUAL_HEADS,
           models=MODELS, datasets=DATASETS,
           transforms=TRANSFORMS, metrics=METRICS, protocols=PROTOCOLS, hooks=HOOKS, schedules=SCHEDULES,
           wrappers=WRAPPERS, mllms=MLLMS, sequences=SEQUENCES, mixtures=MIXTURES)
"""Registries by the name of the room or slot, for tools that list what there is."""
