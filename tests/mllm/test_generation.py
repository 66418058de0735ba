"""Drawing and replying: what is drawn is what training saw, guidance, random numbers of a row, grammar."""
import pytest
import torch

from dtbox.code_tables import EMPTY
from dtbox.errors import InputError
from dtbox.mllm import text_generation
from dtbox.mllm.contexts import Context
from dtbox.mllm.image_generation import generate_images
from dtbox.mllm.text_generation import END_PLACES, generate_texts, measure_loglikelihood
from dtbox.sampling import Guidance, Sampler, SamplingRule
from tests import mllm_kit as kit
from tests.mllm_kit import frozen  # noqa: F401

pytest.importorskip('transformers')
PLAIN = SamplingRule()
PROMPTS = ('a cat', 'red', 'what is it', 'a red dog', 'no', 'draw a dog', 'it is a cat is it')


@pytest.fixture(scope='module')
def make(frozen, words):  # noqa: F811
    """Function of parts (see `model_config`) -> model whose logits are far from equal."""
    def build(**parts):
        model = kit.make_model(frozen, words, **parts)
        if model.visual_head is not None:
            for name, parameter in model.visual_head.named_parameters():
                if 'classifiers' in name:
                    parameter.data *= 10
        return model
    return build


@pytest.fixture(scope='module')
def plain(make):
    return make()


def contexts(model, prompts=PROMPTS):
    return [Context.of_text(model.sequence.prompt_for_drawing(text)) for text in prompts]


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def draw(model, prompts=PROMPTS, guidance=None, seeds=None, rule=PLAIN):
    made = generators(len(prompts)) if seeds is None else [torch.Generator().manual_seed(s) for s in seeds]
    return generate_images(model, contexts(model, prompts), rule, guidance, made)


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in kit.STREAMS)


def watch_rows(model, monkeypatch):
    """Return a list that grows by the number of rows of each pass of the language model."""
    rows, run = [], model.lm.forward
    monkeypatch.setattr(model.lm, 'forward', lambda x, *args: rows.append(len(x)) or run(x, *args))
    return rows


@pytest.mark.parametrize('head, embedding', [*((head, 'CodesEmbedding') for head in kit.HEADS),
                                             ('semantic_first', 'FeaturesEmbedding'), ('delay', 'LearnedEmbedding')])
def test_logits_are_those_of_training(make, monkeypatch, head, embedding):
    """The logits from which codes are drawn are the teacher-forced logits of the codes that came out, cell by cell,
    with prompts of different lengths."""
    model, seen = make(head=head, embedding=embedding), []
    plain_draw = Sampler.draw

    def watched(self, name, depth, logits):
        seen.append((name, depth, logits))
        return plain_draw(self, name, depth, logits)
    monkeypatch.setattr(Sampler, 'draw', watched)
    prompts = PROMPTS[:3]
    codes = draw(model, prompts)
    assert all(c.shape == (3, kit.PLACES, 2) and 0 <= int(c.min()) and int(c.max()) < kit.SIZE
               for c in codes.values())
    batch = kit.collate([kit.draw(text, image) for text, image in zip(prompts, kit.make_images(3))])
    forced, _ = model.sequence.build(batch, model.expand(codes), train=False)
    with torch.no_grad():
        hidden, targets = model.select_visual_targets(model.run(forced), forced)
        want = model.visual_head.logits(hidden, targets)
    steps = model.places
    for name in kit.STREAMS:
        for depth in range(2):
            found = torch.stack([logits for n, d, logits in seen if (n, d) == (name, depth)], 1)  # [B,places,K]
            cells = (targets[name][:, depth] != EMPTY).reshape(3, steps)
            whole = want[name][depth].reshape(3, steps, -1)
            assert torch.allclose(found.flatten(0, 1), whole[cells], atol=1e-5), (name, depth)


def test_scale_one_runs_no_unconditional_rows(plain, monkeypatch):
    rows = watch_rows(plain, monkeypatch)
    one = draw(plain, guidance=Guidance(1.0))
    assert set(rows) == {7} and len(rows) == kit.PLACES
    assert same(one, draw(plain))
    rows.clear()
    two = draw(plain, guidance=Guidance(dict(pixel=1.0, semantic=4.0)))
    assert set(rows) == {14} and not same(one, two)


def test_scale_zero_draws_without_the_prompt(plain):
    """The codes are those of the unconditional prompt, and that prompt has the same codes at every scale."""
    uncond = [Context.of_text(plain.sequence.unconditional_prompt())] * 7
    free = generate_images(plain, uncond, PLAIN, None, generators(7))
    assert same(free, draw(plain, guidance=Guidance(0.0))) and not same(free, draw(plain))
    assert same(free, generate_images(plain, uncond, PLAIN, Guidance(5.0), generators(7)))


def test_guidance_within_an_interval(plain):
    """Before the interval begins codes are those without guidance; an interval of all places is no interval."""
    plain_codes, whole = draw(plain), draw(plain, guidance=Guidance(6.0))
    late = draw(plain, guidance=Guidance(6.0, interval=(8, 16)))
    assert all(torch.equal(late[n][:, :8], plain_codes[n][:, :8]) for n in kit.STREAMS) and not same(late, plain_codes)
    assert same(whole, draw(plain, guidance=Guidance(6.0, interval=(0, 16))))


def test_guidance_of_a_model_without_dropped_prompts(make):
    with pytest.raises(InputError, match='trained without dropped prompts'):
        draw(make(drop=0.0), guidance=Guidance(2.0))


@pytest.mark.parametrize('scale', [1.0, 3.0])
@pytest.mark.parametrize('head', ['independent', 'delay'])
def test_an_image_depends_on_its_seed_alone(make, head, scale):
    """Alone, among six others of other lengths, and in another order."""
    model, guidance = make(head=head), Guidance(scale)
    together = draw(model, guidance=guidance, seeds=range(7))
    turned = draw(model, PROMPTS[::-1], guidance, range(6, -1, -1))
    for i, prompt in enumerate(PROMPTS):
        alone = draw(model, [prompt], guidance, [i])
        for name in kit.STREAMS:
            assert torch.equal(alone[name][0], together[name][i]) and torch.equal(alone[name][0], turned[name][6 - i])
    assert not torch.equal(together['pixel'][0], draw(model, [PROMPTS[0]], guidance, [9])['pixel'][0])


def test_progress_is_told(plain):
    told = []
    codes = generate_images(plain, contexts(plain, ['red']), PLAIN, None, generators(1),
                            lambda done, so_far: told.append((done, so_far)))
    assert [done for done, _ in told] == list(range(1, kit.PLACES + 1)) and same(told[-1][1], codes)


def test_models_that_draw_nothing(make):
    with pytest.raises(InputError, match='has no visual head'):
        draw(make(head=None))


# ---- texts and grammar ----------------------------------------------------------------------------------------------

def test_sampled_sequences_parse(plain):
    """1,000 of a random model: words, then an end, or `<image_gen_start>` as the last id; marks of given images, of
    ends of images and of padding never."""
    tokens = plain.sequence.tokens
    prompt = plain.sequence.render_prompt(kit.Conversation('', 'chat', (kit.Turn('user', ('what is it',)),)))
    texts = generate_texts(plain, [Context.of_text(prompt.ids.tolist())] * 1000, 8, SamplingRule(), generators(1000),
                           may_draw=True)
    words = set(range(3, 13))
    drawn = [text for text in texts if tokens.drawn[0] in text]
    assert all(set(text) <= words for text in texts if text not in drawn)
    assert all(set(text[:-1]) <= words and text[-1] == tokens.drawn[0] for text in drawn)
    assert 300 < len(drawn) < 700 and any(len(text) == 8 for text in texts) and any(not text for text in texts)
    silent = generate_texts(plain, [Context.of_text(prompt.ids.tolist())] * 200, 8, SamplingRule(), generators(200))
    assert not any(tokens.drawn[0] in text for text in silent)


@pytest.mark.parametrize('head', ['independent', 'delay'])
def test_no_image_begins_where_none_fits(make, monkeypatch, head):
    """The last id at which `<image_gen_start>` may come leaves room for the image, its end and the end of the turn."""
    model = make(head=head)
    start, most = model.sequence.tokens.drawn[0], model.lm.context_length - model.places - END_PLACES - 1
    real = model.lm.text_logits
    monkeypatch.setattr(model.lm, 'text_logits', lambda h: real(h) + 50 * torch.nn.functional.one_hot(
        torch.tensor(start), model.lm.vocab_size))
    fits, late = ([4] * most, [4] * (most + 1))
    assert generate_texts(model, [Context.of_text(fits)], 3, may_draw=True) == [[start]]
    assert start not in generate_texts(model, [Context.of_text(late)], 3, may_draw=True)[0]
    generate_images(model, [Context.of_text([*fits, start])], PLAIN, None, generators(1))


def test_replies_end(plain, monkeypatch):
    """A row that has ended its turn gets no more ids; the batch goes on until all have."""
    script = {0: [3, 4, 2, 5, 5], 1: [5, 6, 7, 2, 5]}
    step = iter(range(9))
    monkeypatch.setattr(text_generation, 'draw', lambda *_: torch.tensor(
        [script[row][i] for i in [next(step)] for row in (0, 1)]))
    assert generate_texts(plain, contexts(plain, PROMPTS[:2]), 5) == [[3, 4], [5, 6, 7]]


def test_ids_are_told(plain, monkeypatch):
    """After each step, those of all rows so far."""
    script = iter([[3, 5], [4, 6], [2, 7], [5, 2]])
    monkeypatch.setattr(text_generation, 'draw', lambda *_: torch.tensor(next(script)))
    told = []
    generate_texts(plain, contexts(plain, PROMPTS[:2]), 5, report=lambda rows: told.append([list(row) for row in rows]))
    assert told == [[[3], [5]], [[3, 4], [5, 6]], [[3, 4], [5, 6, 7]], [[3, 4], [5, 6, 7]]]


def test_replies_stop_at_the_end_of_the_context(plain):
    """Fewer ids than asked for where the language model's context ends."""
    rule = SamplingRule()
    texts = generate_texts(plain, [Context.of_text([4] * 157)] * 20, 50, rule, generators(20))
    assert max(map(len, texts)) <= 3


def test_likelihood_of_answers(plain):
    """The sum over the answer's ids of their log-probabilities, each computed by itself; rows of other lengths change
    nothing."""
    asked, answers = contexts(plain, PROMPTS[:3]), [[3], [4, 5, 2], [6, 7]]
    found = measure_loglikelihood(plain, asked, answers)
    for context, answer, score in zip(asked, answers, found):
        want = 0.0
        for i, number in enumerate(answer):
            x = plain.lm.embed(torch.tensor([[*context.ids.tolist(), *answer[:i]]]))
            with torch.no_grad():
                hidden = plain.lm(x, torch.arange(x.shape[1])[None])[:, -1]
                want += float(plain.lm.text_logits(hidden).log_softmax(-1)[0, number])
        assert score == pytest.approx(want, abs=1e-4)
