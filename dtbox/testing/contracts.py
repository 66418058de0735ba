"""The contracts of all kinds of parts, and which of them a config of a part is about."""
from __future__ import annotations

import inspect

from dtbox.errors import InputError, closest
from dtbox.extend.load import load_installed
from dtbox.registry import ALL
from dtbox.testing.contract import Contract
from dtbox.testing.dataset_contract import DATASET
from dtbox.testing.decoder_contract import DECODER
from dtbox.testing.encoder_contract import ENCODER
from dtbox.testing.head_contract import HEAD
from dtbox.testing.lm_contract import LM
from dtbox.testing.loss_contract import LOSS
from dtbox.testing.metric_contract import METRIC
from dtbox.testing.quantizer_contract import QUANTIZER
from dtbox.testing.visual_embedding_contract import VISUAL_EMBEDDING
from dtbox.testing.visual_head_contract import VISUAL_HEAD

CONTRACTS = {contract.kind: contract for contract in (ENCODER, QUANTIZER, DECODER, LOSS, METRIC, DATASET, HEAD, LM,
                                                   VISUAL_EMBEDDING, VISUAL_HEAD)}
"""Kind of part -> Contract."""


def get_contract(kind: str) -> Contract:
    """Return the contract of a kind of part; `InputError` for a kind that has none."""
    if kind not in CONTRACTS:
        raise InputError(f'there is no contract for the kind `{kind}`.{closest(kind, CONTRACTS)} Kinds: '
                         f'{", ".join(CONTRACTS)}.')
    return CONTRACTS[kind]


def find_kind(name: str | type) -> str:
    """Return the kind of a part.

    Args:
        name: registered name, or a class.

    Raises:
        InputError: the name stands in no registry of these kinds, or in several.
    """
    if inspect.isclass(name):
        kinds = [kind for kind, contract in CONTRACTS.items() if issubclass(name, contract.subject.base)]
    else:
        for load in (lambda: None, load_installed):
            load()
            kinds = [kind for kind, contract in CONTRACTS.items() if name in _names(contract)]
            if kinds:
                break
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise InputError(f'`{name}` is a {" and a ".join(kinds)}. Say which: --kind {kinds[0]} (`kind=` in Python).')
    known = sorted({known for contract in CONTRACTS.values() for known in _names(contract)})
    raise InputError(f'`{name}` is not registered as a part of these kinds: '
                     f'{", ".join(CONTRACTS)}.{closest(str(name), known)} '
                     '`dtbox plugins list` shows what is. A plugin that brings it must be named by --plugin '
                     '(`plugins=` in '
                     'Python).')


def _names(contract: Contract) -> list[str]:
    registry = ALL[contract.room]
    registry.import_from_location()
    return list(registry.module_dict)
