"""ConversationSheets: what stands on the sheets of drawings and replies."""
import contextlib
from types import SimpleNamespace

import torch
from PIL import Image

from dtbox.drawing.sheets import to_uint8
from dtbox.hooks import conversation_sheets
from dtbox.hooks.conversation_sheets import ConversationSheets, show_drawings, show_replies
from dtbox.mllm_output import MLLMOutput, Reply


def images(count):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def output(**more):
    prompts = ['a long prompt', 'pear']
    drawings = {'s=1': images(6).unflatten(0, (2, 3)), 's=3': -images(2)[:, None]}
    replies = [[Reply('closed_loop', '', prompt, text)] for prompt, text in zip(prompts, ('pear', ''))]
    return MLLMOutput(images(2), drawings=drawings, prompts=prompts, replies=replies, **more)


def test_drawings_beside_their_prompts():
    """The real image, the first drawing of each way of sampling, the whole prompt, the caption of that drawing."""
    found, made = show_drawings(output()), output()
    assert [sample.texts for sample in found] == [['a long prompt', 'is called: pear'],
                                                  ['pear', 'is called: (nothing)']]
    wanted = [made.images[1], made.drawings['s=1'][1, 0], made.drawings['s=3'][1, 0]]
    assert all((a == to_uint8(b[None])[0]).all() for a, b in zip(found[1].images, wanted, strict=True))


def test_replies_beside_their_images():
    """A line for each reply after its kind; wrong ones are marked and followed by the right one. Case and a full stop
    do not matter, as in the metrics."""
    replies = [[Reply('caption', 'what is it?', 'a pear', 'A pear'), Reply('faces_right', '?', 'no', 'yes'),
                Reply('size', '?', 'small', 'Small.', ('tiny',)), Reply('place', '?', 'left', '')], []]
    found = show_replies(MLLMOutput(images(2), replies=replies), [0, 1])
    assert [sample.texts for sample in found] == [['A pear', 'faces right: yes [no]', 'size: Small.',
                                                   'place: (nothing) [left]']]
    assert list(found[0].wrong) == [1, 3] and len(found[0].images) == 1


def test_a_set_of_all_kinds():
    """Somebody's file may hold drawings, questions and texts in one set: a row without a prompt has no drawing, one
    without an image shows its question."""
    nan = float('nan')
    pixels, drawn = images(3), images(3)[:, None]
    pixels[2], drawn[1:] = nan, nan
    replies = [[], [Reply('caption', 'what is it?', 'a pear', 'a pear')], [Reply('sum', 'one and one?', 'two', '3')]]
    made = MLLMOutput(pixels, drawings={'s=1': drawn}, prompts=['pear', '', ''], replies=replies)
    assert [(sample.texts, len(sample.images)) for sample in show_drawings(made)] == [(['pear'], 2)]
    found = show_replies(made, [0, 1, 2])
    assert [(sample.texts, len(sample.images)) for sample in found] == [(['a pear'], 1), (['one and one? 3 [two]'], 0)]


class Data(list):
    sets = ['draw', 'draw']


def test_sheets_of_a_run(tmp_path):
    """The sheet of drawings lies in the run folder, as large as its images and texts; nobody was asked."""
    task = torch.nn.Module()
    task.whole = contextlib.nullcontext
    task.predict = lambda batch: output() if batch == [0, 1] else None
    loader = SimpleNamespace(dataset=Data([0, 1]), collate_fn=list)
    runner = SimpleNamespace(work_dir=str(tmp_path), task=task, iter_done=5, max_iters=5,
                             val_loop=SimpleNamespace(dataloader=loader))
    ConversationSheets().after_train(runner)
    width, height = Image.open(tmp_path / 'drawings.png').size
    assert width == 2 * 20 + 2 * (3 * 128 + 2 * 6) + 14 and height < 290
    assert not (tmp_path / 'replies.png').exists()


def test_groups_of_a_mixture_without_sets():
    """Samples of two datasets are of two kinds, though neither names a set."""
    mixture = type('Mixture', (list,), dict(boundaries=[2]))(range(5))
    assert conversation_sheets._group_by_set(mixture, [0, 1, 2, 4]) == [[0, 1], [2, 4]]
    assert conversation_sheets._group_by_set(list(range(5)), [0, 4]) == [[0, 4]]
