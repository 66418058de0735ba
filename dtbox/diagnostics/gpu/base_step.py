"""A training step of B/16 at 256 pixels, stage 1 with LPIPS and discriminator, as parts of the GPU check run it.

The weights are random; those of LPIPS's network, too, from a file that is written for it.
"""
from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapperDict

from dtbox.diagnostics.direct_step import build_recipe
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.diagnostics.step_setup import share_weights, write_network
from dtbox.registry import MODELS
from dtbox.training.optim import build_optim_wrappers

TINY: dict[str, Any] = dict(net='squeeze', size=32, codes=64,
            vision=dict(hidden_size=32, intermediate_size=48, num_attention_heads=2, image_size=32))
"""What a CPU trains in the place of B/16; 12 layers, as the direct implementation wants them."""
DECODER = dict(channels=32, latent_channels=32, blocks=1, attention_resolutions=(2,))


def make_recipe(settings: Settings, folder: str) -> Config:
    """Return model, optimizers and autocast as the resolved config of a recipe has them.

    Args:
        settings: see Settings.
        folder: for the weights of LPIPS's network.
    """
    network = write_network(settings.choose('vgg', 'squeeze'), folder)
    model, optim = build_recipe(1, network, **settings.choose({}, TINY))
    model['gan']['adversarial']['start'] = 0
    if settings.small:
        model['tokenizer']['decoder'].update(DECODER)
    amp = 'bfloat16' if settings.half and settings.gpu else None
    return Config(dict(model=model, optim_wrapper=optim, amp=amp))


def build_step(settings: Settings, cfg: Config) -> tuple[Any, OptimWrapperDict]:
    """Return (TokenizerTask in training on the device, its optimizers); the same weights every time."""
    torch.manual_seed(0)
    task: Any = MODELS.build({**cfg.model.to_dict(), 'amp': cfg.amp})
    optim = build_optim_wrappers(task.parts, cfg.optim_wrapper.to_dict())
    share_weights(task)
    return task.to(settings.device).train(), optim


