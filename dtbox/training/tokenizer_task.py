"""TokenizerTask: a tokenizer with what training adds - criterion, teacher, discriminator - and its training step.

The tokenizer's `forward` is the only entry of a step, so that DistributedDataParallel sees it. Order of a step: forward,
losses, generator update, codebook commit, discriminator update on the same reconstructions (DualToken, arXiv 2503.14324).
"""
import contextlib

import torch
from mmengine.model import BaseModel

from dtbox import distributed
from dtbox.errors import Diverged, InputError, NotFinite
from dtbox.evaluation.base import EvalContext
from dtbox.layers.attention_switch import switch_attention
from dtbox.losses.criterion import Criterion, check_finite
from dtbox.registry import DISCRIMINATORS, LOSSES, MODELS, TOKENIZERS, check_arguments
from dtbox.training import objective as objectives
from dtbox.training.parallel import local, synchronised
from dtbox.training.preprocess import placeholder, prepare
from dtbox.training.sharing import find_shared, refuse
from dtbox.training.teacher import Teacher

AMP = {None: None, 'bfloat16': torch.bfloat16}


@MODELS.register_module()
class TokenizerTask(BaseModel):
    """A tokenizer in training.

    Args:
        tokenizer: config of the VisualTokenizer.
        losses: dict name -> loss config with `weight`; None for a model that only evaluates.
        teacher: dict(encoder=..., layer=..., and what else Teacher takes), or None.
        discriminator: discriminator config, or None.
        adversarial: config of the adversarial loss; needed with a discriminator.
        amp: None for float32, or 'bfloat16': autocast of forward and losses.
    """

    def __init__(self, tokenizer, losses=None, teacher=None, discriminator=None, adversarial=None, amp=None):
        super().__init__()
        if amp not in AMP:
            raise InputError(f'`amp` is {amp!r}; expected None or \'bfloat16\'.', 'amp')
        self.tokenizer = TOKENIZERS.build({'type': 'VisualTokenizer', **tokenizer}, where='tokenizer')
        object.__setattr__(self, 'criterion', self._build_criterion(losses))
        self.amp = AMP[amp]
        self.discriminator = DISCRIMINATORS.build(discriminator, where='discriminator') if discriminator else None
        if (discriminator is None) != (adversarial is None):
            raise InputError('a discriminator and an adversarial loss come together; '
                             f'got discriminator={discriminator is not None}, adversarial={adversarial is not None}.', 'adversarial')
        self.adversarial = LOSSES.build(adversarial, where='adversarial') if adversarial else None
        self._build_teacher(teacher)
        self.register_buffer('iteration', torch.zeros((), dtype=torch.int64))
        # not modules of this one: wrapped by DDP they would put a prefix into the state dict
        object.__setattr__(self, 'entry', self.tokenizer)
        object.__setattr__(self, 'critic', self.discriminator)
        self.checked_gradients, self.share, self.shared = False, 1.0, 'unknown'
        self.stop_wanted, self.stop_agreed = False, False  # the first, set on one process, sets the second on all in the next step

    def _build_criterion(self, losses):
        try:
            return Criterion(losses) if losses is not None else None
        except InputError as e:
            raise e.within('losses') from e.__cause__

    def _build_teacher(self, cfg):
        needs = [name for name in self.criterion.requires if name.startswith('teacher')] if self.criterion else []
        if needs and not cfg:
            raise InputError(f'the losses need {", ".join(needs)}, but the config has no teacher.', 'teacher')
        try:
            if cfg:
                check_arguments(Teacher, cfg, 'the teacher')
            teacher = Teacher(**{'image_size': self.tokenizer.image_size, **cfg}) if cfg else None
        except InputError as e:
            raise e.within('teacher') from e.__cause__
        if teacher is not None and self.tokenizer.attention is not None:
            switch_attention(teacher.encoder, self.tokenizer.attention)
        object.__setattr__(self, 'teacher', teacher)
        if self.criterion is not None:
            self.criterion.bind(teacher)

    def _apply(self, fn, *args, **kwargs):
        """Move teacher and criterion along with the rest, although their frozen weights are no part of this module's state."""
        for part in (self.teacher, self.criterion):
            if part is not None:
                part._apply(fn)
        return super()._apply(fn, *args, **kwargs)

    def init_weights(self):
        """Load the weights that encoders, text tower and teacher name in their configs."""
        for name, part in (('tokenizer', self.tokenizer), ('teacher', self.teacher)):
            if part is not None:
                try:
                    part.init_weights()
                except InputError as e:
                    raise e.within(f'model.{name}') from e.__cause__

    def modules_to_train(self):
        """Return dict optimizer name -> module."""
        found = dict(generator=self.tokenizer)
        if self.discriminator is not None:
            found['discriminator'] = self.discriminator
        return found

    def wrap(self, wrapper):
        """Let `wrapper` (DistributedDataParallel) stand between the step and the modules."""
        object.__setattr__(self, 'entry', wrapper(self.tokenizer))
        if self.discriminator is not None:
            object.__setattr__(self, 'critic', wrapper(self.discriminator))

    def prepare(self, batch):
        """Move a Batch to this model's device and range."""
        return prepare(batch, self.iteration.device)

    def autocast(self):
        """Return the autocast context of this run."""
        return torch.autocast(self.iteration.device.type, dtype=self.amp or torch.bfloat16, enabled=self.amp is not None)

    # ---- training ---------------------------------------------------------------------------------------------

    def train_step(self, data, optim_wrapper):
        """Run one iteration.

        Args:
            data: Batch. Processes may have different numbers of samples, none included: each sample weighs the same.
            optim_wrapper: OptimWrapperDict with `generator` and, where there is one, `discriminator`.

        Returns:
            dict term -> detached scalar, as logged: means over the samples of this process.

        Raises:
            Diverged: a term (NonFiniteLoss), features on their way into a quantizer, or gradients are NaN or infinite, on any of the processes, each
                of which raises; nothing has been updated (but for a term of the discriminator, which comes after the generator's update).
        """
        data, self.share = self._counted(data)
        batch = self.prepare(data)
        generator = optim_wrapper['generator']
        active = self.adversarial is not None and self.adversarial.active(int(self.iteration))
        with synchronised(self.entry, generator.should_sync()):
            objective, made = self._objective(batch, active, data.images)
            generator.backward(generator.scale_loss(self.share * objective.scalar))
        try:
            self._check_gradients()
        except Diverged:
            generator.zero_grad()
            raise
        if not self.checked_gradients:
            self.check_trainable()
            self.checked_gradients = True
        if generator.should_update():
            generator.step()
            generator.zero_grad()
            self.tokenizer.commit()
        logs = objective.logs
        if active:
            logs.update(self._discriminator_step(batch.images, made, optim_wrapper['discriminator']))
        self.iteration += 1
        return logs

    def _counted(self, data):
        """Return a Batch, or one of a grey picture in its place where it has no sample, and the weight of its means among all processes."""
        total, share, self.stop_agreed = distributed.count_samples(len(data), self.stop_wanted)
        if not total:
            why = f': {data.broken[0].rstrip(".")}' if data.broken else ''
            raise InputError(f'at iteration {int(self.iteration) + 1}, no sample of a batch could be read{why}. Mend the data '
                             '(python tools/check_data.py CONFIG names what is broken).')
        return data if len(data) else placeholder(self.tokenizer.image_size), share

    def _objective(self, batch, active, pixels):
        """Return the Objective of a step and the reconstructions, detached; `Diverged` on every process where it is not finite on one."""
        with self.autocast():
            with self._agreed('forward pass', 'where'), self.tokenizer.collecting(self.share > 0):
                outputs = self.losses_inputs(batch, pixels)
                self.tokenizer.raise_postponed()
            if active:  # what follows asks the other processes, too: all come here, or none
                found = objectives.adversarial(self.criterion, self.adversarial, self.discriminator, outputs, batch,
                                               self.tokenizer.decoder.last_layer, int(self.iteration), self.share)
            else:
                found = objectives.plain(self.criterion, outputs, batch)
        with self._agreed('loss', 'which term'):
            check_finite(found.logs)
        return found, None if outputs.reconstructions is None else outputs.reconstructions.detach()

    @contextlib.contextmanager
    def _agreed(self, what, says):
        """Raise `Diverged` on every process where the block does on one: a process that went on alone would wait for the others forever."""
        failed = None
        try:
            yield
        except (NotFinite, Diverged) as e:
            failed = e
        if distributed.is_set_anywhere(failed is not None):
            self.tokenizer.discard()
            if isinstance(failed, Diverged):
                raise failed
            raise Diverged(str(failed or f'the {what} of another process is not finite; its message says {says}.')) from failed

    def losses_inputs(self, batch, pixels=None):
        """Run tokenizer and teacher as far as the losses ask: prepared Batch -> TokenizerOutput.

        Args:
            batch: prepared Batch.
            pixels: its images as the data gave them, which a teacher's cache knows them by; None takes those of the batch.
        """
        pixels = batch.images if pixels is None else pixels
        requires = self.criterion.requires
        ids = None
        if any(name.startswith('text_pooled') for name in requires):
            if batch.texts is None:
                raise InputError('the losses compare images with texts, but the data has no texts. Add captions '
                                 '(a captions file or class folders), or take a recipe without a contrastive loss.')
            ids = self.tokenizer.text.ids(batch.texts)
        reconstruct = 'reconstructions' in requires or self.adversarial is not None
        taught = any(name.startswith('teacher.') for name in requires)
        if taught and self.teacher.cache is not None:
            outputs = self.entry(batch.images, ids, reconstruct, self._running(requires))
            return outputs.replace(teacher=self.teacher.remembered(batch.images, pixels))
        shared = self._shared_trunk(batch.images) if taught else None
        layers = [(shared[0], layer) for layer in sorted({shared[1], *(k for k in self.teacher.wanted if k < shared[1])})] if shared else []
        outputs = self.entry(batch.images, ids, reconstruct, self._running(requires), layers)
        if taught:
            start = (shared[1], {layer: outputs.layers[shared[0], layer] for _, layer in layers}) if shared else None
            outputs = outputs.replace(teacher=self.teacher(batch.images, start), layers={})
        return outputs

    def _shared_trunk(self, images):
        """Return (encoder, layer) up to which the student's trunk is the teacher's, or None; found in the first step."""
        share = self.teacher.share
        if share is False or share == 'auto' and self.amp is not None:
            return None
        if self.shared == 'unknown':
            self.shared = find_shared(self.teacher, self.tokenizer, images)
            if share is True and self.shared is None:
                refuse('model.teacher.share')
        return self.shared

    def _running(self, requires):
        """Vocabularies that a step runs: all but those that are frozen and that no loss names; their codebooks stand still."""
        named = {name.split('.')[1] for name in requires if name.startswith(('features.', 'losses.'))}
        def frozen(vocabulary):
            own = [p.requires_grad for p in vocabulary.parameters()]
            return own and not any(own)
        return [name for name, vocabulary in self.tokenizer.vocabularies.items()
                if 'losses' in requires or {name, self.tokenizer.stream_of(name).name} & named or not frozen(vocabulary)]

    def _discriminator_step(self, real, fake, optim):
        with synchronised(self.critic, optim.should_sync()):
            with self.autocast():
                # one pass over both: DistributedDataParallel wants one forward per backward
                made, true = self.critic(torch.cat([fake, real])).chunk(2)
                total, logs = self.adversarial.discriminator_terms(true, made, int(self.iteration))
            with self._agreed('discriminator\'s term', 'more'):
                check_finite(logs)
            optim.update_params(self.share * total)
        return logs

    def _check_gradients(self):
        """Raise `Diverged` on every process where gradients are not finite on one; one in which none is NaN but their norms overflow is fine."""
        gradients = [local(p.grad) for p in self.tokenizer.parameters() if p.grad is not None]
        with self._agreed('gradient', 'which'):
            if not gradients or torch.isfinite(torch.stack(torch._foreach_norm(gradients)).sum()):
                return
            names = [n for n, p in self.tokenizer.named_parameters() if p.grad is not None and not torch.isfinite(local(p.grad)).all()]
            if names:
                raise Diverged(f'the gradients of {len(names)} parameters are NaN or infinite, such as {names[0]}.')

    def check_trainable(self):
        """Raise `InputError` naming trainable parameters that the last backward pass left without gradient."""
        idle = [n for n, p in self.tokenizer.named_parameters() if p.requires_grad and p.grad is None]
        if idle:
            more = f', and {len(idle) - 8} more' if len(idle) > 8 else ''
            raise InputError(f'{len(idle)} trainable parameters get no gradient: {", ".join(idle[:8])}{more}. Freeze them '
                             '(optim_wrapper.generator.freeze), or add the loss that should train them.', 'optim_wrapper.generator')

    # ---- evaluation -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, batch):
        """Prepared Batch -> TokenizerOutput with everything that metrics read."""
        text = self.tokenizer.text
        # where pictures have several captions, the metric that reads them embeds them all
        alone = batch.texts is not None and batch.captions is None
        ids = text.ids([t or '?' for t in batch.texts]) if alone and text is not None and text.tokenizer else None
        with self.autocast():
            outputs = full_precision(self.tokenizer(batch.images, ids))
        if self.teacher is not None:
            outputs = outputs.replace(teacher=self.teacher(batch.images))
        return outputs

    def eval_context(self, dataset):
        """Return what metrics need beside batches and outputs, for a dataset with `metainfo`."""
        meta = getattr(dataset, 'metainfo', {})
        tokenizer = self.tokenizer
        can_read = tokenizer.text is not None and tokenizer.text.tokenizer is not None
        sizes = {name: (len(stream.sizes), stream.sizes) for name, stream in tokenizer.streams.items()}
        return EvalContext(classes=list(meta.get('classes') or ()) or None,
                           embed_text=tokenizer.embed_text if can_read else None,
                           teacher=self.teacher.pooled if self.teacher is not None else None, vocabularies=sizes,
                           pool_regions=dict(tokens=tokenizer.pool_regions if tokenizer.head is not None else None,
                                             teacher=self.teacher.pool_regions if self.teacher is not None else None))

    def forward(self, data, mode='predict'):
        """Batch -> TokenizerOutput (MMEngine's entry; 'predict' only, training goes through `train_step`)."""
        return self.predict(self.prepare(data))


def full_precision(outputs):
    """Return a TokenizerOutput in float32, as metrics and the teacher read it, whatever an autocast made of it."""
    def full(value):
        return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
    return outputs.replace(reconstructions=full(outputs.reconstructions), pooled=full(outputs.pooled), last=full(outputs.last),
                           text_pooled=full(outputs.text_pooled),
                           features={name: full(value) for name, value in outputs.features.items()})
