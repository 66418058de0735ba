"""The verbs of multimodal language models, and what verbs of the other kind of model say of a run."""
import io
import json
import os
import sys

import pytest
from PIL import Image

from dtbox.cli.main import main


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
    ('test', 'RUN', '--protocol', 'rfid_clean'), ('describe', 'RUN')])
def test_verbs_of_tokenizers_refuse_a_language_model(mllm_run, tmp_path, capsys, words):
    table = dict(RUN=mllm_run, OUT=tmp_path / 'out')
    code, _, err = run(capsys, *[table.get(word, word) for word in words])
    assert code == 2 and 'a multimodal language model; expected a tokenizer' in err and len(err.splitlines()) == 1


@pytest.mark.parametrize('words', [('draw', 'RUN', 'a', '--out', 'OUT'), ('ask', 'RUN', 'x.png', 'what?'),
                                   ('chat', 'RUN'), ('show-sample', 'RUN')])
def test_verbs_of_language_models_refuse_a_tokenizer(tiny_run, tmp_path, capsys, words):
    table = dict(RUN=tiny_run, OUT=tmp_path / 'out')
    code, _, err = run(capsys, *[table.get(word, word) for word in words])
    assert code == 2 and 'a tokenizer; expected a multimodal language model' in err and len(err.splitlines()) == 1


def test_test_and_export(mllm_run, tmp_path, capsys):
    code, out, _ = run(capsys, 'test', mllm_run, '--out', tmp_path / 'metrics.json')
    assert code == 0 and 'variants_talk' in json.loads((tmp_path / 'metrics.json').read_text())
    assert run(capsys, 'export', mllm_run, '--to', 'pretrained', '--out', tmp_path / 'model')[0] == 0
    assert (tmp_path / 'model' / 'language_model' / 'config.json').is_file()
