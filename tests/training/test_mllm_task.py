"""MLLMTask: terms of the loss, what trains, samples that cannot be used, ranks, values that are not finite."""
import fnmatch
import logging
import math

import pytest
import torch

from dtbox.errors import Diverged, InputError
from dtbox.mllm.contexts import Context
from dtbox.testing.rank_group import SHARED
from dtbox.training import mllm_task
from dtbox.training.code_cache import CodeCache
from dtbox.training.mllm_batches import count_targets
from dtbox.training.mllm_evaluation import ask, draw_contexts, measure_nats, predict
from dtbox.training.parallel import DDP
from tests import mllm_kit as kit
from tests.conversation_data import write_word_tokenizer
from tests.mllm_kit import frozen  # noqa: F401

pytest.importorskip('transformers')
TOLERANCE = dict(rtol=1e-5, atol=1e-6)
"""Of float32 sums in another order."""
NO_DROP = dict(drop=0.0)


@pytest.fixture(scope='module')
def words(tmp_path_factory):
    """Path of a tokenizer.json of whole words."""
    return write_word_tokenizer(tmp_path_factory.mktemp('words') / 'tokenizer.json')


@pytest.fixture(scope='module')
def make(frozen, words):  # noqa: F811
    """Function of (parts, options of MLLMTask) -> task."""
    return lambda parts=NO_DROP, **options: kit.make_task(frozen, words, parts, **options)


def take_steps(task, count=1, talks=None, **optim):
    """Take steps on all kinds of conversations; returns (logs of the last, state)."""
    optimizers = kit.make_optim(task, **optim)
    for _ in range(count):
        logs = task.train_step(kit.collate(kit.mixed() if talks is None else talks), optimizers)
    return {k: float(v) for k, v in logs.items()}, {k: v.clone() for k, v in task.state_dict().items()}


def assert_close(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        one_value, other_value = (torch.as_tensor(v).double() for v in (value, other[name]))
        assert torch.allclose(one_value, other_value, **TOLERANCE), name


# ---- the loss -------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def sums(make):
    """Sums and numbers of targets of all kinds of conversations, in one forward pass; 6 samples."""
    task, talks = make(), kit.collate(kit.mixed())
    batch, _ = task.model.sequence.build(talks, task.codes(talks.images), False)
    counts = count_targets([batch], task.model.tables.sizes)
    with torch.no_grad():
        return {**task.model(batch), **{f'count/{kind}': count for kind, count in counts.items()}}


def log_step(make, **options):
    return take_steps(make(**options))[0]


def test_terms(make, sums):
    """Each kind is the mean over its targets, each depth by itself; the total is their weighted sum."""
    logs = log_step(make, weights=dict(text=0.5, semantic=2.0))
    want = dict(text=float(sums['text'] / sums['count/text']))
    for name in kit.STREAMS:
        depths = (sums[name] / sums[f'count/{name}']).tolist()
        want.update({name: sum(depths) / 2, f'{name}_1': depths[0], f'{name}_2': depths[1]})
    want['total'] = 0.5 * want['text'] + want['pixel'] + 2 * want['semantic']
    assert logs == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize('head', ['delay', 'flatten'])
def test_means_are_over_codes_not_steps(make, head):
    """Steps that hold no code of a depth are no targets of it: an untrained model is at ln K, in training and after."""
    task, image = make(dict(NO_DROP, head=head)), kit.make_images(1)[0]
    logs = take_steps(task)[0]
    batch = kit.collate([kit.draw('a cat', image)])
    nats = measure_nats(task.eval(), batch.conversations, task.model.expand(task.codes(batch.images)), False)
    for name in kit.STREAMS:
        found = [logs[f'{name}_1'], logs[f'{name}_2'], *nats[name][0].tolist()]
        assert found == pytest.approx([math.log(kit.SIZE)] * 4, rel=0.1)


def test_depth_weights(make, sums):
    """They sum to one within their stream; what is logged stays the plain mean."""
    logs = log_step(make, depth_weights=dict(pixel=[3, 1]), weights=dict(text=0, semantic=0))
    first, second = (sums['pixel'] / sums['count/pixel']).tolist()
    assert logs['total'] == pytest.approx((3 * first + second) / 4, rel=1e-5)
    assert logs['pixel'] == pytest.approx((first + second) / 2, rel=1e-5)


def test_reduction_by_sum(make, sums):
    """All log-probabilities of the six samples, divided by six."""
    logs = log_step(make, reduction='sum')
    assert logs['total'] == pytest.approx(sum(float(sums[n].sum()) for n in ('text', *kit.STREAMS)) / 6, rel=1e-5)


@pytest.mark.parametrize('options, message', [
    (dict(weights=dict(text=1, pixl=1)), r'`weights` names `pixl`\. .*Did you mean `pixel`\?.*text, pixel, semantic'),
    (dict(depth_weights=dict(text=[1])), '`depth_weights` names `text`'),
    (dict(depth_weights=dict(pixel=[1])), r'are \[1\]; expected 2 numbers'),
    (dict(depth_weights=dict(pixel=[0, 0])), 'not all 0'), (dict(depth_weights=dict(pixel=[2, -1])), 'none below 0'),
    (dict(reduction='total'), "`reduction` is 'total'; expected one of mean, sum"),
    (dict(evaluation=dict(scale=2)), 'takes no argument `scale`. Did you mean `scales`'),
    (dict(evaluation=dict(scales=[2, -1])), 'evaluation.scales.1: `scales.1` is -1; expected a number of at least 0'),
    (dict(evaluation=dict(batch=0)), '`batch` is 0; expected a whole number of at least 1'),
    (dict(evaluation=dict(sampling=dict(top=2))), '`sampling` takes no argument `top`'),
    (dict(judge=dict(encoder=dict())), 'got the keys encoder')])
def test_options_that_are_refused(make, options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_accumulation_over_iterations_is_refused(make):
    with pytest.raises(InputError, match='Take a larger batch_size'):
        make().check_run(dict(optim_wrapper=dict(model=dict(accumulative_counts=2))))
    assert make().check_run(dict(optim_wrapper=dict(model=dict()))) == []


def test_share_of_the_visual_targets(make):
    """The mean over many draws is the whole loss; another iteration draws anew, the same one draws the same."""
    task = make(keep_share=0.25)
    optimizers, found = kit.make_optim(task, lr=0.0), []
    for step in range(60):
        found.append(float(task.train_step(kit.collate(kit.mixed()), optimizers)['pixel']))
    whole = log_step(make)['pixel']
    mean, deviation = torch.tensor(found).mean(), torch.tensor(found).std()
    assert len(set(found)) > 50 and abs(mean - whole) < 4 * deviation / 60 ** 0.5
    assert log_step(make, keep_share=0.25)['pixel'] == found[0]


@pytest.mark.parametrize('micro', [1, 2, 4])
def test_parts_of_a_step_equal_the_whole(make, micro):
    """Means are over the targets of the whole step, however it is cut: 1, 2 or 4 conversations at a time."""
    whole, parts = (take_steps(make(micro_batch=size), 2) for size in (None, micro))
    assert_close(whole[0], parts[0])
    assert_close(whole[1], parts[1])


def test_autocast(make):
    """bfloat16 stays within one percent of float32."""
    exact, rounded = log_step(make), log_step(make, amp='bfloat16')
    assert rounded == pytest.approx(exact, rel=0.01) and rounded != exact


# ---- what trains ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('freeze', [['lm.*'], ['visual_head.*', 'visual_embedding.*'], ['*embed_tokens*']])
def test_frozen_stages(make, freeze):
    """After five steps exactly the tensors that the patterns name are as they were."""
    task = make()
    before = {name: p.clone() for name, p in task.model.named_parameters()}
    take_steps(task, 5, freeze=freeze)
    same = {name for name, p in task.model.named_parameters() if torch.equal(p, before[name])}
    assert same == {name for name in before if any(fnmatch.fnmatch(name, pattern) for pattern in freeze)} and same


def test_batches_of_one_kind_train(make):
    """A batch of captions, one of drawings, one of text alone, and one of nothing that can be used take a step."""
    talks = kit.mixed()
    for chosen in ([talks[2]], [talks[0]], [talks[5]]):
        logs, _ = take_steps(make(), talks=chosen)
        assert logs['total'] > 0
    long = kit.tell('a cat ' * 200, 'long')
    before = make().state_dict()
    logs, after = take_steps(make(), talks=[long])
    assert logs['total'] == 0 and all(torch.equal(after[name], value) for name, value in before.items()
                                      if name != 'iteration')


def test_samples_that_cannot_be_used(make, monkeypatch):
    """They are left out, each named once with its reason, and counted."""
    told = []
    monkeypatch.setattr(mllm_task, 'print_log', lambda text, *_, **more: told.append((text, more['level'])))
    task, talks = make(), kit.mixed()[:2]
    long = [kit.tell('a cat ' * 200, f'long{i}') for i in range(mllm_task.NAMED + 5)]
    asked = kit.Conversation('open', 'question', (kit.Turn('user', ('what',)),))
    logs, _ = take_steps(task, 2, [*talks, *long, asked])
    assert len(task.unusable) == mllm_task.NAMED + 6 and len(told) == mllm_task.NAMED
    assert told[0] == ('the sample long0 cannot be used: has 402 places; the language model reads 160. Shorten or '
                       'divide it. (1 so far).', logging.WARNING)
    assert 'nothing to predict' in task.unusable['open']
    assert logs == pytest.approx(take_steps(make(), 2, talks)[0], rel=1e-5)


@pytest.mark.parametrize('where', ['word', 'code'])
def test_a_sample_that_is_not_finite_is_named(make, where):
    """A row of the text table, or of the visual embedding's, that is NaN; nothing has been updated."""
    task = make(dict(drop=0.0, embedding='LearnedEmbedding'))
    tokens = task.model.sequence.tokens
    if where == 'word':
        with torch.no_grad():
            task.model.lm.model.get_input_embeddings().weight[tokens.encode('dog')[0]] = float('nan')
        named, talks = 'd1', kit.mixed()[:2]
    else:
        named, talks = 'q1', [kit.mixed()[5], kit.mixed()[3]]
        with torch.no_grad():
            next(task.model.visual_embedding.parameters())[:] = float('nan')
    with pytest.raises(Diverged, match=f'The states of {named} are not finite'):
        take_steps(task, talks=talks)
    assert int(task.iteration) == 0


def test_a_later_part_that_is_not_finite(make):
    """The gradients of earlier parts are gone: the next step is that of a task without such a step."""
    task, count = make(micro_batch=1), []
    optimizers, talks = kit.make_optim(task), kit.collate(kit.mixed())

    def spoil(module, args, output):
        count.append(1)
        return {k: v * float('nan') for k, v in output.items()} if len(count) == 3 else output
    handle = task.model.register_forward_hook(spoil)
    with pytest.raises(Diverged):
        task.train_step(talks, optimizers)
    handle.remove()
    task.train_step(talks, optimizers)
    assert_close(dict(task.state_dict()), take_steps(make(micro_batch=1))[1])


@pytest.mark.parametrize('lora', [None, dict(r=2, lora_alpha=4)])
def test_recomputation(frozen, words, lora):  # noqa: F811
    """Losses and gradients are those of activations that are kept, of a language model that trains and under
    adapters."""
    found = []
    for recompute in (False, True):
        parts = kit.model_config(words, drop=0.0)
        parts['lm'].update(recompute=recompute, lora=lora)
        parts['visual_head'] = dict(kit.DEPTH, recompute=recompute)
        torch.manual_seed(1)
        task = kit.MLLMTask(frozen, **parts)
        kit.make_optim(task)
        batches = task.train().make_sequences(kit.collate(kit.mixed()))
        calls = []
        for part in (*(block.mlp for block in task.model.lm.model.base_model.layers),
                     *(block.norm1 for block in task.model.visual_head.chains[0].blocks)):
            part.register_forward_pre_hook(lambda module, args: calls.append(module))
        losses = {f'{i} {k}': v for i, batch in enumerate(batches) for k, v in task.model(batch).items()}
        sum(value.sum() for value in losses.values()).backward()
        found.append(({k: v.detach() for k, v in losses.items()}, kit.gradients(task.model), len(calls)))
    assert found[1][2] == 2 * found[0][2] == 2 * 3 * len(batches)
    assert_close(found[0][0], found[1][0])
    assert_close(found[0][1], found[1][1])


# ---- overfitting ----------------------------------------------------------------------------------------------------

PAIRS = ['a cat', 'a dog', 'red cat', 'red dog', 'it is a cat', 'draw a dog', 'no cat', 'what']


@pytest.fixture(scope='module')
def learnt(make):
    """(task, images) after learning eight drawings and eight captions by heart."""
    torch.manual_seed(0)
    task = make(dict(drop=0.0, hidden_size=64, intermediate_size=96))
    images = kit.make_images(8, seed=5)
    batch = kit.collate([*(kit.draw(text, image, f'd{text}') for text, image in zip(PAIRS, images)),
                         *(kit.ask([('what is it', text)], image, f'q{text}') for text, image in zip(PAIRS, images))])
    optimizers = kit.make_optim(task, 4e-3, 'AdamW')
    for step in range(400):
        total = float(task.train_step(batch, optimizers)['total'])
        if total < 0.01:
            break
    assert total < 0.01
    return task.eval(), images


def test_learnt_by_heart(learnt):
    """Greedy drawings give back all codes and pixels, captions are exact, the closed loop as well."""
    task, images = learnt
    codes = task.codes(images)
    contexts = [Context.of_text(task.model.sequence.prompt_for_drawing(text)) for text in PAIRS]
    task.evaluation = mllm_task.mllm_evaluation.read_settings(
        dict(sampling=dict(temperature=0), question='what is it'))
    drawn = draw_contexts(task, contexts, PAIRS, 1.0, 0)
    for name in kit.STREAMS:
        assert torch.equal(drawn[name], codes[name]), name
    asked = kit.collate([kit.ask([('what is it', text)], image) for text, image in zip(PAIRS, images)])
    assert [r[0].reply for r in ask(task, asked.conversations, codes)] == PAIRS
    out = predict(task, kit.collate([kit.draw(text, image) for text, image in zip(PAIRS, images)]))
    assert torch.equal(out.drawings['s=1'][:, 0], out.reconstructions) and out.prompts == PAIRS
    assert [r[0].reply for r in out.replies] == PAIRS


def test_likelihood_with_and_without_prompts(learnt):
    """With its own prompt a drawing is sure; with that of another, or none, it is not; without, no prompt matters."""
    task, images = learnt
    own, other = (kit.collate([kit.draw(text, image) for text, image in zip(texts, images)])
                  for texts in (PAIRS, PAIRS[1:] + PAIRS[:1]))
    codes = task.codes(images)
    with torch.no_grad():
        sure, wrong = (measure_nats(task, b.conversations, codes, False) for b in (own, other))
        none, again = (measure_nats(task, b.conversations, codes, True) for b in (own, other))
    for name in kit.STREAMS:
        assert sure[name].shape == (8, 2) and sure[name].max() < 0.1
        assert min(wrong[name].mean(), none[name].mean()) > 5 * sure[name].mean()
        assert torch.equal(none[name], again[name])


def test_answers_without_the_image(learnt):
    """Images of one gray: every question gets the same answer."""
    task, images = learnt
    gray = torch.full_like(images, 128)
    asked = kit.collate([kit.ask([('what is it', text)], image) for text, image in zip(PAIRS, gray)])
    assert len({r[0].reply for r in ask(task, asked.conversations, task.codes(gray))}) == 1


def test_evaluation_of_a_mixed_batch(learnt):
    """Each row has what its kind has: replies to every question, also to one without an image, drawings, or neither."""
    task, _ = learnt
    asked = kit.Conversation('a', 'question', (kit.Turn('user', ('what',)), kit.Turn('assistant', ('red',))))
    talks = [*kit.mixed()[:4], asked, kit.tell('a cat')]
    out = predict(task, kit.collate(talks))
    assert [len(r) for r in out.replies] == [1, 1, 4, 1, 1, 0]
    assert out.prompts == ['a cat', 'a red dog what', '', '', '', '']
    assert [(r.question, r.truth) for r in out.replies[2]][1] == ('red', 'no')
    assert out.drawings['s=1'].shape == (6, 1, 3, 32, 32)
    assert out.drawings['s=1'].isnan().flatten(1).any(1).tolist() == [False] * 2 + [True] * 4
    for pixels in (out.images, out.reconstructions):
        assert pixels.isnan().flatten(1).any(1).tolist() == [False] * 4 + [True] * 2
    assert out.nats['pixel'][:2].isfinite().all() and out.nats['pixel'][2:].isnan().all()


# ---- ranks ----------------------------------------------------------------------------------------------------------

SHARES = {'uneven': ([0, 2, 3, 5], [1, 4]), 'one without images': ([0, 1, 2, 3, 4], [5]),
          'one without any': ([0, 1, 2, 3, 4, 5], [])}


def train_on_ranks(rank, world, words):
    """Three steps with each way to share six conversations; returns name -> (logs times weight, state)."""
    found = {}
    for name, shares in SHARES.items():
        task = kit.make_task(kit.make_tokenizer(), words, NO_DROP, micro_batch=2 if name == 'uneven' else None)
        optimizers = kit.make_optim(task, lr=0.1)
        DDP().wrap(task, optimizers)
        for step in range(3):
            talks = kit.mixed(step)
            own = [talks[i] for i in (range(6) if world == 1 else shares[rank])]
            logs = task.train_step(kit.collate(own) if own else empty(), optimizers)
        found[name] = ({k: float(v) * task.batch_weight / world for k, v in logs.items()}, dict(task.state_dict()))
    return found


def empty():
    """Return a batch without samples."""
    return kit.ConversationBatch(torch.zeros(0, 3, 32, 32, dtype=torch.uint8), [], [], [], [])


def test_two_ranks(words):
    """Unequal numbers of images and of targets, a rank without images, a rank without samples: one rank."""
    alone = train_on_ranks(0, 1, words)
    ranks = SHARED.run(train_on_ranks, words)
    for name, (logs, state) in alone.items():
        assert_close(ranks[0][name][1], ranks[1][name][1])
        assert_close(ranks[0][name][1], state)
        summed = {k: ranks[0][name][0][k] + ranks[1][name][0][k] for k in logs}
        assert summed == pytest.approx(logs, rel=1e-4), name


# ---- codes ----------------------------------------------------------------------------------------------------------

def test_cached_codes_train_the_same(frozen, words, tmp_path):  # noqa: F811
    """Codes from memory, from disk, and encoded anew in each step."""
    ends = []
    for cache, memory in ((None, 1 << 18), (str(tmp_path), 1 << 18), (str(tmp_path), 0), (None, 0)):
        task = kit.make_task(frozen, words, NO_DROP, cache=cache)
        task.codes = CodeCache(frozen, cache, memory)
        ends.append((take_steps(task, 2), task.codes.misses))
    assert [misses for _, misses in ends] == [6, 6, 0, 12]
    for (logs, state), _ in ends[1:]:
        assert logs == ends[0][0][0] and all(torch.equal(v, ends[0][0][1][k]) for k, v in state.items())
