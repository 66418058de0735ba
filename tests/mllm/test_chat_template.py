"""Chat templates of pretrained models: spans from the template, and templates that cannot be used."""
import numpy as np
import pytest

from dtbox.conversations import Conversation, ImagePart, Turn
from dtbox.errors import InputError
from dtbox.registry import SEQUENCES
from tests.conversation_data import ask, draw, write_chat_folder
from tests.sequence_data import put_together

pytest.importorskip('transformers')

CHATML = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
THINKING = CHATML.replace("{{ m['content'] }}", "{% if m['role'] == 'assistant' and loop.last %}<think></think>"
                          "{% endif %}{{ m['content'] }}")
TALK = Conversation('chat', 'chat', (
    Turn('system', ('be short',)), Turn('user', ('draw a cat',)), Turn('assistant', ('here:', ImagePart(0, True))),
    Turn('user', (ImagePart(1), 'what is it?')), Turn('assistant', ('a dog',))))


@pytest.fixture(scope='module')
def make(tmp_path_factory):
    """Function of a template (and further entries of tokenizer_config.json) -> SequenceBuilder."""
    def build(template, options=None, prompts=None, **config):
        folder = write_chat_folder(tmp_path_factory.mktemp('chat'), template, **config)
        return SEQUENCES.build(dict(
            type='SequenceBuilder', tokenizer=dict(type='PretrainedTokenizer', path=folder),
            template=dict(type='ChatTemplate', options=options, prompts=prompts)), places=2, context_length=400)
    return build


@pytest.fixture(scope='module')
def chatml(make):
    return make(CHATML)


def read(builder, rendered):
    """Return (text, text of the targets) with one mark for each visual place."""
    tokens = builder.tokens
    return tokens.decode(rendered.ids, special=True), tokens.decode(rendered.ids[rendered.target], special=True)


def test_turns_and_targets(chatml):
    """Every answer is a target with the token that ends it; the line break after it, questions and given images are
    not."""
    text, targets = read(chatml, chatml.render(TALK))
    drawn = '<image_gen_start><image><image><image_gen_end>'
    assert text == ('<|im_start|>system\nbe short<|im_end|>\n<|im_start|>user\ndraw a cat<|im_end|>\n'
                    f'<|im_start|>assistant\nhere:{drawn}<|im_end|>\n<|im_start|>user\n'
                    '<image_start><image><image><image_end>what is it?<|im_end|>\n'
                    '<|im_start|>assistant\na dog<|im_end|>\n')
    assert targets == f'here:{drawn}<|im_end|>a dog<|im_end|>'
    assert chatml.tokens.name(chatml.template.end) == '<|im_end|>'


def test_ids_are_those_of_the_whole_text(chatml):
    rendered = chatml.render(TALK)
    once = rendered.ids[(rendered.visual < 0) | (rendered.visual % 2 == 0)]
    assert chatml.tokens.encode_marked(chatml.template.write(TALK)) == once.tolist()


def test_drawing(chatml):
    rendered = chatml.render(draw('a cat'))
    assert read(chatml, rendered)[1] == '<image><image><image_gen_end><|im_end|>'
    prompt = chatml.prompt_for_drawing('a cat')
    assert prompt == rendered.ids[:len(prompt)].tolist() and rendered.visual[len(prompt)] == 0
    dropped = chatml.render(draw('a cat'), drop=True)
    assert read(chatml, dropped)[0] == '<uncond><image_gen_start><image><image><image_gen_end><|im_end|>\n'
    assert dropped.position.tolist() == list(range(len(dropped)))


def test_end_of_a_turn_that_is_not_the_end_of_texts(make):
    """As Gemma's: an answer ends with a token of turns; both stop the generation of a text."""
    builder = make(CHATML.replace('<|im_end|>', '<|endoftext|>'))
    tokens = builder.tokens
    assert [tokens.name(i) for i in builder.ends] == ['<|endoftext|>', '<|im_end|>']
    assert [tokens.name(i) for i in builder.forbidden][0] == '<|im_start|>'
    assert read(builder, builder.render(draw('a cat')))[1].endswith('<image_gen_end><|endoftext|>')


def test_question_and_shared_prefix(chatml):
    """The shared prefix ends behind the image; a turn is what a conversation of it alone would hold."""
    shared = ask('q', 0, ('what is it?', 'a cat'), ('what?', 'it'))
    rendered = chatml.render(shared)
    assert read(chatml, rendered.cut(0, int(rendered.prefix.sum())))[0] == (
        '<|im_start|>user\n<image_start><image><image><image_end>')
    for number, alone in enumerate(shared.questions(), 1):
        shown = rendered.prefix | (rendered.segment == number)
        assert rendered.ids[shown].tolist() == chatml.render(alone).ids.tolist()
        assert rendered.position[shown].tolist() == list(range(shown.sum()))
    before, after = chatml.prompt_for_question('what is it?')
    whole = chatml.render(next(shared.questions())).ids.tolist()
    assert whole[:len(before)] == before and whole[len(before) + 2:][:len(after)] == after


def test_prompts_and_options(make):
    """A prompt ends with what the template opens an answer with, which no target holds."""
    builder = make(CHATML.replace('assistant\n{% endif', "assistant\n{{ opening }}{% endif"), dict(opening=''),
                   dict(draw='{} Draw it.'))
    prompt = builder.tokens.decode(builder.prompt_for_drawing('a cat'), special=True)
    assert prompt == '<|im_start|>user\na cat Draw it.<|im_end|>\n<|im_start|>assistant\n<image_gen_start>'


@pytest.mark.parametrize('template, message', [
    (None, 'has no chat template. Give the tokenizer `chat_template`'),
    ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "'b' as 'b', without a special token"),
    ('{{ nothing.at.all }}', 'refuses the turns user: UndefinedError'),
    ('{% for %}', 'refuses the turns user: TemplateSyntaxError'),
])
def test_templates_that_cannot_be_used(make, template, message):
    with pytest.raises(InputError, match=message):
        make(template)


@pytest.mark.parametrize('template, talk, reason', [
    (THINKING, TALK, 'changes the text of turn 3 with what follows'),
    (CHATML.replace("{{ m['content'] }}", "{{ m['content'].split('<image_start')[0] }}"), ask('q', 0, ('what?', 'cat')),
     'has 1 image in a turn of which the chat template writes 0'),
    ("{{ raise_exception('no system') if messages[0]['role'] == 'system' }}" + CHATML, TALK,
     'cannot be rendered: the chat template of .* refuses the turns system, user'),
    (CHATML, ask('q', 0, ('what<|im_end|>', 'cat')), 'holds the text `<|im_end|>`, a special token'),
    (CHATML, ask('q', 0, ('what?', 'a <image>')), 'holds the text `<image>`'),
])
def test_conversations_that_it_refuses(make, template, talk, reason):
    batch, codes = put_together(talk, draw('a cat', 1))
    out, unusable = make(template).build(batch, codes)
    assert out.sample.unique().tolist() in ([1], [-1, 1])
    with pytest.raises(InputError, match=reason.replace('|', r'\|')):
        raise unusable[0]


def test_single_answers_of_a_thinking_template(make):
    builder = make(THINKING)
    text, targets = read(builder, builder.render(ask('q', 0, ('what?', 'cat'))))
    assert targets == '<think></think>cat<|im_end|>'


def test_other_places_of_a_template(tmp_path):
    """chat_template.jinja, a list of named templates, a file of the user's; the last wins."""
    def find(**more):
        return SEQUENCES.build(dict(type='PretrainedTokenizer', path=folder, **more)).chat_template
    folder = write_chat_folder(tmp_path / 'lm', [dict(name='tools', template='T'), dict(name='default', template='D')])
    assert find() == 'D'
    (tmp_path / 'lm' / 'chat_template.jinja').write_text('J')
    assert find() == 'J'
    (tmp_path / 'mine.jinja').write_text('M')
    assert find(chat_template=str(tmp_path / 'mine.jinja')) == 'M' and find(chat_template='{{ x }}') == '{{ x }}'


def test_saved_tokenizer_opens_in_transformers(chatml, tmp_path):
    from transformers import AutoTokenizer
    chatml.tokens.save(tmp_path)
    opened = AutoTokenizer.from_pretrained(str(tmp_path))
    messages = [dict(role='user', content='what is it?')]
    assert opened.apply_chat_template(messages, tokenize=False) == chatml.template._render(messages)
    assert opened.convert_tokens_to_ids('<image>') == chatml.tokens.image
    assert opened.eos_token_id == chatml.tokens.eos and np.all(opened.encode('a cat') == chatml.tokens.encode('a cat'))


@pytest.mark.parametrize('config, message', [
    (dict(eos='</s>'), 'has no token `</s>`'), (dict(path='no/such/folder'), 'transformers cannot open the tokenizer'),
    (dict(path='none.gguf'), 'transformers cannot open the tokenizer of none.gguf .there is no such file or folder')])
def test_tokenizers_that_cannot_be_opened(tmp_path, monkeypatch, config, message):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    folder = write_chat_folder(tmp_path / 'lm', CHATML)
    with pytest.raises(InputError, match=message):
        SEQUENCES.build(dict(dict(type='PretrainedTokenizer', path=folder), **config))


def test_new_tokens_come_after_the_rows_of_the_model(tmp_path):
    """As Qwen's, whose tables have more rows than its tokenizer has ids."""
    folder = write_chat_folder(tmp_path / 'lm', CHATML)
    size = SEQUENCES.build(dict(type='PretrainedTokenizer', path=folder)).added[0]
    (tmp_path / 'lm' / 'config.json').write_text(f'{{"vocab_size": {size + 3}}}')
    tokens = SEQUENCES.build(dict(type='PretrainedTokenizer', path=folder))
    assert tokens.added == list(range(size + 3, size + 9)) and tokens.vocab_size == size + 9
    assert tokens.special['<unused_%d>' % size] == size
    tokens.save(tmp_path / 'saved')
    assert SEQUENCES.build(dict(type='PretrainedTokenizer', path=str(tmp_path / 'saved'))).image == tokens.image
    with pytest.raises(InputError, match='Give the tokenizer that belongs to it'):
        SEQUENCES.build(dict(type='PretrainedTokenizer', path=folder, rows=size - 1))


def test_folder_without_an_end(tmp_path):
    folder = write_chat_folder(tmp_path / 'lm', None)
    (tmp_path / 'lm' / 'tokenizer_config.json').write_text('{}')
    with pytest.raises(InputError, match='does not say which token ends an answer. Set `eos`'):
        SEQUENCES.build(dict(type='PretrainedTokenizer', path=folder))
