"""Small files of conversations, and a tokenizer whose ids can be counted by hand."""
import json

import numpy as np
from PIL import Image

from dtbox.conversations import Conversation, ImagePart, Turn

WORDS = ('cat', 'dog', 'what', 'is', 'it', 'red', 'yes', 'no', 'draw', 'a')
"""Their ids are 3, 4, ...; before them <pad>, <bos>, <eos>, after them the tokens of images."""
START, END, GEN, GENEND, IMG, UNCOND = range(3 + len(WORDS), 9 + len(WORDS))


def write_word_tokenizer(path, words=WORDS, special=('<pad>', '<bos>', '<eos>')):
    """Write a tokenizer.json of whole words."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*special, *words])}, unk_token='<pad>'))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokenizer.save(str(path))
    return str(path)


def write_chat_folder(folder, template, texts=('what is it? a cat\n', 'system user assistant\n'), **config):
    """Write the tokenizer of a chat model: a BPE, its special tokens, its chat template."""
    from dtbox.tokenizer_files import train_byte_bpe
    folder.mkdir(exist_ok=True)
    special = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
    train_byte_bpe(texts, 300, special).save(str(folder / 'tokenizer.json'))
    names = dict(eos_token='<|im_end|>', pad_token='<|endoftext|>', **config)
    if template is not None:
        names['chat_template'] = template
    (folder / 'tokenizer_config.json').write_text(json.dumps(names))
    return str(folder)


def write_rows(folder, rows, images=('a.png', 'b.png'), name='data.jsonl'):
    """Write rows as a .jsonl or .json file, with images of 8 pixels, each of one gray."""
    folder.mkdir(exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(np.full((8, 8, 3), 10 * (i + 1), np.uint8)).save(folder / image)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / name).write_text('\n'.join(lines) if name.endswith('l') else f'[{",".join(lines)}]')
    return str(folder)


def llava(key='k', image='a.png', *pairs):
    """Return a row of LLaVA's format: pairs of (question, answer)."""
    turns = [dict(zip(('from', 'value'), said)) for pair in pairs for said in zip(('human', 'gpt'), pair)]
    row = dict(id=key, conversations=turns)
    return row if image is None else dict(row, image=image)


def ask(key='ask', image=0, *pairs, kind='question'):
    """Return a conversation about one image; several pairs share it as their prefix."""
    turns = [Turn(role, (said,)) for pair in pairs for role, said in zip(('user', 'assistant'), pair)]
    turns[0] = Turn('user', (ImagePart(image), *turns[0].parts))
    return Conversation(key, kind, tuple(turns), shared_prefix=len(pairs) > 1)


def draw(text='a cat', image=0, key='draw'):
    """Return a text and the drawing of it."""
    return Conversation(key, 'draw', (Turn('user', (text,)), Turn('assistant', (ImagePart(image, True),))))
