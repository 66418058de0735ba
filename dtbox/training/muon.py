"""An optimizer of matrices: momentum whose singular values are made equal."""
from __future__ import annotations

from typing import Any, Callable, Optional

import torch
from torch import Tensor

from dtbox.errors import InputError
from dtbox.training.parallel import gather_shards, shard_as

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz iteration (Jordan et al. 2024): fast towards 1, not exact there."""


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """Return U V^T of a matrix U S V^T [m,n], nearly: singular values of about 0.7 to 1.2.

    Newton-Schulz iterations of degree five, X -> a X + (b A + c A^2) X with A = X X^T (Jordan et al. 2024, "Muon: an
    optimizer for hidden layers in neural networks"). In bfloat16 on GPUs, as published; in float32 on CPUs, many of
    which multiply bfloat16 twenty times slower.

    Args:
        matrix: [m,n]; of the same type and on the same device is what is returned.
        steps: iterations.
    """
    a, b, c = QUINTIC
    x = matrix.to(torch.float32 if matrix.device.type == 'cpu' else torch.bfloat16)
    x = x.T if x.shape[0] > x.shape[1] else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)


class MuonAdamW(torch.optim.AdamW):
    """Matrices are trained by Muon, all else by AdamW.

    Muon (Jordan et al. 2024) moves a matrix by its Nesterov momentum, orthogonalized. Updates are scaled by
    0.2 sqrt(max(m, n)), which gives them the size of AdamW's (Liu et al., arXiv 2502.16982, equation 4): learning rate
    and weight decay of AdamW serve both. In a config, Muon gets the weights of linear layers that are not narrow
    (`find_matrices`); embeddings, classifiers and positions are tables of rows, and belong to AdamW. `groups` decide
    otherwise:

        optim_wrapper.model.groups={'visual_head.*': dict(options=dict(muon=False))}

    torch.optim.Muon takes matrices alone, and computes in bfloat16 on CPUs, too.

    Args:
        params, lr, betas, eps, weight_decay, fused: of AdamW.
        momentum: of Muon.
        steps: Newton-Schulz iterations.
        muon: whether matrices are trained by Muon at all.

    Raises:
        InputError: momentum outside [0, 1), or no iterations.
    """

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.01, momentum: float = 0.95, steps: int = 5, muon: bool = True,
                 fused: Optional[bool] = None) -> None:
        if not 0 <= momentum < 1:
            raise InputError(f'the momentum of Muon is {momentum}; it lies in [0, 1).')
        if steps < 1:
            raise InputError(f'Muon was asked for {steps} Newton-Schulz iterations; it takes 1 or more.')
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)
        for group in self.param_groups:
            for name, value in dict(muon=muon, momentum=momentum, steps=steps).items():
                group.setdefault(name, value)

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], Any]] = None) -> Any:
        """Move all parameters that have a gradient; gradients stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moved = []
        for group in self.param_groups:
            for parameter in group['params']:
                if group['muon'] and parameter.ndim == 2 and parameter.grad is not None:
                    moved.append((parameter, parameter.grad))
                    self._move(parameter, group)
                    parameter.grad = None  # hidden from AdamW
        super().step()
        for parameter, grad in moved:
            parameter.grad = grad
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:  # AdamW's loader asks for `step`
            state.update(step=torch.zeros(()), momentum_buffer=torch.zeros_like(parameter))
        state['step'] += 1
        momentum = state['momentum_buffer']
        momentum.lerp_(parameter.grad, 1 - group['momentum'])
        update = parameter.grad.lerp(momentum, group['momentum'])  # a shard of it under FSDP2; Muon is of the whole
        update = shard_as(orthogonalize(gather_shards(update), group['steps']), update)
        parameter.mul_(1 - group['lr'] * group['weight_decay'])
        parameter.add_(update, alpha=-group['lr'] * 0.2 * max(parameter.shape) ** 0.5)
