"""The VQ-16 image tokenizer of Janus and Janus-Pro (arXiv 2410.13848, 2501.17811) to a run folder.

It is LlamaGen's, inside the language model's files: `gen_vision_model.*` in DeepSeek's, `model.vqmodel.*` in those of
transformers, where the levels of the decoder are counted in running order. Everything else of the language model is not
read; its `gen_embed` is its own input table, not the codebook.

Codes are those of the nearest direction, as DeepSeek's code searches them. transformers' `JanusVQVAE` searches by plain
distance and normalises only the rows that it looks up, so it gives other codes; this is not followed, and the log says
so.
"""
from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from mmengine.logging import print_log

from dtbox.converters import vqgan
from dtbox.converters.run_folder import Converted, check_values
from dtbox.errors import InputError
from dtbox.weights.entries import strip_name

_OURS = re.compile(r'(.*\.)?(gen_vision_model|vqmodel)\.|(encoder|decoder|quantize|quant_conv|post_quant_conv)\.')
"""Names of the tokenizer in a language model's files, or in a file of its own."""


def convert(src: str, weights: str | None = None, image_size: int | Sequence[int] = 384) -> Converted:
    """Read the image tokenizer of Janus.

    Args:
        src: a file, or a folder with weights whole or in shards, of the language model or of the tokenizer alone.
        weights: which of several sets of weights in the file to take; None takes an average where there is one, and the
            log says so.
        image_size: pixels, a multiple of 16 for the published models.

    Raises:
        InputError: a file that is missing, damaged or of another layout.
    """
    state, directions = vqgan.read_source(src, weights, is_tokenizer)
    if not directions:
        raise InputError(f'{src} has the names of a VQGAN of taming-transformers; expected those of DeepSeek '
                         '(gen_vision_model.encoder.conv_blocks) or of JanusVQVAE. Convert it as `vqgan`.')
    check_values(state, src)
    print_log(f'{src}: codes are those of the nearest direction, as DeepSeek\'s code searches them; transformers\' '
              'JanusVQVAE searches without normalising and gives other codes.', 'current', level=logging.WARNING)
    cfg = vqgan.build_tokenizer_config(vqgan.find_sizes(state, src), True, image_size)
    return Converted(cfg, vqgan.map_state(state, src), src)


def is_tokenizer(name: str) -> bool:
    """Whether a tensor of a language model's file belongs to the image tokenizer."""
    return _OURS.match(strip_name(name)) is not None
