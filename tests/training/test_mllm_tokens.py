"""MLLMTask on token shards: the losses are those of training on the images, and codes of other tokenizers are
refused."""
import numpy as np
import pytest
import torch

from dtbox.conversations import Conversation, ImagePart, Turn
from dtbox.datasets.conversation_dataset import collate_conversations
from dtbox.errors import InputError
from dtbox.image_codes import ImageCodes
from dtbox.registry import DATASETS
from dtbox.token_shards.writing import write_shard
from dtbox.training.mllm_evaluation import predict
from tests import mllm_kit as kit
from tests.conversation_data import write_word_tokenizer
from tests.mllm_kit import frozen  # noqa: F401
from tests.token_kit import make_meta, make_row

pytest.importorskip('transformers')
pytest.importorskip('pyarrow')
COUNT = 6
TEXTS = ('a cat', 'a red dog', 'red', 'a dog', 'it is red', 'a red cat')


@pytest.fixture(scope='module')
def words(tmp_path_factory):
    """Path of a tokenizer.json of whole words."""
    return write_word_tokenizer(tmp_path_factory.mktemp('words') / 'tokenizer.json')


@pytest.fixture(scope='module')
def make(frozen, words):  # noqa: F811
    """Function of options of MLLMTask -> task; half of the prompts are dropped."""
    return lambda **options: kit.make_task(frozen, words, dict(drop=0.5), **options)


@pytest.fixture(scope='module')
def tokens(frozen, tmp_path_factory):  # noqa: F811
    """Token shards of six images, as the tokenizer encodes them."""
    folder = tmp_path_factory.mktemp('tokens')
    codes = frozen.encode(kit.make_images(COUNT).float() / 127.5 - 1)
    meta = make_meta(frozen.layout, frozen.digest)
    rows = [make_row(meta, i, codes={name: value[i].numpy() for name, value in codes.items()}, texts=[text])
            for i, text in enumerate(TEXTS)]
    write_shard(folder, 's', rows, meta)
    return folder


def read_tokens(folder):
    """Items of both tasks, six drawings and six captions."""
    sets = [DATASETS.build(dict(type='TokenShards', data_root=str(folder), task=task)) for task in ('draw', 'caption')]
    return [item for one in sets for item in one]


def read_images():
    """The same samples with their images."""
    items = []
    for i, image in enumerate(kit.make_images(COUNT)):
        asked = Conversation(f's/k{i}', 'question', (Turn('user', (ImagePart(0), 'what is it?')),
                                                     Turn('assistant', (TEXTS[i],), 'caption')), (image,))
        drawn = Conversation(f's/k{i}', 'draw', (Turn('user', (TEXTS[i],)),
                                                 Turn('assistant', (ImagePart(0, True),), 'draw')), (image,))
        items += [dict(conversation=c, key=c.key, set='train', epoch=0, index=i, seed=0) for c in (drawn, asked)]
    return items[::2] + items[1::2]


def train(task, items, steps=3):
    """Logs of each step on the same samples, and the weights in the end."""
    optimizers = kit.make_optim(task)
    logs = []
    for step in range(steps):
        task.iteration.fill_(step)
        logs.append({k: float(v) for k, v in task.train_step(collate_conversations(items), optimizers).items()})
    return logs, task.state_dict()


@pytest.mark.parametrize('options', [dict(), dict(keep_share=0.5, micro_batch=4)])
def test_losses_are_those_of_images(make, tokens, options):
    """Step for step, every term to the last bit, and so the weights: the same codes, texts and draws."""
    from_images, weights = train(make(**options), read_images())
    task = make(**options)
    from_tokens, others = train(task, read_tokens(tokens))
    assert from_tokens == from_images and from_images[0] != from_images[-1]
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert task.codes.misses == 0


def test_images_beside_codes(make, tokens):
    """A batch may hold both: the losses are again those of images alone."""
    images, codes = read_images(), read_tokens(tokens)
    mixed = [codes[i] if i % 3 else images[i] for i in range(len(images))]
    task = make()
    assert train(task, mixed)[0] == train(make(), images)[0] and task.codes.misses == 2


@pytest.mark.parametrize('file', ['draw.jsonl', 'ask.jsonl'])
def test_conversations_that_name_images(make, frozen, tmp_path, file):  # noqa: F811
    """Files of conversations, trained on the codes of the images that they name: the losses of the images, which are
    gone by then."""
    kit.write_llava(tmp_path / 'data')
    options = dict(type='ConversationFiles', data_root=str(tmp_path / 'data'), file=file,
                   pipeline=[dict(type='PackImage')])
    from_images = train(make(), list(DATASETS.build(options)))[0]
    meta = make_meta(frozen.layout, frozen.digest)
    codes = frozen.encode(kit.make_images(12).float() / 127.5 - 1)
    rows = [make_row(meta, i, codes={name: value[i].numpy() for name, value in codes.items()}, key=f'{i}.png')
            for i in range(12)]
    (tmp_path / 'out').mkdir()
    write_shard(tmp_path / 'out', 's', rows, meta)
    for path in (tmp_path / 'data').glob('*.png'):
        path.unlink()
    task = make()
    dataset = DATASETS.build(dict(options, tokens=str(tmp_path / 'out')))
    assert train(task, list(dataset))[0] == from_images and task.codes.misses == 0
    assert dataset.fingerprint() == DATASETS.build(dict(options, tokens=str(tmp_path / 'out'))).fingerprint()


def test_another_tokenizer(words, tokens):
    """With other weights it is refused in the first step, with both hashes and the folder."""
    task = kit.make_task(kit.make_tokenizer(seed=5), words, dict(drop=0.0))
    with pytest.raises(InputError, match=f'codes of {tokens} were made by a tokenizer with the weights .*and the model '
                                         f'reads those of {task.tokenizer.digest}'):
        train(task, read_tokens(tokens), 1)


def test_codes_of_another_shape(make):
    """A stream that is not there, or of other places, although the weights are said to be the same."""
    task = make()

    def read(codes):
        image = ImageCodes(codes, task.tokenizer.digest, 'OUT')
        return train(task, [dict(conversation=kit.draw('a cat', image))], 1)
    codes = {name: np.zeros((kit.PLACES, 2), np.uint16) for name in kit.STREAMS}
    read(codes)
    with pytest.raises(InputError, match='OUT has none of the stream `semantic`'):
        read(dict(pixel=codes['pixel']))
    with pytest.raises(InputError, match=r'OUT has codes \[15, 2\] of the stream `pixel`'):
        read(dict(codes, pixel=codes['pixel'][1:]))


def test_images_alone(make, tokens):
    """A model that draws without a prompt: only codes are targets."""
    dataset = DATASETS.build(dict(type='TokenShards', data_root=str(tokens), task='image'))
    logs, = train(make(), list(dataset), 1)[0]
    assert logs['pixel'] > 0 and logs['semantic'] > 0


def test_evaluation(make, tokens):
    """Metrics compare with the reconstruction of an image that is known by its codes, and with the pixels of
    others."""
    task = make(evaluation=dict(scales=[1.0])).eval()
    images, codes = read_images(), read_tokens(tokens)
    batch = collate_conversations([codes[0], images[1], codes[8]])
    output = predict(task, batch)
    assert torch.equal(output.images[[0, 2]], output.reconstructions[[0, 2]])
    assert torch.equal(output.images[1], kit.make_images(COUNT)[1].float() / 127.5 - 1)
    whole = predict(task, collate_conversations([images[0], images[1], images[8]]))
    assert torch.equal(whole.nats['pixel'][:2], output.nats['pixel'][:2])
    assert [[r.reply for r in one] for one in whole.replies] == [[r.reply for r in one] for one in output.replies]
