"""What a TokenizerTask answers hooks and the rehearsal."""
from __future__ import annotations

import itertools
from typing import Any, Iterator, Sequence

from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn

from dtbox.structures import Batch
from dtbox.tokenizers.guidance import read_guiding_texts
from dtbox.training.task import Task
from dtbox.training.tokenizer_probe import TokenizerProbe


class TokenizerAnswers(Task):
    """Part of TokenizerTask, which has the attributes named here."""
    tokenizer: Any
    discriminator: Any
    teacher: Any
    criterion: Any

    @property
    def quantizers(self) -> dict[str, nn.Module]:
        """Vocabulary -> quantizer; one that vocabularies share comes once, under its own name."""
        return {name: stream.quantizer for name, stream in self.tokenizer.streams.items()}

    @property
    def discriminator_terms(self) -> Sequence[str]:
        """Names of the discriminator's terms; none without a discriminator."""
        return () if self.discriminator is None else ('discriminator', 'logits_real', 'logits_fake')

    def make_gradient_probe(self) -> TokenizerProbe:
        """Return what measures the gradients of reconstruction and semantics."""
        return TokenizerProbe(self)

    @property
    def reconstructs(self) -> bool:
        """Whether there is a decoder."""
        return self.tokenizer.decoder is not None

    def reconstruct(self, batch: Batch) -> Tensor:
        """Return reconstructions [B,3,H,W] of a prepared Batch, not clamped."""
        ids = read_guiding_texts(self.tokenizer, batch.texts, batch.keys)
        return self.tokenizer(batch.images, ids).reconstructions

    @property
    def all_modules(self) -> Iterator[nn.Module]:
        """Every module, those of teacher and criterion included."""
        outside = [part for part in (self.teacher, self.criterion) if part is not None]
        return itertools.chain(self.modules(), *(part.modules() for part in outside))

    def rehearse(self, data: Batch, optimizers: OptimWrapperDict) -> None:
        """See `Task.rehearse`; the cache of a teacher is left alone."""
        if self.teacher is not None:
            self.teacher.cache = None  # an attribute of a module, which is put back
        super().rehearse(data, optimizers)
