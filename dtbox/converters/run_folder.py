"""Write converted weights as a run folder that `dtbox.load` and the tools open."""
from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from mmengine.config import Config

from dtbox import __version__
from dtbox.apis.building import limit_tensors
from dtbox.config.text import dump_config
from dtbox.converters import dualtoken, tokenflow, unitok, var, vila_u, vqgan
from dtbox.errors import InputError, explained
from dtbox.files import explain_writing, replacing
from dtbox.registry import TOKENIZERS
from dtbox.runs import RunFolder
from dtbox.tokenizers.visual import VisualTokenizer
from dtbox.weights.siglip_names import find_sizes, read_sizes
from dtbox.weights.state_dicts import check_finite, load_into

_Convert = TypeVar('_Convert', bound=Callable[..., int])


def _explain(convert: _Convert) -> _Convert:
    """Return a converter whose errors of other code, which odd values of a published file lead to, are sentences."""
    @functools.wraps(convert)
    def call(src: str, *args: Any, **kwargs: Any) -> int:
        with explained(f'{src} cannot be converted, as its config or its weights are not those of a release'):
            return convert(src, *args, **kwargs)
    return cast(_Convert, call)


@_explain
def convert_dualtoken(src: str, dst: str, siglip: str | None = None, weights: str | None = None) -> int:
    """Turn a published DualToken checkpoint into a run folder.

    Args:
        src: folder with config.json and one .pt.
        dst: run folder to write; must not exist, or be empty.
        siglip: Hugging Face SigLIP folder (config.json; tokenizer.json where texts should be embedded); None takes
            `pretrained_model` of the config where that is a local folder.
        weights: which of several sets of weights in the file to take, such as `ema`; None takes an average where there
            is one, and the log says so.

    Returns:
        number of parameters.
    """
    _check_new(dst)
    config, state = dualtoken.read_source(src, weights)
    _check_values(state, src)
    siglip = siglip or config.get('pretrained_model')
    if not siglip or not os.path.isdir(siglip):
        raise InputError(f'the sizes of the towers stand in SigLIP\'s config.json, but `{siglip}` is no local folder. '
                         'Give --siglip DIR.')
    sizes, words = read_sizes(siglip), _words_of(siglip)
    try:
        cfg = dualtoken.build_tokenizer_config(config, sizes.vision, sizes.text, words)
    except KeyError as e:
        raise InputError(f'{src}/config.json has no entry {e}; expected the config of a DualToken release.') from e
    return _build(dst, cfg, dualtoken.map_state(state, config, sizes.vision, sizes.text, src), words, src)


@_explain
def convert_vila_u(src: str, dst: str, siglip: str | None = None, weights: str | None = None) -> int:
    """Turn VILA-U's published vision tower into a run folder.

    Args:
        src: folder of the tower (`vision_tower` of the release): config.json and its weights.
        dst: run folder to write; must not exist, or be empty.
        siglip: Hugging Face SigLIP folder, or the name of a published SigLIP; None takes `pretrained_model` of the
            config.
        weights: which of several sets of weights in the file to take, such as `ema`; None takes an average where there
            is one, and the log says so.

    Returns:
        number of parameters.
    """
    _check_new(dst)
    config, state, source = vila_u.read_source(src, weights)
    _check_values(state, src)
    siglip = siglip or config.get('pretrained_model')
    if not siglip:
        raise InputError(f'{src}/config.json has no `pretrained_model`, which tells the sizes of the towers. Give '
                         '--siglip NAME or DIR.')
    sizes, words = find_sizes(siglip), _words_of(siglip) if vila_u.has_text(state) else None
    try:
        cfg = vila_u.build_tokenizer_config(config, sizes.vision, sizes.text if vila_u.has_text(state) else None, words)
    except KeyError as e:
        raise InputError(f'{src}/config.json has no entry {e}; expected the config of VILA-U\'s vision tower.') from e
    return _build(dst, cfg, vila_u.map_state(state, config, sizes.vision, sizes.text, source), words, source)


@_explain
def convert_vqgan(src: str, dst: str, image_size: int, weights: str | None = None) -> int:
    """Turn a published VQGAN checkpoint of taming-transformers or LlamaGen into a run folder.

    Args:
        src: its .ckpt, .pt or .safetensors file.
        dst: run folder to write; must not exist, or be empty.
        image_size: pixels, which the weights do not tell.
        weights: which of several sets of weights in the file to take, such as `ema`; None takes an average where there
            is one, and the log says so.

    Returns:
        number of parameters.
    """
    _check_new(dst)
    state, directions = vqgan.read_source(src, weights)
    _check_values(state, src)
    cfg = vqgan.build_tokenizer_config(vqgan.find_sizes(state, src), directions, image_size)
    return _build(dst, cfg, vqgan.map_state(state, src), None, src)


@_explain
def convert_unitok(src: str, dst: str, heads: int | None = None, weights: str | None = None) -> int:
    """Turn UniTok's published tokenizer into a run folder.

    Args:
        src: its .pth file.
        dst: run folder to write; must not exist, or be empty.
        heads: attention heads, where the width of the model is not that of a published ViTamin.
        weights: which entry of `trainer` to take; None takes `unitok`.

    Returns:
        number of parameters.
    """
    _check_new(dst)
    args, state = unitok.read_source(src, weights)
    _check_values(state, src)
    cfg = unitok.build_tokenizer_config(args, state, heads)
    return _build(dst, cfg, unitok.map_state(state, args, src), None, src)


@_explain
def convert_var(src: str, dst: str, scales: Sequence[int] | None = None, weights: str | None = None) -> int:
    """Turn VAR's published multi-scale tokenizer into a run folder.

    Args:
        src: its .pth file.
        dst: run folder to write; must not exist, or be empty.
        scales: sizes of the scales; None takes the ten of the release. The size of the images follows from the last.
        weights: which of several sets of weights in the file to take.

    Returns:
        number of parameters.
    """
    _check_new(dst)
    state = var.read_source(src, weights)
    _check_values(state, src)
    cfg = var.build_tokenizer_config(state, scales, src)
    return _build(dst, cfg, var.map_state(state, src), None, src)


@_explain
def convert_tokenflow(src: str, dst: str, image_size: int | None = None, scales: Sequence[int] | None = None,
                      heads: int | None = None, weights: str | None = None) -> int:
    """Turn one of TokenFlow's published tokenizers into a run folder.

    Args:
        src: its .pt file.
        dst: run folder to write; must not exist, or be empty.
        image_size: pixels; None takes those of the published model.
        scales: sizes of the scales; None takes the published ones of the token grid.
        heads: attention heads of a ViTamin or SigLIP, where its width is not a published one.
        weights: which of several sets of weights in the file to take, such as `ema`; None takes an average where there
            is one, and the log says so.

    Returns:
        number of parameters.
    """
    _check_new(dst)
    state = tokenflow.read_source(src, weights)
    _check_values(state, src)
    plan = tokenflow.read_plan(state, src, image_size, scales, heads)
    return _build(dst, tokenflow.build_tokenizer_config(plan), tokenflow.map_state(state, plan, src), None, src)


def _check_new(dst):
    if os.path.isdir(dst) and os.listdir(dst):
        raise InputError(f'{dst} is not empty. Give a folder that is new, so that nothing is overwritten.')


def _check_values(state, src):
    """Raise `InputError` for values that are not finite, by the names of the file; masks may hold infinities."""
    check_finite(state, src, [name for name in state if not name.endswith('mask')])


def _words_of(siglip):
    """Return the path of a SigLIP folder's tokenizer.json, or None."""
    words = os.path.join(siglip, 'tokenizer.json')
    return words if os.path.isfile(words) else None


def _build(dst, cfg, state, words, source):
    """Build the tokenizer, load `state` into it, write the run folder; returns the number of parameters."""
    with limit_tensors(state, source):
        tokenizer = TOKENIZERS.build(cfg, where='model.tokenizer')
    load_into(tokenizer, state, source)
    with explain_writing(dst):
        write(dst, cfg, tokenizer, words, made_from=source)
    return sum(p.numel() for p in tokenizer.parameters())


def write(dst: str, cfg: dict, tokenizer: VisualTokenizer, words: str | None, made_from: str) -> None:
    """Write config.py, checkpoint.pth and the text tokenizer."""
    from dtbox.training import checkpoint
    run = RunFolder(dst)
    os.makedirs(dst, exist_ok=True)
    if words:
        with replacing(run.text_tokenizer) as temporary:
            shutil.copyfile(words, temporary)
        cfg['text']['tokenizer']['file'] = os.path.basename(run.text_tokenizer)
    size = '${image_size}'
    recipe = dict(
        image_size=cfg.pop('image_size'), data_root=None,
        model=dict(type='TokenizerTask', tokenizer=dict(cfg, image_size=size)),
        val_dataloader=dict(batch_size=16,
                            dataset=dict(type='ImageFolder', data_root='${data_root}', split='heldout', pipeline=[
            dict(type='ResizeCrop', size=size), dict(type='PackImage')])),
        val_evaluator=dict(psnr=dict(type='PSNR'), ssim=dict(type='SSIM'), l1=dict(type='L1'),
                           retrieval=dict(type='Retrieval'), zeroshot=dict(type='ZeroShot'),
                           code_usage=dict(type='CodeUsage')))
    dump_config(Config(recipe, format_python_code=False), run.config,
                header=f'Converted by dtbox {__version__} from {os.path.basename(os.path.normpath(made_from))}.')
    state = {f'tokenizer.{k}': v for k, v in tokenizer.state_dict().items()}
    checkpoint.save(dict(meta=dict(dtbox=__version__, converted=True), state_dict=state), run.checkpoint)
    run.write_origin()
