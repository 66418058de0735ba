"""A multimodal language model so small that a test trains it: a tokenizer of random weights (32 pixels, 16 places, two
streams of two codes), a Llama of width 32, texts of whole words."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.conversations import Conversation, ConversationBatch, ImagePart, Turn
from dtbox.datasets.conversation_dataset import collate_conversations
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer
from dtbox.mllm.model import MultimodalLM
from dtbox.registry import TOKENIZERS
from dtbox.training.mllm_task import MLLMTask
from dtbox.training.optim import build_optim_wrappers
from tests.conversation_data import WORDS

PLACES = 16
STREAMS = ('pixel', 'semantic')
SIZE = 12
"""Codes of each depth."""
ENCODER = dict(type='TimmViT', name='vit_base_patch16_siglip_224',
               model_args=dict(embed_dim=16, depth=2, num_heads=2, patch_size=8))
LLAMA = dict(model_type='llama', hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=2, max_position_embeddings=160, tie_word_embeddings=True)
DEPTH = dict(type='DepthHead', inner=16, blocks=1, heads=2)
ORDERS = ('independent', 'semantic_first', 'pixel_first', 'joint')
HEADS = {**{order: dict(DEPTH, order=order) for order in ORDERS}, 'parallel': dict(type='ParallelHead'),
         'delay': dict(type='DelayHead'), 'flatten': dict(type='FlattenHead')}
EMBEDDINGS = ('CodesEmbedding', 'LearnedEmbedding', 'FeaturesEmbedding')
ORDINARY = len(WORDS) + 3
"""Ids of the text tokenizer without the special tokens of images."""
TEXTS = ('a cat', 'red', 'what is it', 'a red dog')


def tokenizer_config(quantizer=None, **vocabulary):
    """Config of the tokenizer; `vocabulary` is added to both vocabularies."""
    quantizer = quantizer or dict(type='RQ', size=SIZE, dim=8, depth=2, shared=False)
    add = dict(dict(quantizer=quantizer), **vocabulary)
    return dict(type='VisualTokenizer', image_size=32, encoders=dict(trunk=ENCODER), head=dict(type='TrunkPool'),
                vocabularies=dict(pixel=dict(taps=1, **add), semantic=dict(taps=2, reinject=2, **add)),
                decoder=dict(type='LightCNNDecoder', reads=['pixel'], width=32, blocks=1))


def make_tokenizer(seed=0, **parts):
    """Return a FrozenTokenizer of random weights, large enough that images differ in their codes."""
    torch.manual_seed(seed)
    config = tokenizer_config(**parts)
    model = TOKENIZERS.build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return FrozenTokenizer(model, [dict(type='PackImage')], dict(tokenizer=config, pipeline=[dict(type='PackImage')]))


def model_config(words, head='independent', embedding='CodesEmbedding', drop=0.1, pack=None, **lm):
    """Return the configs of the parts of a model; `head` None draws nothing."""
    return dict(lm=dict(type='HFCausalLM', config=dict(LLAMA, **lm)), visual_embedding=dict(type=embedding),
                visual_head=None if head is None else HEADS[head],
                sequence=dict(tokenizer=dict(type='TokenizerFile', file=words), template=dict(type='PlainTemplate'),
                              drop=drop, pack=pack))


def make_model(tokenizer, words, **parts):
    """Return a MultimodalLM of random weights in evaluation mode; `parts` as of `model_config`."""
    torch.manual_seed(1)
    model = MultimodalLM(tokenizer, **model_config(words, **parts))
    model.init_weights()
    return model.eval()


def make_task(tokenizer, words, parts=None, **options):
    """Return an MLLMTask in training mode; `parts` as of `model_config`."""
    torch.manual_seed(1)
    task = MLLMTask(tokenizer, **model_config(words, **(parts or {})), **options)
    task.init_weights()
    return task.train()


def make_optim(task, lr=1e-2, kind='SGD', **more):
    """Return the optimizers of a task."""
    return build_optim_wrappers(task.parts, dict(model=dict(optimizer=dict(type=kind, lr=lr), **more)))


def make_images(count, seed=3):
    """Return uint8 images [M,3,32,32] of random patches."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, 4, 4), generator=generator, dtype=torch.uint8).repeat_interleave(
        8, 2).repeat_interleave(8, 3)


def draw(text, image, key='draw'):
    """Return a drawing of a text."""
    return Conversation(key, 'draw', (Turn('user', (text,)), Turn('assistant', (ImagePart(0, True),))), (image,))


def ask(pairs, image, key='ask'):
    """Return questions about one image, which they share."""
    turns = [Turn(role, (said,), role) for pair in pairs for role, said in zip(('user', 'assistant'), pair)]
    turns[0] = Turn('user', (ImagePart(0), *turns[0].parts))
    return Conversation(key, 'question', tuple(turns), (image,), shared_prefix=len(pairs) > 1)


def chat(image, other, key='chat'):
    """Return a talk in which an image is given and one is drawn."""
    return Conversation(key, 'chat', (Turn('user', (ImagePart(0), 'what is it')), Turn('assistant', ('a dog',)),
                                      Turn('user', ('draw a red cat',)), Turn('assistant', (ImagePart(1, True),))),
                        (image, other))


def tell(text, key='text'):
    """Return a text."""
    return Conversation(key, 'text', (Turn('assistant', (text,)),))


def collate(conversations, epoch=0):
    """Return the ConversationBatch of conversations with images of their own."""
    batch = collate_conversations([
        dict(conversation=c, key=c.key, set='', epoch=epoch, index=i, seed=0) for i, c in enumerate(conversations)])
    assert isinstance(batch, ConversationBatch)
    return batch


def mixed(seed=3):
    """Return conversations of every kind: two drawings, questions that share an image, one question, a talk, a text."""
    images = make_images(6, seed)
    return [draw('a cat', images[0], 'd0'), draw('a red dog what', images[1], 'd1'),
            ask([('what is it', 'a cat'), ('red', 'no'), ('is it a dog', 'no'), ('what', 'a red dog')], images[2],
                'q4'),
            ask([('what', 'a dog')], images[3], 'q1'), chat(images[4], images[5]), tell('a red cat is a cat')]


def random_codes(model, count, seed=0):
    """Return stream -> codes [M,N,Q] that are equally likely."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.stack([torch.randint(size, (count, model.tables.places), generator=generator)
                               for size in sizes], -1) for name, sizes in model.tables.sizes.items()}


def gradients(module):
    """Return name -> gradient of the parameters that have one."""
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def write_llava(folder, count=12):
    """Write images and two files of conversations, `draw.jsonl` and `ask.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = dict(draw=[], ask=[])
    for i, image in enumerate(make_images(count)):
        Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(folder / f'{i}.png')
        word = TEXTS[i % len(TEXTS)]
        rows['draw'].append(dict(id=f'd{i}', image=f'{i}.png', conversations=[
            {'from': 'human', 'value': word}, {'from': 'gpt', 'value': '<image>'}]))
        rows['ask'].append(dict(id=f'q{i}', image=f'{i}.png', conversations=[
            {'from': 'human', 'value': '<image>what is it'}, {'from': 'gpt', 'value': word},
            {'from': 'human', 'value': 'is it red'}, {'from': 'gpt', 'value': 'no' if i % 2 else 'yes'}]))
    for name, lines in rows.items():
        (folder / f'{name}.jsonl').write_text('\n'.join(json.dumps(line) for line in lines))


@pytest.fixture(scope='module')
def frozen():
    """The tokenizer."""
    return make_tokenizer()
