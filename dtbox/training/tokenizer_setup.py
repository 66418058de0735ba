"""What a TokenizerTask answers before a run: losses, checks, modules that compile alone, how FSDP2 divides it."""
from __future__ import annotations

from typing import Any, Mapping, Sequence

from torch import nn

from dtbox import distributed
from dtbox.errors import InputError, at
from dtbox.losses.adversarial import AdversarialLoss
from dtbox.losses.criterion import Criterion
from dtbox.structures import TokenizerOutput
from dtbox.training.parallel import ShardPlan, find_blocks

METHODS = ('encode', 'features', 'decode', 'pool_image', 'pool_text', 'pool_regions')
"""Methods of a tokenizer that need its whole weights as `forward` does."""


def build_criterion(losses: Mapping | None) -> Criterion | None:
    """Build the Criterion of `losses`, or None."""
    with at('losses'):
        return Criterion(losses) if losses is not None else None


def check_quantizers(quantizers: Mapping[str, nn.Module], last: str | None) -> None:
    """Raise `InputError` where a rank without samples would leave the other ranks waiting in a quantizer.

    Args:
        quantizers: vocabulary -> quantizer.
        last: what the sampler does with the last batch of an epoch.
    """
    official = [name for name, quantizer in quantizers.items() if getattr(quantizer, 'updates_in_forward', False)]
    if last == 'smaller' and official and distributed.get_world_size() > 1:
        raise InputError(f'the quantizer of `{official[0]}` sums over ranks in its forward pass (official=True), which '
                         'a rank without samples does not run. Take last=\'drop\' or \'carry\', or leave `official` '
                         'out.',
                         'train_dataloader.last')


def check_gan(gan: Mapping | None) -> dict[str, Any]:
    """Return the configs of a GAN: `discriminator` and `adversarial`, or {} where there is none.

    Raises:
        InputError: one of the two is missing, or something else is there.
    """
    if gan is None:
        return {}
    if not isinstance(gan, Mapping) or {key for key in gan if gan[key] is not None} != {'discriminator', 'adversarial'}:
        raise InputError(f'`gan` is {gan!r}; expected dict(discriminator=..., adversarial=...), or None to train '
                         'without.',
                         'gan')
    return dict(gan)


def check_discriminator_start(loss: AdversarialLoss | None, end: int) -> list[str]:
    """Return a remark where the discriminator of an adversarial loss begins after the `end` iterations of a run."""
    if loss is None or loss.start < end:
        return []
    return [f'The discriminator would begin at iteration {loss.start} (gan.adversarial.start), but the run ends at '
            f'{end}: it trains without.']


def choose_vocabularies(tokenizer: nn.Module, requires: Sequence[str]) -> list[str]:
    """Return the vocabularies that a training step runs: all but those that are frozen and that no loss names.

    Args:
        tokenizer: VisualTokenizer.
        requires: as `Criterion.requires`.
    """
    named = {name.split('.')[1] for name in requires if name.startswith(('codes.', 'features.', 'losses.'))}

    def is_frozen(vocabulary: nn.Module) -> bool:
        own = [p.requires_grad for p in vocabulary.parameters()]
        return bool(own) and not any(own)

    def is_named(name: str) -> bool:
        return 'losses' in requires or bool({name, tokenizer.find_stream(name).name} & named)
    return [name for name, vocabulary in tokenizer.vocabularies.items() if is_named(name) or not is_frozen(vocabulary)]


def list_trunks(tokenizer: nn.Module) -> list[nn.Module]:
    """Return the encoders and the text tower of a VisualTokenizer."""
    return [*tokenizer.encoders.values(), *([] if tokenizer.text is None else [tokenizer.text])]


def list_modules_to_compile(task: nn.Module) -> list[nn.Module]:
    """Return the modules of a TokenizerTask that compile each by itself: the blocks of encoders, text tower and
    teacher, the decoder, the discriminator, and the networks of losses."""
    tokenizer = task.tokenizer
    trunks = list_trunks(tokenizer) + ([] if task.teacher is None else [task.teacher.encoder])
    modules = [block for trunk in trunks for block in find_blocks(trunk)]
    modules += [part for part in (tokenizer.decoder, task.discriminator) if part is not None]
    for loss in task.criterion.losses.values():
        modules += [getattr(network, 'net', network) for network in getattr(loss, '_network', ())]
    return modules


def plan_shards(tokenizer: nn.Module, lists: Sequence[str]) -> ShardPlan:
    """Return how FSDP2 divides a VisualTokenizer: blocks of encoders and text tower one at a time, the decoder and all
    else as one.

    Args:
        tokenizer: from now on its passes let features that are not finite through until `raise_postponed`.
        lists: names of lists of blocks in encoders and text tower.

    Raises:
        InputError: a codebook is a parameter, which would be divided, too; every rank needs whole codebooks.
    """
    for name, stream in tokenizer.streams.items():
        learned = [n for n, _ in stream.quantizer.named_parameters()]
        if learned:
            raise InputError(f'the codebook of `{name}` is learned by gradient ({learned[0]}), which FSDP2 would '
                             'shard; codebooks have to be whole on every rank. Take EMACodebook, or leave '
                             'model_wrapper_cfg out (DDP).',
                             'model_wrapper_cfg')
    # a rank that left a forward pass would leave the others waiting for its part of the next block
    tokenizer.postpone()
    # the decoder stays whole: its last weight is asked for after the forward pass
    return ShardPlan(blocks=[block for trunk in list_trunks(tokenizer) for block in find_blocks(trunk, lists)],
                     wholes=[] if tokenizer.decoder is None else [tokenizer.decoder],
                     methods=[(tokenizer, name) for name in METHODS], outputs=[TokenizerOutput])
