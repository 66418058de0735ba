"""Open a run: its tokenizer for use from Python, or the model with its held-out data for evaluation."""
import os

import torch

from dtbox.apis.tokenizer import Tokenizer
from dtbox.config import load_config, resolve, use_own_tokenizer
from dtbox.errors import InputError, reason
from dtbox.layers.weights import load_into, with_prefix
from dtbox.plugins.record import warn_changes
from dtbox.registry import TOKENIZERS
from dtbox.training import checkpoint as checkpoints

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


def load(run, checkpoint=None, device='cpu', dtype='float32', plugins=()):
    """Open a trained tokenizer.

    Args:
        run: run folder; or a config file, together with `checkpoint`.
        checkpoint: checkpoint file; None takes the run folder's checkpoint.pth.
        device: torch device or its name.
        dtype: 'float32', 'bfloat16', 'float16' or the torch dtype; codebooks stay float32, codes are always found in it.
        plugins: plugins that the config does not name, or has at a place where they no longer are: folders, files or modules.

    Returns:
        Tokenizer. A plugin whose content has changed since training is warned of.

    Raises:
        InputError: a missing file or plugin, a checkpoint of another model, an unknown dtype.
    """
    dtype = DTYPES.get(dtype, dtype)
    if dtype not in DTYPES.values():
        raise InputError(f'`dtype` is {dtype!r}; expected one of {", ".join(DTYPES)}.')
    cfg, path = open_config(run, checkpoint, plugins=plugins)
    state = checkpoints.load(path)
    warn_changes((state.get('meta') or {}).get('plugins'), cfg, path)
    model = build_with({'type': 'VisualTokenizer', **cfg.model.tokenizer}, with_prefix(state['state_dict'], 'tokenizer.'), f'the checkpoint {path}')
    try:
        model = cast(model, dtype).to(device).eval().requires_grad_(False)
    except (RuntimeError, AssertionError) as e:
        raise InputError(f'the model cannot be moved to the device {device!r}: {reason(e)}') from e
    pipeline = [dict(step) for step in eval_pipeline(cfg, model.image_size)]
    plain = cfg.model.tokenizer.to_dict() if hasattr(cfg.model.tokenizer, 'to_dict') else dict(cfg.model.tokenizer)
    return Tokenizer(model, pipeline, dict(tokenizer=plain, pipeline=pipeline))


def build_with(cfg, state, source):
    """Build a tokenizer around the tensors of a state dict: nothing is initialised first, nothing is there twice.

    Models that compute with numbers when they are built, or have tensors that no state dict holds, are built as usual, and the weights copied.
    """
    model = _without_memory(cfg)
    empty = model is not None
    if not empty:
        model = TOKENIZERS.build(cfg, where='model.tokenizer')
    load_into(model, state, source, assign=empty)
    return model


def _without_memory(cfg):
    """Return the model on the meta device, or None where it is not all parameters and saved buffers."""
    try:
        with torch.device('meta'):
            model = TOKENIZERS.build(cfg, where='model.tokenizer')
    except Exception:  # whatever it is, building it as usual works, or tells what is wrong
        return None
    saved = set(model.state_dict())
    computed = any(name not in saved for name, _ in model.named_buffers())
    computed |= any(isinstance(value, torch.Tensor) and value.is_meta for module in model.modules() for value in vars(module).values())
    return None if computed else model


def cast(model, dtype):
    """Cast a VisualTokenizer to a float type, all but its quantizers: not even once, since rounded codebooks stay rounded."""
    kept = {id(t) for stream in model.streams.values() for t in (*stream.quantizer.parameters(), *stream.quantizer.buffers())}
    return model._apply(lambda t: t.to(dtype) if t.is_floating_point() and id(t) not in kept else t)


def open_config(run, checkpoint=None, options=None, plugins=()):
    """Return (resolved config, checkpoint path) of a run folder, or of a config and a checkpoint; see `load_config`."""
    run = str(run)
    if not os.path.exists(run):
        raise InputError(f'the run {run} does not exist. Give a run folder, or a config file with a checkpoint.')
    if os.path.isdir(run) and checkpoint is None:
        checkpoint = run
    if os.path.isfile(run) and checkpoint is None and run.endswith(('.pth', '.pt', '.safetensors')):
        folder = os.path.dirname(run) or '.'
        if not os.path.isfile(os.path.join(folder, 'config.py')):
            raise InputError(f'{run} is a checkpoint, with no config.py beside it. Give the config first and the checkpoint second.')
        run, checkpoint = folder, run
    if checkpoint is None:
        raise InputError(f'{run} is a config; say also which checkpoint to open.')
    checkpoint = str(checkpoint)
    if os.path.isdir(checkpoint):
        checkpoint = os.path.join(checkpoint, checkpoints.NAME)
    cfg = load_config(run, options, plugins)
    use_own_tokenizer(cfg, os.path.dirname(checkpoint) or '.')
    cfg = resolve(cfg)
    if not (cfg.get('model') or {}).get('tokenizer'):
        raise InputError(f'{run} has no `model.tokenizer`; it is no tokenizer\'s config.')
    return cfg, checkpoint


def eval_pipeline(cfg, image_size):
    """Return the transform for users' images: the held-out data's own, or short side and centre crop where there is none."""
    dataset = (cfg.get('val_dataloader') or {}).get('dataset') or {}
    dataset = dataset.get('folder') or dataset
    size = image_size[0] if image_size[0] == image_size[1] else image_size
    return dataset.get('pipeline') or [dict(type='ResizeCrop', size=size), dict(type='PackImage')]
