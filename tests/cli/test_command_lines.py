"""What a user types wrong gets one sentence and exit code 2; what the small tools print."""
import re
import subprocess
import sys

import pytest

from dtbox.cli import print_config, test, train
from dtbox.config import load_config, resolve

WRONG = {
    'missing config': (train, ['gone.py'], r'the config gone\.py does not exist'),
    'missing run': (test, ['gone'], r'the run gone does not exist'),
    'a config alone': (test, ['CONFIG'], r'is a config; say also which checkpoint'),
    'missing checkpoint': (test, ['CONFIG', 'gone.pth'], r'the checkpoint gone\.pth does not exist'),
    'no checkpoint': (test, ['CONFIG', 'CONFIG'], r'the checkpoint .*recipe_0\.py cannot be read'),
    'checkpoint of another model': (test, ['RUN', '--cfg-options', 'quantizer.size=32'],
                                    r'does not match VisualTokenizer\..*wrong shape: .*\(64, 8\) in the file, '
                                    r'\(32, 8\) in the model'),
    'unknown name': (train, ['CONFIG', '--cfg-options', 'model.tokenizer.decoder.type=LightCNNDecodr'],
                     r'model\.tokenizer\.decoder: `LightCNNDecodr` is not registered under decoders\. Did you mean '
                     r'`LightCNNDecoder`'),
    'unknown key': (train, ['CONFIG', '--cfg-options', 'model.tokenizr=1'],
                    r'model\.tokenizr: there is no such key .*Did you mean `tokenizer`'),
    'unknown key of a part': (print_config, ['CONFIG', '--cfg-options', 'quantizer.sise=1'], r'Did you mean `size`'),
    'layer beyond the depth': (train, ['CONFIG', '--cfg-options', 'model.tokenizer.vocabularies.pixel.taps=9'],
                               r'vocabularies\.pixel\.taps: tap `9` is beyond the last layer: encoder `trunk` has 3 '
                               r'blocks'),
    'image size': (train, ['CONFIG', '--cfg-options', 'image_size=36'],
                   r'model\.tokenizer\.decoder: .*`image_size` is \(36, 36\)'),
    'missing data': (train, ['CONFIG', '--cfg-options', 'data_root=/gone'], r'data_root /gone does not exist'),
    'results into a folder': (test, ['RUN', '--out', '.'], r'cannot write results to \.: it is a folder'),
    'missing plugin': (test, ['RUN', '--plugin', 'gone.py'], r'the plugin gone\.py does not exist'),
}


@pytest.mark.parametrize('tool, words, says', WRONG.values(), ids=WRONG)
def test_one_sentence(tool, words, says, tiny_config, tiny_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        getattr(tool, 'VERB', tool).main([{'CONFIG': str(tiny_config), 'RUN': str(tiny_run)}.get(w, w) for w in words])
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if ' - mmengine - ' not in line]  # log lines may come before it
    assert left.value.code == 2 and len(lines) == 1, err
    assert lines[0].startswith('error: ') and re.search(says, lines[0]), err
    assert not list(tmp_path.iterdir())


def test_as_a_process(tmp_path):
    done = subprocess.run([sys.executable, 'tools/print_config.py', str(tmp_path / 'gone.py')], capture_output=True,
                          text=True)
    assert done.returncode == 2
    assert done.stdout == ''
    assert re.fullmatch(r'error: the config .*gone\.py does not exist\..*\n', done.stderr)


def test_printed_config_loads_again(tiny_config, tmp_path, capsys):
    for words in ([], ['--resolved']):
        print_config.VERB.main([str(tiny_config), '--cfg-options', 'image_size=64', *words])
        text = capsys.readouterr().out
        assert ('${' in text) == (not words) and 'image_size = 64' in text
        (tmp_path / 'printed.py').write_text(text)
        again, expected = (resolve(load_config(*args))
                           for args in ((tmp_path / 'printed.py',), (tiny_config, {'image_size': 64})))
        assert again._cfg_dict.to_dict() == expected._cfg_dict.to_dict()
