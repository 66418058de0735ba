"""The verbs of multimodal language models, and what verbs of the other kind of model say of a run."""
import io
import json
import os
import re
import shutil
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

import dtbox
from dtbox.apis.evaluation import evaluate_run
from dtbox.apis.zoo_entry import CARD
from dtbox.cli.chat import Session
from dtbox.cli.main import main
from dtbox.weights import exported_folders, state_dicts


def run(capsys, *words):
    """Run `dtbox WORDS`; returns (exit code, stdout, stderr)."""
    code = 0
    try:
        main([str(word) for word in words])
    except SystemExit as stopped:
        code = stopped.code or 0
    return code, *capsys.readouterr()


def test_draw(mllm_run, tmp_path, capsys):
    """Two prompts with two drawings each; a second call overwrites nothing."""
    words = 'draw', mllm_run, 'red apple', 'a face!', '--n', 2, '--out', tmp_path / 'out', '--scale', 1.5, '--seed', 3
    code, out, _ = run(capsys, *words)
    names = ['red_apple_0.png', 'red_apple_1.png', 'a_face_0.png', 'a_face_1.png', 'drawings.png', 'drawings.json']
    assert code == 0 and out.split() == [str(tmp_path / 'out' / name) for name in names]
    assert Image.open(tmp_path / 'out' / 'a_face_1.png').size == (32, 32)
    record = json.loads((tmp_path / 'out' / 'drawings.json').read_text())
    assert record['settings']['scale'] == 1.5 and record['settings']['seed'] == 3
    assert record['settings']['temperature'] == 0.7 and record['drawings'][1]['prompt'] == 'a face!'
    before = (tmp_path / 'out' / 'red_apple_0.png').read_bytes()
    assert run(capsys, *words[:3], '--out', tmp_path / 'out')[1].split()[0].endswith('red_apple_0.1.png')
    assert (tmp_path / 'out' / 'red_apple_0.png').read_bytes() == before


def test_draw_a_prompt_of_several_lines(mllm_run, tmp_path, capsys):
    """A sheet stays as wide as its drawings, whatever the prompt is."""
    prompt = 'red apple\n' + 'with a face ' * 4
    code, _, err = run(capsys, 'draw', mllm_run, prompt, '--n', 2, '--out', tmp_path / 'out')
    assert code == 0 and err == ''
    assert Image.open(tmp_path / 'out' / 'drawings.png').size[0] == 2 * 20 + 2 * 192 + 6


def test_ask(mllm_run, tmp_path, capsys):
    Image.new('RGB', (40, 30), (200, 0, 0)).save(tmp_path / 'a.png')
    code, out, err = run(capsys, 'ask', mllm_run, tmp_path / 'a.png', tmp_path / 'no.png', 'what is it?')
    assert code == 2 and out.startswith(f'{tmp_path / "a.png"}: ') and len(out.splitlines()) == 1
    assert 'no.png does not exist' in err


def test_ask_about_files_that_are_not_there(tmp_path, capsys):
    """Nothing is opened: not even the run has to be there."""
    code, out, err = run(capsys, 'ask', tmp_path / 'no_run', tmp_path / 'a.png', tmp_path / 'b.png', 'what is it?')
    assert code == 2 and out == '' and len(err.splitlines()) == 2 and 'no_run' not in err
    assert all(f'{name}.png does not exist. Check the path.' in line for name, line in zip('ab', err.splitlines()))


def test_ask_about_a_folder_of_drawings(mllm_run, tmp_path, capsys):
    """The sheets that `dtbox draw` wrote there are left out, each call's own; one that is named is asked about."""
    folder = tmp_path / 'out'
    for _ in range(2):
        assert run(capsys, 'draw', mllm_run, 'red apple', '--out', folder)[0] == 0
    (folder / 'drawings.2.json').write_text('[]')  # another file of that name
    sheets = {'drawings.png', 'drawings.1.png'}
    assert sheets <= set(os.listdir(folder))
    code, out, err = run(capsys, 'ask', mllm_run, folder, folder / 'drawings.png', 'what is it?')
    lines = out.splitlines()
    assert code == 0 and [line.partition('.png: ')[0] for line in lines if '.png: ' in line] == [
        str(folder / name) for name in ('red_apple_0.1', 'red_apple_0', 'drawings')]
    told = [line for line in err.splitlines() if 'is left out: it is the sheet of all drawings' in line]
    assert len(told) == 2 and all(any(name in line for line in told) for name in sheets)
    for name in ('red_apple_0.png', 'red_apple_0.1.png'):
        (folder / name).unlink()
    code, out, err = run(capsys, 'ask', tmp_path / 'no_run', folder, 'what is it?')
    assert code == 2 and 'holds no images beside sheets of drawings' in err


@pytest.mark.parametrize('words, says', [
    (('a', '--n', '0'), '--n: 0 came; expected a whole number from 1 to 1000.'),
    (('a', '--n', '1001'), '--n: 1001 came; expected a whole number from 1 to 1000.'),
    (('--layout', 'mjhq', '--prompts', 'x.json', '--n', '-1'), '--n: -1 came; expected a whole number from 1.'),
    (('--layout', 'mjhq', '--prompts', 'x.json', '--batch', '0'), '--batch: 0 came; expected a whole number from 1.')])
def test_numbers_of_drawings(tmp_path, capsys, words, says):
    """They are told before anything is opened."""
    code, out, err = run(capsys, 'draw', tmp_path / 'no_run', *words, '--out', tmp_path / 'out')
    assert code == 2 and out == '' and err == f'error: {says}\n'


def test_a_question_that_was_forgotten(mllm_run, tmp_path, capsys):
    Image.new('RGB', (32, 32)).save(tmp_path / 'a.png')
    code, out, err = run(capsys, 'ask', mllm_run, tmp_path / 'a.png', tmp_path / 'a.png')
    assert code == 2 and out == '' and 'expected words after the images' in err


def test_chat_by_pipe(mllm_run, tmp_path, capsys, monkeypatch):
    """Images are shown with the next message, the saved conversation is one that data sets read."""
    Image.new('RGB', (40, 30), (200, 0, 0)).save(tmp_path / 'a.png')
    lines = (f'hello\n/image {tmp_path}/a.png\nwhat is it?\n/save\n/draw a face\n/imge x\n\n/new\n/save b.json\n'
             '/quit\nnever\n')
    monkeypatch.setattr(sys, 'stdin', io.StringIO(lines))
    code, out, err = run(capsys, 'chat', mllm_run, '--out', tmp_path / 'chat')
    assert code == 2 and 'Did you mean `/image`' in err and len(err.splitlines()) == 1
    assert sorted(os.listdir(tmp_path / 'chat')) == ['a_face.png', 'b.json', 'chat.json']
    messages = json.loads((tmp_path / 'chat' / 'chat.json').read_text())['messages']
    assert [message['role'] for message in messages] == ['user', 'assistant'] * 2
    assert messages[2]['content'] == [dict(type='image', image=f'{tmp_path}/a.png'),
                                      dict(type='text', text='what is it?')]
    assert json.loads((tmp_path / 'chat' / 'b.json').read_text()) == dict(messages=[])


def test_an_image_stays_where_the_model_says_nothing(tmp_path):
    """The next message shows it again; the silent turn is in no conversation."""
    asked, replies = [], iter(['', 'a face'])

    def chat(messages, **settings):
        asked.append(messages)
        return dict(role='assistant', content=next(replies))
    session = Session(SimpleNamespace(chat=chat, tokenizer=SimpleNamespace(prepare=lambda path: None)), str(tmp_path))
    assert 'may not know such a text' in session.say('/image "a.png" hello?')
    assert session.messages == [] and session.say('what is it?') == 'a face'
    image = dict(type='image', image='a.png')
    assert asked[1] == [dict(role='user', content=[image, dict(type='text', text='what is it?')])]


def test_show_sample(mllm_run, capsys):
    """What is said of a drawing and of questions about one image; a run folder serves as its config."""
    code, out, _ = run(capsys, 'show-sample', mllm_run / 'config.py', '--count', 2)
    kinds = [line[2:13].strip() for line in out.splitlines() if line.startswith('  ')]
    assert code == 0 and kinds[:3] == ['given', 'drawn image', 'target']
    assert kinds[3:8] == ['shared', 'given image', 'shared', 'given', 'target']
    assert '16 places' in out and "'<image_gen_end>' '<eos>'  [6, 2]" in out and '\033' not in out
    assert out.splitlines()[-1] == '4 samples read, 0 of them cannot be used, 0 are broken.'


def test_samples_that_cannot_be_used_are_counted(mllm_run, capsys):
    short = 'model.lm.config.max_position_embeddings=24'
    out = run(capsys, 'show-sample', mllm_run / 'config.py', '--cfg-options', short)[1]
    assert ' cannot be used, ' in out and ' places; the language model reads 24. Shorten or divide it.' in out


@pytest.mark.parametrize('words', [
    ('reconstruct', 'RUN', 'x.png', '--out', 'OUT'), ('export', 'RUN', '--to', 'onnx', '--out', 'OUT'),
    ('diagnose', 'atlas', 'RUN'), ('diagnose', 'conflict', 'RUN', '--out', 'OUT'),
    ('diagnose', 'conflict', 'RUN', '--out', 'OUT', '--iters', '2'),
    ('test', 'RUN', '--protocol', 'rfid_clean')])
def test_verbs_of_tokenizers_refuse_a_language_model(mllm_run, tmp_path, capsys, words):
    table = dict(RUN=mllm_run, OUT=tmp_path / 'out')
    code, _, err = run(capsys, *[table.get(word, word) for word in words])
    assert code == 2 and 'a multimodal language model; expected a tokenizer' in err and len(err.splitlines()) == 1


@pytest.mark.parametrize('words', [('draw', 'RUN', 'a', '--out', 'OUT'), ('ask', 'RUN', 'PNG', 'what?'),
                                   ('chat', 'RUN'), ('show-sample', 'RUN')])
def test_verbs_of_language_models_refuse_a_tokenizer(tiny_run, tmp_path, capsys, words):
    Image.new('RGB', (32, 32)).save(tmp_path / 'x.png')
    table = dict(RUN=tiny_run, OUT=tmp_path / 'out', PNG=tmp_path / 'x.png')
    code, _, err = run(capsys, *[table.get(word, word) for word in words])
    assert code == 2 and 'a tokenizer; expected a multimodal language model' in err and len(err.splitlines()) == 1


def test_test_and_export(mllm_run, tmp_path, capsys):
    code, out, _ = run(capsys, 'test', mllm_run, '--out', tmp_path / 'metrics.json')
    assert code == 0 and 'variants_talk' in json.loads((tmp_path / 'metrics.json').read_text())
    assert run(capsys, 'export', mllm_run, '--to', 'pretrained', '--out', tmp_path / 'model')[0] == 0
    assert (tmp_path / 'model' / 'language_model' / 'config.json').is_file()


def test_an_image_and_its_question_in_one_line(mllm_run, tmp_path, capsys, monkeypatch):
    """The path may have spaces, in quotes where a question follows; a command without its argument says what it needs.
    """
    Image.new('RGB', (40, 30), (200, 0, 0)).save(tmp_path / 'a b.png')
    lines = (f'/image\n/image {tmp_path}/a b.png\nyes\n/image "{tmp_path}/a b.png" what is it?\n/image no.png what?\n'
             '/draw\n/save\n/help\n')
    monkeypatch.setattr(sys, 'stdin', io.StringIO(lines))
    code, out, err = run(capsys, 'chat', mllm_run, '--out', tmp_path / 'chat')
    errors = err.splitlines()
    assert code == 2 and len(errors) == 3
    assert 'Type /image PATH, and your question in the next line' in errors[0]
    assert 'no.png what? does not exist' in errors[1] and '/draw PROMPT' in errors[2]
    assert '/image PATH [QUESTION]: ' in out and 'Any other line is a message to the model.' in out
    asked = json.loads((tmp_path / 'chat' / 'chat.json').read_text())['messages'][::2]
    shown = dict(type='image', image=f'{tmp_path}/a b.png')
    assert [message['content'] for message in asked] == [
        [shown, dict(type='text', text='yes')], [shown, dict(type='text', text='what is it?')]]


def test_samples_that_cannot_be_used_are_named(mllm_run, tmp_path, capsys):
    """By key and reason; rows that were left out, too."""
    Image.new('RGB', (32, 32)).save(tmp_path / 'a.png')
    rows = [dict(id='good', image='a.png', conversations=[{'from': 'human', 'value': 'a face'},
                                                          {'from': 'gpt', 'value': '<image>'}]),
            dict(id='long', conversations=[{'from': 'human', 'value': 'a face ' * 99},
                                           {'from': 'gpt', 'value': 'yes'}]),
            dict(id='gone', image='no.png', conversations=[{'from': 'human', 'value': '<image>a'},
                                                           {'from': 'gpt', 'value': 'b'}])]
    (tmp_path / 'rows.json').write_text(json.dumps(rows))
    config = tmp_path / 'own.py'
    config.write_text(f"_base_ = [{str(mllm_run / 'config.py')!r}]\ntrain_dataloader = dict(batch_size=2, dataset=dict("
                      f"_delete_=True, type='ConversationFiles', data_root={str(tmp_path)!r}, file='rows.json', "
                      "broken='skip', pipeline=[dict(type='ResizeCrop', size=32), dict(type='PackImage')]))\n")
    code, out, err = run(capsys, 'show-sample', config)
    assert err == ''
    end = out.splitlines()[-3:]
    assert code == 0 and end[0] == '2 samples read, 1 of them cannot be used, 1 are broken.'
    assert re.fullmatch(r'  1 sample \(long\): has \d+ places; the language model reads 96\. .*', end[1])
    assert re.fullmatch(r'  .*rows.json, row 3 \(gone\): its image .*no.png does not exist.*', end[2])


@pytest.mark.parametrize('words', [
    ('draw', 'NAME', 'a', '--out', 'out'), ('ask', 'NAME', 'x.png', 'what?'), ('chat', 'NAME'), ('test', 'NAME'),
    ('export', 'NAME', '--to', 'onnx', '--out', 'out'), ('chat', 'work_dirs/NAME')])
def test_a_config_without_a_run_names_the_packaged_model(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new('RGB', (32, 32)).save('x.png')
    code, _, err = run(capsys, *(word.replace('NAME', 'mllm_twemoji') for word in words))
    assert code == 2 and len(err.splitlines()) == 1 and 'Did you mean dtbox://mllm-twemoji, the packaged model' in err


def test_a_config_with_a_run_names_the_run(mllm_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(mllm_run, tmp_path / 'work_dirs' / 'mllm_twemoji')
    code, _, err = run(capsys, 'draw', 'mllm_twemoji', 'a', '--out', 'out')
    assert code == 2 and 'The run of that config is work_dirs/mllm_twemoji.' in err


@pytest.mark.parametrize('words, says', [
    (('draw', 'RUN', 'x', '--n', 'a', '--out', 'o'), "error: --n: got 'a'; expected a whole number. `dtbox draw --h"),
    (('draw', 'RUN', 'x', '--scale', 'a', '--out', 'o'), "error: --scale: got 'a'; expected a number."),
    (('draw', 'RUN', 'x'), 'error: the command lacks --out.'),
    (('ask', 'RUN', 'x'), 'error: the command lacks QUESTION.'),
    (('draw', 'RUN', 'x', '--outt', 'o'), 'error: --outt: there is no such option. Did you mean `--out`?'),
    (('draw', 'RUN', 'x', '--out'), 'error: --out: nothing comes after it; expected one value.'),
    (('chat', 'RUN', 'hello', 'you'), 'error: the command has words that no argument takes: hello you.'),
    (('train', 'RUN', '--launcher', 'slrum'), "error: --launcher: got 'slrum'. Did you mean `slurm`? Expected one of"),
    (('diagnose', 'atlas', 'RUN', '--ou', 'a', '--foo'), 'error: --foo: there is no such option.'),
    (('show-sample', '--count', '1'), 'error: the command lacks CONFIG.')])
def test_wrong_command_lines(words, says, capsys):
    code, out, err = run(capsys, *words)
    assert code == 2 and out == '' and err.startswith(says) and len(err.splitlines()) == 1


def test_a_packaged_model_is_evaluated(mllm_run, tmp_path, capsys, monkeypatch):
    """By the data and the metrics of the config that its card names; the results lie in the current folder."""
    (tmp_path / 'zoo').mkdir()
    config = tmp_path / 'recipe.py'
    config.write_text((mllm_run / 'config.py').read_text())
    monkeypatch.setattr(state_dicts, 'resources', SimpleNamespace(files=lambda _: tmp_path))
    monkeypatch.setattr(exported_folders, 'find_packaged_path', lambda name: name)
    opened = dtbox.load(mllm_run)
    opened.save_pretrained(tmp_path / 'zoo' / 'talk')
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, 'test', 'dtbox://talk')
    assert code == 2 and '`dtbox test CONFIG FOLDER`' in err
    before = sorted((tmp_path / 'zoo').rglob('*'))
    assert run(capsys, 'test', 'recipe.py', 'dtbox://talk')[0] == 0
    card = dict(command='C', config=str(config), note='', name='talk', what='', parameters=1, data='', limits='',
                table='')
    (tmp_path / 'zoo' / 'talk' / 'README.md').write_text(CARD.format(**card))
    code, out, _ = run(capsys, 'test', 'dtbox://talk')
    place = os.path.join('work_dirs', 'talk', 'metrics.1.json')
    assert code == 0 and f'written to {place}' in out
    assert sorted(path for path in (tmp_path / 'zoo').rglob('*') if path.name != 'README.md') == before
    found, want = json.loads((tmp_path / place).read_text())['all'], evaluate_run(str(mllm_run)).sets['all']
    assert found == {name: pytest.approx(value, abs=1e-6) for name, value in want.items()}
