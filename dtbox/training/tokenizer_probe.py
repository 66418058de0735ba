"""What the hook GradientConflict measures of a TokenizerTask: a GradientProbe of `dtbox.hooks.gradient_meter`."""
from __future__ import annotations

import contextlib
import random
from typing import Iterator, Mapping

import numpy as np
import torch
from torch import nn

from dtbox.errors import InputError
from dtbox.losses.base import Loss
from dtbox.losses.criterion import Terms
from dtbox.structures import Batch


class TokenizerProbe:
    """The weighted terms of a TokenizerTask, and the blocks of its encoders.

    Args:
        task: TokenizerTask.
    """

    def __init__(self, task: nn.Module) -> None:
        self.task = task

    @property
    def losses(self) -> Mapping[str, Loss]:
        """Name -> Loss of the criterion."""
        return dict(self.task.criterion.losses.items())

    @property
    def weights(self) -> Mapping[str, float | Mapping[str, float]]:
        """Name -> weight of a loss, or dict term -> weight."""
        return self.task.criterion.weights

    def check(self) -> None:
        """Raise `InputError` where no two gradients can meet: without decoder, or with frozen encoders."""
        tokenizer = self.task.tokenizer
        if tokenizer.decoder is None:
            raise InputError('the recipe has no decoder, so nothing that reconstruction could pull at; its encoder '
                             'serves one aim only.')
        if not any(p.requires_grad for p in tokenizer.encoders.parameters()):
            raise InputError('all parameters of the encoders are frozen; there are no gradients that could be in '
                             'conflict.')

    def compute_terms(self, batch: Batch) -> Terms:
        """Run a Batch, as the data loader gives it, up to the weighted terms; call it within `untouched`."""
        batch = self.task.prepare(batch)
        with self.task.autocast():
            return self.task.criterion(self.task.run_losses_inputs(batch), batch)

    def find_blocks(self) -> list[tuple[str, list[nn.Parameter]]]:
        """Return (layer, its trainable parameters) of the encoders, the embedding first.

        A block consists of the parameters that a pass through it alone depends on, so no encoder needs to name them.
        """
        blocks, encoders = [], self.task.tokenizer.encoders
        with self.untouched():
            for name, encoder in encoders.items():
                encoder.eval()
                own = [p for p in encoder.parameters() if p.requires_grad]
                tokens = encoder.embed(torch.zeros(1, 3, *encoder.image_size, device=self.task.device))
                for layer in range(encoder.depth + 1):
                    if layer:
                        tokens, _ = encoder.run(tokens.detach(), layer - 1, layer)
                    reached = [None] * len(own)
                    if own and tokens.requires_grad:
                        reached = torch.autograd.grad(tokens.sum(), own, allow_unused=True)
                    label = f'{name}:{layer}' if len(encoders) > 1 else str(layer)
                    blocks.append((label, [p for p, g in zip(own, reached) if g is not None]))
        return blocks

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        """Run a block with gradient, and leave no trace of it.

        Modes, buffers and random states are put back. Quantizers are in evaluation mode, in which they collect nothing.
        The tokenizer is called without DistributedDataParallel, which would wait for a backward pass.
        """
        tokenizer = self.task.tokenizer
        modules = [*tokenizer.modules(), *self.task.criterion.modules()]
        modes = [(module, module.training) for module in modules]
        buffers = [(module, name, buffer, buffer.clone()) for module in modules
                   for name, buffer in module._buffers.items() if buffer is not None]
        python, numpy = random.getstate(), np.random.get_state()
        try:
            devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
            with torch.random.fork_rng(devices), torch.enable_grad(), self.task.unwrapped():
                for vocabulary in tokenizer.vocabularies.values():
                    vocabulary.quantizer.eval()
                yield
        finally:
            for module, mode in modes:
                module.training = mode
            with torch.no_grad():
                for module, name, buffer, kept in buffers:
                    module._buffers[name] = buffer
                    buffer.copy_(kept)
            random.setstate(python)
            np.random.set_state(numpy)
