"""The whole model: what a state depends on, packing and shared prefixes, padding, dropped prompts, gradients."""
import json

import pytest
import torch

from dtbox.conversations import Conversation, ImagePart, Turn
from dtbox.errors import InputError
from dtbox.mllm.contexts import Context, join_contexts, take_context
from dtbox.mllm.decoding import Decoding
from dtbox.mllm.model import TEXT
from dtbox.mllm.setup import build_lm
from dtbox.training.mllm_batches import Weights, count_targets
from tests import mllm_kit as kit
from tests.conversation_data import write_chat_folder
from tests.mllm_kit import frozen  # noqa: F401

pytest.importorskip('transformers')
CLOSE = dict(rtol=1e-5, atol=1e-6)
"""Of means over tens of targets, and of their gradients, in float32: sums of 1e3 terms in another order."""


@pytest.fixture(scope='module')
def make(frozen, words):  # noqa: F811
    """Function of parts (see `model_config`) -> model."""
    return lambda **parts: kit.make_model(frozen, words, **parts)


@pytest.fixture(scope='module')
def plain(make):
    return make()


def build(model, *conversations, train=False, codes=None):
    """Return the SequenceBatch of conversations."""
    batch = kit.collate(conversations)
    codes = kit.random_codes(model, len(batch.images)) if codes is None else codes
    out, unusable = model.sequence.build(batch, model.expand(codes), train)
    assert not unusable
    return out


def measure(model, batches):
    """Return (total, gradients) of batches that make one step."""
    model.zero_grad()
    counts = count_targets(batches, model.tables.sizes)
    total = sum(Weights(model)(model(batch), counts)[0] for batch in batches)
    total.backward()
    return total.detach(), kit.gradients(model)


def assert_same(one, other):
    assert torch.allclose(one[0], other[0], **CLOSE)
    for name, gradient in one[1].items():
        assert torch.allclose(gradient, other[1][name], **CLOSE), name


@pytest.mark.parametrize('embedding', kit.EMBEDDINGS)
@pytest.mark.parametrize('place', [1, 9])
def test_states_do_not_see_later_codes(make, embedding, place):
    """Bit for bit; and the places from the changed one on do see them."""
    model, talk = make(embedding=embedding), kit.mixed()[0]
    codes = kit.random_codes(model, 1)
    other = {name: torch.cat([c[:, :place], (c[:, place:] + 1) % kit.SIZE], 1) for name, c in codes.items()}
    one, two = (build(model, talk, codes=c) for c in (codes, other))
    first = int((one.visual[0] == 0).nonzero())
    with torch.no_grad():
        a, b = model.run(one)[0], model.run(two)[0]
    assert torch.equal(a[:first + place], b[:first + place])
    assert (a[first + place:] != b[first + place:]).any(-1).all()


def test_features_that_see_later_places(words):
    """They are refused with the name of the projection, but serve a model that only reads."""
    leaky = kit.make_tokenizer(projection=dict(type='AttentionProjection', causal=False))
    with pytest.raises(InputError, match='not causal.*pixel: AttentionProjection, semantic: AttentionProjection'):
        kit.make_model(leaky, words, embedding='FeaturesEmbedding')
    kit.make_model(leaky, words, embedding='FeaturesEmbedding', head=None)
    causal = kit.make_tokenizer(projection=dict(type='AttentionProjection', causal=True))
    kit.make_model(causal, words, embedding='FeaturesEmbedding')


@pytest.mark.parametrize('head', ['delay', 'flatten'])
def test_features_need_whole_places(make, head):
    """Heads whose steps hold some codes of a place leave cells empty, which no feature belongs to."""
    with pytest.raises(InputError, match='16 places, and .*Head writes an image in [0-9]+ steps'):
        make(embedding='FeaturesEmbedding', head=head)


@pytest.mark.parametrize('head', ['independent', 'delay'])
def test_packed_samples_equal_single_ones(make, head):
    """Texts, drawings, questions and a talk in rows together: losses and gradients of each by itself."""
    packing, alone = make(pack=150, head=head), make(head=head)
    talks = kit.mixed()
    packed = build(packing, *talks)
    assert len(packed) < len(talks) and packed.need_mask
    codes = kit.random_codes(alone, 6)
    first, batches = 0, []
    for talk in talks:
        count = len(talk.images)
        batches.append(build(alone, talk, codes={n: c[first:first + count] for n, c in codes.items()}))
        first += count
    assert_same(measure(packing, [packed]), measure(alone, batches))


def test_shared_prefix_equals_single_turns(plain):
    """One image with four turns: losses and gradients of four samples that each have the image."""
    shared = kit.mixed()[2]
    codes = kit.random_codes(plain, 1)
    apart = [build(plain, talk, codes=codes) for talk in shared.questions()]
    assert len(apart) == 4
    assert_same(measure(plain, [build(plain, shared, codes=codes)]), measure(plain, apart))


def make_contexts(model, pads):
    """Return contexts of text, of a question and of an image in its middle; the last is `pads` places longer than the
    longest of them."""
    codes, mark = model.expand(kit.random_codes(model, 3)), model.sequence.tokens.image
    image = [{name: value[i] for name, value in codes.items()} for i in range(3)]
    before, after = model.sequence.prompt_for_question('what is it')
    contexts = [Context.of_text(model.sequence.prompt_for_drawing('a cat')),
                Context.of_text(before).add_image(image[0], mark).add_text(after),
                Context.of_text(before).add_image(image[1], mark).add_text([3]).add_image(image[2], mark)]
    longest = max(map(len, contexts))
    return [*contexts, Context.of_text([1] + [4] * (longest + pads - 1))]


@pytest.mark.parametrize('pads', [1, 5, 50])
def test_padded_contexts(plain, pads):
    """A context has the state alone that it has beside a longer one."""
    contexts = make_contexts(plain, pads)
    with torch.no_grad():
        together = Decoding(plain, contexts, 1).state
        for row, context in enumerate(contexts):
            assert torch.allclose(together[row], Decoding(plain, [context], 1).state[0], atol=1e-5), row


def test_cached_steps_equal_a_full_pass(plain):
    """Ragged contexts, then six ids: each state is that of a pass over all places of that row."""
    contexts, ids = make_contexts(plain, 3), torch.randint(3, 12, (4, 6))
    with torch.no_grad():
        decoding = Decoding(plain, contexts, 6)
        states = [decoding.state] + [decoding.step(plain.lm.embed(ids[:, [i]])[:, 0]) for i in range(6)]
        for row, context in enumerate(contexts):
            whole = plain.run(join_contexts(plain, [context.add_text(ids[row].tolist())]))[0, len(context) - 1:]
            assert torch.allclose(torch.stack(states)[:, row], whole, atol=1e-5), row


def test_contexts_that_are_too_long(plain):
    with pytest.raises(InputError, match='of 150 places with 16 to follow is longer than the 160'):
        Decoding(plain, [Context.of_text([1] * 150)], 16)


def test_contexts_of_rendered_prompts(plain):
    """A prompt of a batch takes its own images only, in its own order."""
    codes = kit.random_codes(plain, 3)
    talk = Conversation('t', 'chat', (Turn('user', (ImagePart(2), 'what', ImagePart(1))),))
    context = take_context(plain.sequence.render_prompt(talk), codes)
    shown = context.codes['pixel'].flatten(0, 1)[torch.tensor(context.visual[context.visual >= 0])]
    assert torch.equal(shown, torch.cat([codes['pixel'][2], codes['pixel'][1]]))


def test_dropped_prompts(make):
    """With p = 1 losses of drawings do not depend on the prompt; in evaluation, and with p = 0, they do."""
    image = kit.make_images(1)[0]
    for drop, train, same in ((1.0, True, True), (1.0, False, False), (0.0, True, False)):
        model = make(drop=drop)
        with torch.no_grad():
            one, two = (model(build(model, kit.draw(text, image), train=train)) for text in ('a cat', 'a red dog what'))
        assert torch.equal(one['pixel'], two['pixel']) == torch.equal(one['semantic'], two['semantic']) == same


def test_gradients_go_where_they_should(make):
    """Captions train no visual head; codes train no text head; what is not trained has zeros, as DDP needs."""
    model = make(tie_word_embeddings=False).train()
    talks = kit.mixed()
    for chosen, idle in (([talks[2], talks[3]], 'visual_head.'), ([talks[5]], 'visual_')):
        _, found = measure(model, [build(model, *chosen)])
        assert found.keys() == dict(model.named_parameters()).keys()
        moved = {name for name, gradient in found.items() if gradient.any()}
        assert moved and not any(name.startswith(idle) for name in moved)
    model.zero_grad()
    out = model(build(model, talks[0]))
    (out['pixel'].sum() + out['semantic'].sum()).backward()
    head = model.lm.model.get_output_embeddings().weight
    assert head.grad is None or not head.grad.any()
    assert all(p.grad.any() for p in model.visual_head.parameters())


def test_losses_before_training(plain):
    """ln K of each depth, ln V of text, within two percent and ten."""
    batch = build(plain, *kit.mixed())
    counts = count_targets([batch], plain.tables.sizes)
    with torch.no_grad():
        out = plain(batch)
    for name in kit.STREAMS:
        assert torch.allclose((out[name] / counts[name]).float(), torch.full((2,), kit.SIZE).log(), rtol=0.02)
    text = float(out[TEXT] / counts[TEXT])
    assert text == pytest.approx(torch.tensor(float(plain.lm.vocab_size)).log().item(), rel=0.1)


def test_special_rows_after_a_padded_table(tmp_path):
    """A published table has more rows than its tokenizer has ids; the rows of image tokens come after all of them."""
    folder = write_chat_folder(tmp_path / 'lm', None)
    lm, tokens = build_lm(dict(type='HFCausalLM', config=dict(kit.LLAMA, vocab_size=400)),
                          dict(type='PretrainedTokenizer', path=folder))
    assert tokens.added == [*range(400, 406)] and lm.vocab_size == tokens.vocab_size == 406 and lm.added == 6
    assert torch.equal(lm.embed(torch.tensor([tokens.added]))[0], lm.special.read)


def test_special_rows_after_a_full_table(words, tmp_path):
    """A table with a row for each id of its tokenizer and no more."""
    lm, tokens = build_lm(dict(type='HFCausalLM', config=dict(kit.LLAMA, vocab_size=kit.ORDINARY)),
                          dict(type='TokenizerFile', file=words))
    assert tokens.added == [*range(kit.ORDINARY, kit.ORDINARY + 6)] and lm.added == 6
    tokens.save(tmp_path)  # as a run keeps them, whose language model is opened from its own table again
    again, read = build_lm(dict(type='HFCausalLM', config=dict(kit.LLAMA, vocab_size=kit.ORDINARY)),
                           dict(type='PretrainedTokenizer', path=str(tmp_path)))
    assert not read.added and (again.ordinary, again.added) == (lm.ordinary, lm.added)
    with pytest.raises(InputError, match='has 12 ids, and the text tokenizer 13'):
        build_lm(dict(type='HFCausalLM', config=dict(kit.LLAMA, vocab_size=12)),
                 dict(type='TokenizerFile', file=words))


def test_special_rows_of_a_whole_folder(tmp_path):
    """The config.json of a pretrained folder says how many rows there are; image tokens come after them."""
    folder = write_chat_folder(tmp_path / 'lm', None)
    small = dict(kit.LLAMA, vocab_size=400)
    (tmp_path / 'lm' / 'config.json').write_text(json.dumps(small))
    for lm in (dict(pretrained=folder), dict(config=small)):
        model, tokens = build_lm(dict(type='HFCausalLM', **lm), dict(type='PretrainedTokenizer', path=folder))
        assert tokens.added == [*range(400, 406)] and (model.ordinary, model.added) == (400, 6)


def test_drawings_without_a_head(make):
    model = make(head=None)
    with pytest.raises(InputError, match='an image to be drawn, but the model has no `visual_head`'):
        model(build(model, kit.mixed()[0]))
    assert set(model(build(model, kit.mixed()[3]))) == {TEXT}


def test_the_tokenizer_is_no_part_of_the_model(plain):
    assert not any('tokenizer' in name or 'rows' in name for name in plain.state_dict())
    assert not any(p.requires_grad for p in plain.tokenizer.model.parameters()) and not plain.tokenizer.model.training
