"""A multimodal language model without memory: built on the meta device from configs alone, no weights are read."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

import torch
from mmengine.config import Config
from torch import Tensor, nn

from dtbox.apis.loading import find_folder
from dtbox.apis.mllm_opening import PARTS
from dtbox.apis.opening import TOKENIZER, check_use, find_use
from dtbox.apis.pretrained import find_words, read_tokenizer_config
from dtbox.config import load_config, resolve
from dtbox.config.find import find_config
from dtbox.errors import ForeignError, InputError, at, reason
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer
from dtbox.mllm.sequences.tokens import SequenceTokenizer
from dtbox.registry import MLLMS, TOKENIZERS
from dtbox.tokenizer_files import train_byte_bpe
from dtbox.training.mllm_judge import build_judge
from dtbox.training.optim import freeze_parameters
from dtbox.weights.exported_folders import is_pretrained

PART = 'model'
"""The one optimizer of MLLMTask."""


class TokenizerShape(FrozenTokenizer):
    """A frozen tokenizer of which only the sizes are known.

    Args:
        model: VisualTokenizer on the meta device.
        source: where its config comes from, for messages.
    """

    def __init__(self, model: nn.Module, source: str) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.source, self.digest = source, ''
        self.pipeline, self.config = [], None
        self.places = self._count_places()
        for stream in self.model.streams.values():
            shapes = ShapesOfCodes(stream.quantizer.dim, len(stream.sizes))
            stream.quantizer.encode, stream.quantizer.decode = shapes.encode, shapes.decode


@dataclass(frozen=True)
class ShapesOfCodes:
    """Stands for a quantizer, whose codes depend on values, which meta tensors do not have.

    Attributes:
        dim: C.
        depth: Q.
    """
    dim: int
    depth: int

    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,Q]."""
        return torch.zeros(*z.shape[:2], self.depth, dtype=torch.int64)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,Q] -> features [B,N,C]."""
        return torch.zeros(*codes.shape[:2], self.dim)


class AnyTextTokenizer(SequenceTokenizer):
    """Stands for the text tokenizer of a pretrained language model whose files are not there: as many ids as it has
    rows, and the special tokens of images after them.

    Args:
        rows: as in `SequenceTokenizer`.
    """

    def __init__(self, rows: int | None = None) -> None:
        tokenizer = train_byte_bpe([' a'], 300, ('<pad>', '<bos>', '<eos>'))
        super().__init__(tokenizer, '<bos>', '<eos>', '<pad>', source='a stand-in', rows=rows)


def build_mllm_without_memory(cfg: Config, missing: list[str]) -> tuple[Any, nn.Module | None]:
    """Build the model of a config of MLLMTask on the meta device, frozen where its optimizer freezes.

    Args:
        cfg: resolved config of a recipe.
        missing: gets a sentence on each part that is not there and was replaced.

    Returns:
        (MultimodalLM, Judge or None).

    Raises:
        InputError: a model that cannot be built; a tokenizer whose config is not there.
    """
    model_cfg = cfg.model.to_dict() if hasattr(cfg.model, 'to_dict') else dict(cfg.model)
    parts = {name: model_cfg[name] for name in PARTS if name in model_cfg}
    with at('model'):
        frozen = read_tokenizer_shape((model_cfg.get('tokenizer') or {}).get('source'))
    try:
        model = _build(parts, frozen)
    except InputError as e:
        if 'sequence.tokenizer' not in (e.where or '') or not (parts['lm'] or {}).get('pretrained'):
            raise
        missing.append(f'the text tokenizer is not there ({e.message}): as many ids as the language model has rows, '
                       'and a row for each special token of images, are counted')
        stand_in = dict(parts['sequence'], tokenizer=dict(type=AnyTextTokenizer), template=dict(type='PlainTemplate'))
        model = _build(dict(parts, sequence=stand_in), frozen)
    optim = (cfg.get('optim_wrapper') or {}).get(PART) or {}
    freeze_parameters(model, optim.get('freeze') or [], f'optim_wrapper.{PART}.freeze')
    with torch.device('meta'), at('model'):
        judge = build_judge(model_cfg.get('judge'), frozen.model.image_size)
    return model.train(), judge


def _build(parts: Mapping[str, Any], frozen: FrozenTokenizer) -> Any:
    with torch.device('meta'):
        try:
            return MLLMS.build(dict(type='MultimodalLM', **parts), where='model', tokenizer=frozen)
        except ForeignError as e:
            if not isinstance(e.__cause__, (RuntimeError, NotImplementedError)):
                raise
            raise InputError('the model cannot be built without memory, a part of it computes with values '
                             f'({reason(e.__cause__)}). Let that part use plain Python numbers in its constructor.',
                             e.where) from e


def read_tokenizer_shape(source: Any) -> TokenizerShape:
    """Return the tokenizer that a source names, without weights.

    Args:
        source: as `TrainedTokenizer` takes it; or a recipe that has not run yet, by its path or name.

    Raises:
        InputError: no config there, or one of something else than a tokenizer.
    """
    if not isinstance(source, str):
        raise InputError(f'`source` is {source!r}; expected a run folder, a folder of save_pretrained, dtbox://NAME or '
                         'a recipe.', 'tokenizer.source')
    with at('tokenizer.source'):
        folder = find_folder(source)
        if is_pretrained(folder):
            part = read_tokenizer_config(folder)['tokenizer']
            find_words(part, folder)
        else:
            cfg = resolve(load_config(find_config(folder)))
            check_use(find_use(cfg), TOKENIZER, source)
            part = cfg.model.tokenizer.to_dict()
        with torch.device('meta'):
            return TokenizerShape(TOKENIZERS.build({'type': 'VisualTokenizer', **part}, where='model.tokenizer'),
                                  source)
