"""The image tower of any published SigLIP, with the activation and epsilon that it was trained with."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtbox.encoders.timm_vit import StagedTimm
from dtbox.errors import InputError
from dtbox.layers.timm_models import build_timm, fit_sizes
from dtbox.registry import ENCODERS
from dtbox.values import Depth, check_value
from dtbox.weights.model_folders import load_published
from dtbox.weights.siglip_names import build_timm_arguments, find_sizes, is_vision_key, map_vision_state
from dtbox.weights.state_dicts import load_into, select_prefix


@ENCODERS.register_module()
class SigLIP(StagedTimm):
    """SigLIP's (arXiv 2303.15343) or SigLIP 2's (arXiv 2502.14786) vision transformer with its attention pool.

    Patch 14 at 384 pixels gives 27 x 27 tokens; the last 6 rows and columns of pixels are not used, as in the original.

    Args:
        name: Hugging Face's, timm's or open_clip's name (`google/siglip2-so400m-patch14-384`, `ViT-L-16-SigLIP2-384`,
            `vit_base_patch16_siglip_256`), or a local folder with Hugging Face's config.json.
        image_size: pixels; None takes that of the name.
        weights: None (random, or those of the folder that `name` is); 'hub', to fetch them; a local folder (Hugging
            Face, open_clip, timm); a file of such a folder; a `dtbox://` name.
        prefix: take only the file's keys under this prefix.
        resample: fit patch kernels and positions to another image or patch size (see TimmViT).
        recompute: drop the activations of blocks and compute them again in the backward pass.
        vision: entries of Hugging Face's `vision_config` that differ (num_hidden_layers, ...), for small models of the
            same shape.

    Raises:
        InputError: an unknown name; from `init_weights`, weights that do not match, with their keys.
    """
    example = dict(name='google/siglip-base-patch16-224', image_size=32,
                   vision=dict(num_hidden_layers=2, hidden_size=32, num_attention_heads=2, intermediate_size=64))

    def __init__(self, name: str, image_size: int | Sequence[int] | None = None, weights: str | None = None,
                 prefix: str = '', resample: bool = False, recompute: bool = False,
                 vision: dict[str, Any] | None = None) -> None:
        sizes = find_sizes(name)
        wrong = set(vision or {}) - set(sizes.vision)
        if wrong:
            raise InputError(f'`vision` has {", ".join(sorted(wrong))}; expected entries of a vision_config: '
                             f'{", ".join(sizes.vision)}.')
        config = {**sizes.vision, **(vision or {})}
        check_value(config['num_hidden_layers'], Depth, 'vision.num_hidden_layers')
        size = config['image_size'] if image_size is None else image_size
        trunk = build_timm('vit_base_patch16_siglip_224', size, build_timm_arguments(config))
        super().__init__(trunk, recompute)
        self.name = name
        self.hub = sizes.hub
        self.prefix = prefix
        self.resample = resample
        self.weights = name if weights is None and sizes.hub == '' else weights

    def init_weights(self) -> None:
        """Load `weights` into the trunk; `InputError` lists every key that does not match."""
        if self.weights is None:
            return
        if self.prefix:
            state, source = load_published(self.weights)
            state = select_prefix(state, self.prefix)
        else:
            state, source = load_published(self.weights, is_vision_key, self.hub)
        state = map_vision_state(state, self.depth, source)
        load_into(self.trunk, fit_sizes(state, self.trunk) if self.resample else state, source)
