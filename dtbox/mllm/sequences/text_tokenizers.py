"""Where the text tokens of a sequence come from: a BPE trained on the spot, a tokenizer.json, a pretrained model."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dtbox.counts import format_count
from dtbox.errors import InputError, explained, need_package
from dtbox.mllm.sequences.tokens import SPECIAL, SequenceTokenizer
from dtbox.registry import DATASETS, SEQUENCES
from dtbox.tokenizer_files import check_tokenizer, open_tokenizer, train_byte_bpe
from dtbox.values import Positive
from dtbox.weights.exported_folders import find_model_folder, find_text_tokenizer
from dtbox.weights.model_folders import read_json
from dtbox.weights.state_dicts import find_local_path

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CORE = ('<pad>', '<bos>', '<eos>')
FEWEST = 16
"""Tokens that every text tokenizer has."""


@SEQUENCES.register_module()
class TrainedBPE(SequenceTokenizer):
    """A byte-level BPE trained on texts when it is built; the same texts give the same tokenizer on every rank.

    Args:
        texts: a list of strings, or the config of a dataset that has `texts`.
        size: most entries, special tokens included.
    """

    def __init__(self, texts: Sequence[str] | Mapping[str, Any], size: Positive = 1536) -> None:
        if isinstance(texts, Mapping):
            texts = list(DATASETS.build(dict(texts), where='texts').texts)
        # templates begin a text with a space, as words within a text begin
        tokenizer = train_byte_bpe([f' {text}' for text in texts], size, (*CORE, *SPECIAL))
        super().__init__(tokenizer, bos='<bos>', eos='<eos>', pad='<pad>', source='the trained BPE')


@SEQUENCES.register_module()
class TokenizerFile(SequenceTokenizer):
    """A tokenizer.json, such as `dtbox train-text-tokenizer --kind bpe` writes.

    Args:
        file: path, or `dtbox://NAME/tokenizer.json`.
        bos, eos, pad: as in `SequenceTokenizer`; None for `bos` goes without.
    """

    def __init__(self, file: str, bos: str | None = '<bos>', eos: str = '<eos>', pad: str | None = '<pad>') -> None:
        path = find_local_path(file)
        if not os.path.isfile(path):
            raise InputError(f'the tokenizer file {file} does not exist. Give the path of a tokenizer.json.', 'file')
        super().__init__(open_tokenizer(path), bos, eos, pad, source=file)


@SEQUENCES.register_module()
class PretrainedTokenizer(SequenceTokenizer):
    """The tokenizer of a pretrained language model, with its chat template.

    A folder with tokenizer.json is read as it is. The tokenizer of a GGUF file, of a folder without tokenizer.json and
    of a name on the hub comes through transformers.

    Args:
        path: folder of a language model, one that `save_pretrained` of a multimodal one wrote, a run folder,
            `dtbox://NAME`, a .gguf file (also `package://MODULE/FILE`), or a name on the hub.
        bos, eos, pad: tokens that take the place of those that the model's files name.
        chat_template: Jinja text, or the path of a .jinja file, in place of the model's own.
        rows: rows of the language model for text ids, as in `SequenceTokenizer`; None takes `vocab_size` of the
            folder's config.json, where there is one.
    """

    def __init__(self, path: str, bos: str | None = None, eos: str | None = None, pad: str | None = None,
                 chat_template: str | None = None, rows: int | None = None) -> None:
        local = find_text_tokenizer(find_model_folder(os.path.expanduser(path)))
        own = os.path.isfile(os.path.join(local, 'tokenizer.json'))
        tokenizer, names = (_read_folder if own else _ask_transformers)(local)
        end = eos or names['eos_token']
        if end is None:
            raise InputError(f'{path} does not say which token ends an answer. Set `eos`.', 'eos')
        if chat_template is not None and os.path.isfile(chat_template):
            chat_template = _read_text(chat_template)
        config = os.path.join(local, 'config.json')
        if rows is None and os.path.isfile(config):
            rows = read_json(config).get('vocab_size')
        super().__init__(tokenizer, bos or names['bos_token'], end, pad or names['pad_token'],
                         chat_template or names['chat_template'], source=path, rows=rows)


def _read_folder(folder: str) -> tuple[Tokenizer, dict[str, str | None]]:
    """Return (tokenizer, what tokenizer_config.json and chat_template.jinja say) of a folder with tokenizer.json."""
    config: dict[str, Any] = {}
    for file in ('special_tokens_map.json', 'tokenizer_config.json'):
        if os.path.isfile(os.path.join(folder, file)):
            config.update(read_json(os.path.join(folder, file)))
    names = {key: _get_content(config.get(key)) for key in ('bos_token', 'eos_token', 'pad_token')}
    template, jinja = config.get('chat_template'), os.path.join(folder, 'chat_template.jinja')
    if isinstance(template, list):  # several, by name
        template = next((entry['template'] for entry in template if entry.get('name') == 'default'), None)
    names['chat_template'] = _read_text(jinja) if os.path.isfile(jinja) else template
    return open_tokenizer(os.path.join(folder, 'tokenizer.json')), names


def _ask_transformers(path: str) -> tuple[Tokenizer, dict[str, str | None]]:
    transformers = need_package('transformers', 'mllm', 'the tokenizer of a language model')
    folder, file = os.path.split(path) if path.endswith('.gguf') else (path, None)
    there = '' if os.path.exists(path) else (' (there is no such file or folder here, and the hub does not have it '
                                             'or is not reached)')
    with explained(f'transformers cannot open the tokenizer of {path}{there}'):
        opened = transformers.AutoTokenizer.from_pretrained(folder, **(dict(gguf_file=file) if file else {}))
    if not getattr(opened, 'is_fast', False):
        raise InputError(f'the tokenizer of {path} has no fast form. Give a folder with tokenizer.json.', 'path')
    if len(opened) < FEWEST:  # transformers makes one of nothing where it finds the kind of model and no other file
        raise InputError(f'the tokenizer of {path} has {format_count(len(opened), "token")}: its files are not '
                         f'there. Give a folder '
                         'with tokenizer.json.', 'path')
    names = {key: getattr(opened, key) for key in ('bos_token', 'eos_token', 'pad_token', 'chat_template')}
    return check_tokenizer(opened.backend_tokenizer, path), names


def _get_content(token: str | Mapping[str, Any] | None) -> str | None:
    return token.get('content') if isinstance(token, Mapping) else token


def _read_text(path: str) -> str:
    with open(path, encoding='utf-8') as f:
        return f.read()
