"""Language models on a tokenizer whose decoder texts guide: the prompt of a drawing guides it, too."""
import pytest
import torch

from dtbox.ablation.facts import measure_rates
from dtbox.apis.mllm import MultimodalModel
from dtbox.apis.mllm_anchors import _run_tokenizer
from dtbox.apis.mllm_settings import Generation
from dtbox.conversations import Conversation, ImagePart, Turn
from dtbox.errors import InputError
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer
from dtbox.registry import TOKENIZERS
from dtbox.training.mllm_evaluation import predict
from dtbox.training.mllm_images import describe_image
from tests.conversation_data import write_word_tokenizer
from tests.mllm_kit import ask, collate, draw, make_images, make_model, make_task, tell

GUIDANCE = dict(length=6, width=8)
TEXT = dict(type='MeanPoolText', embed_dim=4, width=8, depth=1, heads=2, tokenizer=dict(
    type='FileTokenizer', file='dtbox://siglip-tiny-twemoji/tokenizer.json', context_length=6))
PIPELINE = [dict(type='ResizeCrop', size=32), dict(type='PackImage')]


def make_guided(text=TEXT, **guidance):
    """A FrozenTokenizer of random weights, 3 places of one stream, whose drawings depend much on texts."""
    torch.manual_seed(0)
    config = dict(
        type='VisualTokenizer', image_size=32, text=text,
        encoders=dict(trunk=dict(type='LatentViT', latents=3, patch_size=16, width=16, depth=1, heads=2)),
        vocabularies=dict(pixel=dict(taps='norm', quantizer=dict(type='RQ', size=12, dim=4, depth=2))),
        decoder=dict(type='MaskTokenDecoder', patch_size=16, width=16, depth=1, heads=2,
                     guidance=dict(GUIDANCE, **guidance)))
    model = TOKENIZERS.build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return FrozenTokenizer(model, PIPELINE, dict(tokenizer=config, pipeline=PIPELINE), 'the run')


@pytest.fixture(scope='module')
def words(tmp_path_factory):
    return write_word_tokenizer(tmp_path_factory.mktemp('words') / 'words.json')


@pytest.fixture(scope='module')
def model(words):
    return MultimodalModel(make_model(make_guided(), words), {}, Generation(temperature=0.0, batch=2))


def test_prompts_guide_drawings(model):
    """The image of each row is what its codes and its prompt decode to, also while it grows and over batches."""
    seen, prompts = [], ['a cat', 'a red dog']
    images, codes = model.draw(prompts, 2, codes=True, report=lambda progress: seen.append(progress.images()))
    decoded = [model.tokenizer.decode({'pixel': codes['pixel'][i]}, texts=[prompt] * 2)
               for i, prompt in enumerate(prompts)]
    assert torch.allclose(images, torch.stack(decoded), atol=1e-5)
    other = model.tokenizer.decode({'pixel': codes['pixel'][0]}, texts=['a red dog'] * 2)
    assert (other - images[0]).abs().max() > 0.1
    assert torch.allclose(seen[-1], images, atol=1e-5) and seen[0].shape == images.shape


def test_what_was_said_last_guides_a_drawing_in_a_chat(model, monkeypatch):
    """After a message without words nothing is drawn."""
    from dtbox.apis import mllm_talk
    first = model.model.sequence.tokens.drawn[0]
    asked = []

    def write(lm, contexts, left, rule, generators, may_draw, report):
        asked.append(may_draw)
        return [[first] if may_draw and len(asked) == 1 else []]
    monkeypatch.setattr(mllm_talk, 'generate_texts', write)
    drawn = model.chat([dict(role='user', content='a cat')])['content'][0]['image']
    codes = model.draw('a cat', codes=True)[1]['pixel'][0]
    assert drawn == model.to_pil(model.tokenizer.decode({'pixel': codes}, texts='a cat'))[0]
    model.chat([dict(role='user', content=[dict(type='image', image=drawn)])])
    assert asked == [True, True, False]


def test_evaluation(words):
    """Reconstructions and drawings follow the prompt, or the first caption; without either there is no reconstruction,
    unless a default text stands for it."""
    images = make_images(4)
    captioned = Conversation('c', 'caption', (Turn('user', (ImagePart(0), 'what is it')),
                                              Turn('assistant', ('a dog',), others=('red',))), (images[1],))
    batch = collate([draw('a cat', images[0]), captioned, ask([('red', 'no'), ('what', 'no')], images[2]), tell('red')])
    assert [describe_image(conversation) for conversation in batch.conversations[:3]] == ['a cat', 'a dog', '']
    for default in (None, 'red'):
        tokenizer = make_guided(**({} if default is None else dict(default=default)))
        task = make_task(tokenizer, words, evaluation=dict(max_tokens=2)).eval()
        with torch.no_grad():
            outputs = predict(task, batch)
        codes = tokenizer.encode(batch.images.float() / 127.5 - 1)
        want = tokenizer.decode(codes, ['a cat', 'a dog', 'red'])
        assert torch.allclose(outputs.reconstructions[:2], want[:2], atol=1e-5)
        assert outputs.drawings['s=1'][0].isfinite().all()
        assert outputs.replies[1][0].truths == ('a dog', 'red')
        if default is None:
            assert outputs.reconstructions[2].isnan().all()
        else:
            assert torch.allclose(outputs.reconstructions[2], want[2], atol=1e-5)


def test_anchors_are_guided_by_names(words):
    task = make_task(make_guided(), words).eval()
    images, names = make_images(3), ['a cat', 'a dog', 'red']
    real, made, _ = _run_tokenizer(task, images, names, 2)
    want = task.tokenizer.model.decode(task.tokenizer.encode(real), task.tokenizer.model.text.ids(names))
    assert torch.allclose(made, want, atol=1e-5) and _run_tokenizer(task, images, None, 2)[1] is None


def test_decoding_is_timed():
    rates = measure_rates(make_guided().model, images=2, calls=1)
    assert rates['decode_rate'] > 0 and rates.keys() == {'encode_rate', 'decode_rate'}


def test_a_decoder_without_a_text_tower():
    with pytest.raises(InputError, match='texts guide the decoder of the run, and it has no text tower that reads the '
                                         'prompts of drawings'):
        make_guided(text=None)
