"""TokenizerTask: a visual tokenizer in training, with its losses, teacher and discriminator.

The tokenizer's `forward` is the only entry of a step, so that DistributedDataParallel sees it. Order of a step:
forward, losses, generator update, codebook commit, discriminator update on the same reconstructions (DualToken, arXiv
2503.14324).
"""
from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from dtbox.errors import at
from dtbox.evaluation.base import EvalContext
from dtbox.losses.adversarial import MEANS
from dtbox.losses.criterion import check_finite
from dtbox.part_outputs import check_logits
from dtbox.registry import DISCRIMINATORS, LOSSES, MODELS, TOKENIZERS
from dtbox.runs import RunFolder
from dtbox.structures import Batch, TokenizerOutput
from dtbox.tokenizer_files import hash_tokens, open_tokenizer
from dtbox.training import tokenizer_evaluation, tokenizer_setup
from dtbox.training.parallel import ShardPlan, sync_gradients
from dtbox.training.preprocess import make_placeholder
from dtbox.training.step_checks import agree
from dtbox.training.teacher import Student, build_teacher
from dtbox.training.tokenizer_answers import TokenizerAnswers
from dtbox.training.tokenizer_objective import Objective, compute_adversarial_objective, compute_objective
from dtbox.training.tokenizer_start import read_tokenizer
from dtbox.training.tokenizer_texts import check_needs_texts, read_step_texts
from dtbox.weights.exported_folders import KIND

DISCRIMINATOR = 'discriminator.'
"""How the discriminator's keys in a state dict begin."""


@MODELS.register_module()
class TokenizerTask(TokenizerAnswers):
    """A tokenizer in training.

    Args:
        tokenizer: config of the VisualTokenizer.
        losses: dict name -> loss config with `weight`; None for a model that only evaluates.
        teacher: dict(encoder=..., layer=..., and what else Teacher takes), or None.
        gan: dict(discriminator=..., adversarial=...), configs of the discriminator and of the adversarial loss; None
            trains without.
        amp: None for float32, or 'bfloat16': autocast of forward and losses.
    """
    training_only, safe_settings = ('losses', 'gan'), ('model.teacher.trunk_sharing', 'model.teacher.cache*')
    optional_parts = ('discriminator',)
    fixed_meta, exported_kind = {'teacher': 'as the teacher'}, KIND
    start_advice = dict(text_tokens='Let the text tower of the config read the same tokenizer.json.')

    def __init__(self, tokenizer: Mapping, losses: Mapping | None = None, teacher: Mapping | None = None,
                 gan: Mapping | None = None, amp: str | None = None) -> None:
        super().__init__(amp)
        self.tokenizer = TOKENIZERS.build({'type': 'VisualTokenizer', **tokenizer}, where='tokenizer')
        object.__setattr__(self, 'criterion', tokenizer_setup.build_criterion(losses))
        self.needs_texts = check_needs_texts(self.tokenizer, self.criterion)
        gan = tokenizer_setup.check_gan(gan)
        self.discriminator = DISCRIMINATORS.build(gan['discriminator'], where='gan.discriminator') if gan else None
        self.adversarial = LOSSES.build(gan['adversarial'], where='gan.adversarial') if gan else None
        if gan:
            self.adversarial.prepare(self.discriminator)
        # the weights of teacher and criterion are frozen; they are in no state dict
        object.__setattr__(self, 'teacher', build_teacher(teacher, self.tokenizer, self.criterion))

    def _apply(self, fn: Callable, *args: Any, **kwargs: Any) -> TokenizerTask:
        """Move teacher and criterion along with the rest."""
        for part in (self.teacher, self.criterion):
            if part is not None:
                part._apply(fn)
        return super()._apply(fn, *args, **kwargs)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The tokenizer as `generator`, and the `discriminator` where there is one."""
        parts = dict(generator=self.tokenizer)
        if self.discriminator is not None:
            parts['discriminator'] = self.discriminator
        return parts

    wrapped_tokenizer = property(lambda self: self.get_wrapped('generator'), doc='The tokenizer as a step calls it.')
    wrapped_discriminator = property(lambda self: self.get_wrapped('discriminator'),
                                     doc='The discriminator as a step calls it.')

    # ---- training -----------------------------------------------------------------------------------------------

    def step(self, data: Batch, optimizers: OptimWrapperDict) -> dict[str, Tensor]:
        """Update tokenizer, codebooks, and the discriminator once it takes part; see `Task.step`.

        Terms, features into quantizers and gradients must be finite; those of the discriminator come after the update
        of the generator.
        """
        batch, generator = self.prepare(data), optimizers['generator']
        active = self.adversarial is not None and self.adversarial.active(int(self.iteration))
        with sync_gradients(self.wrapped_tokenizer, generator.should_sync()):
            objective, reconstructions = self._compute_objective(batch, active, data.images)
            generator.backward(generator.scale_loss(self.batch_weight * objective.scalar))
        if self.update('generator', generator):
            self.tokenizer.commit()
        logs = objective.logs
        if active:
            logs.update(self._train_discriminator(batch.images, reconstructions, optimizers['discriminator']))
        return logs

    def _compute_objective(self, batch: Batch, active: bool, pixels: Tensor) -> tuple[Objective, Tensor | None]:
        """Return the Objective and the detached reconstructions; `Diverged` on all ranks unless it is finite on all."""
        with self.autocast():
            with agree('forward pass', 'where', self.discard), self.tokenizer.collecting(self.batch_weight > 0):
                outputs = self.run_losses_inputs(batch, pixels)
                self.tokenizer.raise_postponed()
            if active:  # the adaptive weight compares gradients over ranks: all ranks come here, or none
                last = self.tokenizer.decoder.last_layer
                objective = compute_adversarial_objective(self.criterion, self.adversarial, self.discriminator, outputs,
                                                          batch, last, int(self.iteration), self.batch_weight)
            else:
                objective = compute_objective(self.criterion, outputs, batch)
        with agree('loss', 'which term', self.discard):
            check_finite(objective.logs)
        return objective, None if outputs.reconstructions is None else outputs.reconstructions.detach()

    def run_losses_inputs(self, batch: Batch, pixels: Tensor | None = None) -> TokenizerOutput:
        """Run tokenizer and teacher as far as the losses ask.

        Args:
            batch: prepared Batch.
            pixels: its images as the data gave them, by which a teacher's cache knows them; None takes those of the
                batch.
        """
        requires, ids = self.criterion.requires, read_step_texts(self.tokenizer, batch, self.needs_texts)
        reconstruct = 'reconstructions' in requires or self.adversarial is not None
        names = tokenizer_setup.choose_vocabularies(self.tokenizer, requires)

        def run(layers: Sequence[tuple[str, int]]) -> TokenizerOutput:
            return self.wrapped_tokenizer(batch.images, ids, reconstruct, names, layers)
        if not any(name.startswith('teacher.') for name in requires):
            return run([])
        return self.teacher.observe(batch.images, Student(self.tokenizer, run, exact=self.amp is None), pixels)

    def _train_discriminator(self, images: Tensor, reconstructions: Tensor,
                             optimizer: OptimWrapper) -> dict[str, Tensor]:
        """Update the discriminator on images and detached reconstructions [B,3,H,W]; return its terms."""
        with sync_gradients(self.wrapped_discriminator, optimizer.should_sync()):
            with self.autocast():
                # one pass over both: DistributedDataParallel wants one forward per backward
                views = self.adversarial.make_views(torch.cat([reconstructions, images]), int(self.iteration))
                logits = check_logits(self.discriminator, self.wrapped_discriminator(views), len(views))
                fake, real, *again = logits.split(len(images))
                total, logs = self.adversarial.discriminator_terms(
                    real, fake, int(self.iteration), again[::-1], getattr(self.discriminator, MEANS, None))
            with agree('discriminator\'s term', 'more', self.discard):
                check_finite(logs)
            optimizer.update_params(self.batch_weight * total)
        self.adversarial.update_means(self.discriminator, logs, self.batch_weight)
        return logs

    def discard(self) -> None:
        """Forget what the quantizers have collected in a step that is skipped."""
        self.tokenizer.discard()

    def make_placeholder(self) -> Batch:
        """Return a Batch of one grey image."""
        return make_placeholder(self.tokenizer.image_size)

    # ---- the run and its checkpoints ----------------------------------------------------------------------------

    def check_run(self, cfg: Mapping) -> list[str]:
        """Check that quantizers allow ranks without samples, and that the discriminator begins in time."""
        tokenizer_setup.check_quantizers(self.quantizers, cfg['train_dataloader'].get('last'))
        return tokenizer_setup.check_discriminator_start(self.adversarial, cfg['train_cfg']['max_iters'])

    def has_stepped(self, name: str, logs: Mapping[str, Tensor]) -> bool:
        """Return whether a part has stepped: the discriminator does once it takes part."""
        return name != 'discriminator' or 'discriminator' in logs

    @property
    def modules_to_compile(self) -> list[nn.Module]:
        """Blocks of encoders, text tower and teacher, decoder, discriminator, and networks of losses."""
        return tokenizer_setup.list_modules_to_compile(self)

    def plan_shards(self, lists: Sequence[str]) -> ShardPlan:
        """Return how FSDP2 divides the tokenizer."""
        return tokenizer_setup.plan_shards(self.tokenizer, lists)

    def init_weights(self) -> None:
        """Load the weights that encoders, text tower and teacher name in their configs."""
        for name in ('tokenizer', 'teacher'):
            with at(f'model.{name}'):
                if getattr(self, name) is not None:
                    getattr(self, name).init_weights()

    def init_frozen_weights(self) -> None:
        """Load the teacher's weights."""
        if self.teacher is not None:
            with at('model.teacher'):
                self.teacher.init_weights()

    @property
    def checkpoint_meta(self) -> dict[str, Any]:
        """The hash of the teacher's weights."""
        return dict(teacher=self.teacher.digest() if self.teacher is not None else None)

    @property
    def start_meta(self) -> dict[str, Any]:
        """The hash of the text tokens, where a file defines them."""
        file = getattr(getattr(self.tokenizer.text, 'tokenizer', None), 'file', None)
        return dict(text_tokens=hash_tokens(open_tokenizer(file)) if file else None)

    def read_exported(self, folder: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return (weights of the tokenizer, the hash of its text tokens) of a folder of `save_pretrained`."""
        return read_tokenizer(folder)

    def choose_start(self, given: Sequence[str]) -> tuple[Sequence[str], str]:
        """Decide about the discriminator, which one of two stages may lack; see `Task.choose_start`."""
        mine, theirs = self.discriminator is not None, any(key.startswith(DISCRIMINATOR) for key in given)
        if mine == theirs:
            return (), ''
        return (DISCRIMINATOR,), ('it has no discriminator, a new one is trained' if mine else
                                  'its discriminator is left out')

    def save_files(self, folder: str) -> None:
        """Write the text tokenizer."""
        texts = getattr(self.tokenizer.text, 'tokenizer', None)
        if texts is not None:
            texts.save(RunFolder(folder).text_tokenizer)

    # ---- evaluation, and what hooks ask for -----------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, batch: Batch) -> TokenizerOutput:
        """Return everything that metrics read of a prepared Batch."""
        return tokenizer_evaluation.predict(self, batch)

    def eval_context(self, dataset: Any) -> EvalContext:
        """Return what metrics need beside batches and outputs, for a dataset with `metainfo`."""
        return tokenizer_evaluation.make_eval_context(self, super().eval_context(dataset).classes)
