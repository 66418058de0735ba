"""Write converted weights as a run folder that `dtbox.load` and the tools open."""
from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from mmengine.config import Config

from dtbox import __version__
from dtbox.apis.building import limit_tensors
from dtbox.config.text import dump_config
from dtbox.converters.kinds import find_kind
from dtbox.converters.projects import Project, list_projects, recognize
from dtbox.converters.recognition import explain_refusal, list_names
from dtbox.errors import InputError, explained
from dtbox.files import explain_writing, replacing
from dtbox.registry import TOKENIZERS
from dtbox.runs import RunFolder
from dtbox.tokenizers.visual import VisualTokenizer
from dtbox.weights.state_dicts import check_finite, load_into


class Converted(NamedTuple):
    """What the function of a kind returns.

    Attributes:
        config: of a VisualTokenizer, with `image_size`.
        state: name -> tensor of that VisualTokenizer, all of them.
        source: where the weights come from, for messages and the record.
        words: path of the tokenizer.json of its text tower, or None.
    """
    config: dict[str, Any]
    state: dict[str, torch.Tensor]
    source: str
    words: str | None = None


def convert(kind: str, src: str | os.PathLike, dst: str | os.PathLike, weights: str | None = None,
            **options: Any) -> int:
    """Turn a published checkpoint into a run folder.

    Args:
        kind: of the checkpoint, a name of `dtbox.converters.kinds.KINDS`.
        src: its file or folder.
        dst: run folder to write; must not exist, or be empty.
        weights: which of several sets of weights in the file to take, such as `ema`; None takes an average where there
            is one, and the log says so.
        options: of the kind.

    Returns:
        number of parameters.

    Raises:
        InputError: no such kind; a file or folder that is not of this kind, or that is damaged; a `dst` that is not
            empty or cannot be written to.
    """
    src, dst = os.fspath(src), os.fspath(dst)
    function = find_kind(kind).find_function()
    if os.path.isdir(dst) and os.listdir(dst):
        raise InputError(f'{dst} is not empty. Give a folder that is new, so that nothing is overwritten.')
    try:
        with explained(f'{src} cannot be converted, as its config or its weights are not those of a release'):
            return _build(dst, function(src, weights, **options), kind)
    except InputError as e:
        raise explain_refusal(e, kind, src) from e.__cause__


def check_values(state: Mapping[str, torch.Tensor], src: str) -> None:
    """Raise `InputError` for values that are not finite, by the names of the file; masks may hold infinities."""
    check_finite(state, src, [name for name in state if not name.endswith('mask')])


def find_words(siglip: str) -> str | None:
    """Return the path of a SigLIP folder's tokenizer.json, or None."""
    words = os.path.join(siglip, 'tokenizer.json')
    return words if os.path.isfile(words) else None


def _build(dst: str, new: Converted, kind: str) -> int:
    """Build the tokenizer, load its weights, write the run folder; returns the number of parameters."""
    with limit_tensors(new.state, new.source):
        tokenizer = TOKENIZERS.build(new.config, where='model.tokenizer')
    load_into(tokenizer, new.state, new.source)
    with explain_writing(dst):
        write(dst, new.config, tokenizer, new.words, made_from=new.source)
        RunFolder(dst).write_origin(describe_origin(kind, new.source))
    return sum(p.numel() for p in tokenizer.parameters())


def describe_origin(kind: str, source: str) -> dict[str, Any]:
    """Return what run.json says of converted weights: the kind, and the projects that they may be of, with licences."""
    return dict(kind=kind, file=os.path.basename(os.path.normpath(source)), projects=[
        dict(name=project.name, source=project.source, code=project.code, weights=project.weights,
             identifier=project.identifier, remark=project.remark) for project in choose_projects(kind, source)])


def choose_projects(kind: str, source: str) -> tuple[Project, ...]:
    """Return the projects of a kind that a source may be of: those whose names it has, or all of the kind."""
    found = tuple(project for project in recognize(list_names(source)) if project.kind == kind)
    return found or list_projects(kind)


def write(dst: str, cfg: dict, tokenizer: VisualTokenizer, words: str | None, made_from: str) -> None:
    """Write config.py, checkpoint.pth and the text tokenizer; all but run.json."""
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
