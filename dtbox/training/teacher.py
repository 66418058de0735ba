"""The frozen teacher: an encoder that says what the semantic tokens and the pooled embedding should be.

It lives outside state dict, optimizer and weight EMA; a checkpoint names it by the hash of its weights.
"""
import hashlib

import torch
import torch.nn as nn

from dtbox.errors import InputError
from dtbox.registry import ENCODERS
from dtbox.structures import TeacherOutput
from dtbox.training.sharing import check_share
from dtbox.training.teacher_cache import TeacherCache


class Teacher(nn.Module):
    """A frozen encoder with its own pool.

    Args:
        encoder: encoder config, with `weights`.
        layer: 1-based layer whose raw output the tokens are.
        image_size: filled in from the tokenizer.
        share: take the first blocks' output from the student where these are frozen and equal to the teacher's own, found in the first step: 'auto'
            does so in float32, where the result is the same bit for bit; True under autocast, too, whose rounding the shared blocks then have, and is
            an error where nothing can be shared; False never.
        cache: folder to keep what the teacher says on disk, by the content of the pictures (see `TeacherCache`); None keeps nothing.
        cache_dtype: 'float32' or 'bfloat16', of what is kept.
    """

    def __init__(self, encoder, layer, image_size=None, share='auto', cache=None, cache_dtype='float32'):
        super().__init__()
        check_share(share)
        self.share, self.cache = share, TeacherCache(cache, cache_dtype) if cache else None
        self.encoder = ENCODERS.build(encoder, where='encoder', image_size=image_size)
        if not 0 <= layer <= self.encoder.depth:
            raise InputError(f'the teacher\'s layer is {layer}, but its encoder has {self.encoder.depth} blocks.', 'layer')
        self.layer = layer
        self.requires_grad_(False).eval()
        self._hash = None
        self._wanted, self._images, self._tapped = {layer}, None, {}

    def train(self, mode=True):
        """Stay in evaluation mode, whatever the model around it does."""
        return super().train(False)

    def init_weights(self):
        """Load the encoder's weights."""
        self.encoder.init_weights()
        self._hash = None

    @property
    def wanted(self):
        """Layers whose tokens are asked for."""
        return set(self._wanted)

    @torch.no_grad()
    def forward(self, images, start=None):
        """images [B,3,H,W] in [-1,1] -> TeacherOutput with the tokens of `layer` and the pooled output.

        Args:
            images: the pictures.
            start: None, or (layer, dict layer -> tokens [B,N,D] of that and of wanted layers before it), to go on from.
        """
        encoder = self.encoder
        with torch.autocast(images.device.type, enabled=False):
            layer, before = start or (0, {})
            tokens = before[layer].float() if start else encoder.embed(images)
            tokens, tapped = encoder.run(tokens, layer, encoder.depth, {k for k in self._wanted if k >= layer})
            tapped.update({k: v.float() for k, v in before.items() if k in self._wanted})
            pooled = encoder.pool(tokens) if encoder.pooled_dim else None
        self._images, self._tapped = images, tapped
        return TeacherOutput(tapped[self.layer], pooled, tokens)

    def remembered(self, images, pixels):
        """As `forward`, from the cache as far as it goes; the rest is computed and kept. `last` is None.

        Args:
            images: [B,3,H,W] in [-1,1] on the teacher's device.
            pixels: the same [B,3,H,W] as the data gave them, on the CPU, by whose content they are known.
        """
        self._images = None
        return self.cache(self, images, pixels)

    @torch.no_grad()
    def pooled(self, images):
        """images [B,3,H,W] in [-1,1] -> pooled output [B,E], without gradient."""
        return self(images).pooled

    @torch.no_grad()
    def pool_regions(self, last, masks):
        """Pool single regions, see `Encoder.pool_regions`: last [B,P+N,D], B masks [M,H,W] -> list of [M,E]."""
        return self.encoder.pool_regions(last.float(), masks)

    def taps(self, images, layers):
        """images [B,3,H,W] -> dict layer -> patch tokens [B,N,D]; gradients reach the images. Runs no further than needed.

        Without gradient and for the very images of the last `forward`, the answer is what that pass found; layers that are asked for in this
        way are kept from then on.
        """
        if not torch.is_grad_enabled():
            self._wanted = self._wanted | set(layers)
            if images is self._images and set(layers) <= set(self._tapped):
                return {layer: self._tapped[layer] for layer in layers}
        with torch.autocast(images.device.type, enabled=False):
            return self.encoder.run(self.encoder.embed(images.float()), 0, max(layers), set(layers))[1]

    def digest(self):
        """Return the SHA-256 of the weights, 16 hex digits."""
        if self._hash is None:
            h = hashlib.sha256()
            for name, value in sorted(self.encoder.state_dict().items()):
                h.update(name.encode())
                h.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
            self._hash = h.hexdigest()[:16]
        return self._hash
