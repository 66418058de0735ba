"""Completion of verbs, options and names of configs in the shell."""
import os
import subprocess
import sys

import pytest

pytest.importorskip('argcomplete')


@pytest.mark.parametrize('line, words', [
    ('dtbox t', {'train', 'test', 'teacher-check', 'train-text-tokenizer'}),
    ('dtbox train dualtoken_r', {'dualtoken_rq'}),
    ('dtbox train dualtoken_rq --re', {'--resume'}), ('dtbox ablate decoupling_', {'decoupling_cifar10'}),
    ('dtbox diagnose confl', {'conflict'}), ('dtbox test --data image', {'imagenet'}),
    ('dtbox plugins new dec', {'decoder'}), ('dtbox train here', {'here.py'}), ('dtbox export --to o', {'onnx'})])
def test_completion(line, words, tmp_path):
    """What the shell asks by its environment, and what dtbox answers to the file it names."""
    (tmp_path / 'here.py').touch()
    env = dict(os.environ, _ARGCOMPLETE='1', _ARGCOMPLETE_IFS='\n', COMP_LINE=line, COMP_POINT=str(len(line)),
               COMP_TYPE='9',
               _ARGCOMPLETE_STDOUT_FILENAME=str(tmp_path / 'answer'), PYTHONPATH=os.getcwd())
    subprocess.run([sys.executable, '-m', 'dtbox'], env=env, cwd=tmp_path, capture_output=True, timeout=120)
    answer = (tmp_path / 'answer').read_text().split('\n')
    assert {word.strip() for word in answer} == words
