"""dtbox reconstruct: images side by side, one line each; what cannot be read is named and the rest goes on."""
import re

import numpy as np
import pytest
from PIL import Image

from dtbox.cli.reconstruct import VERB


@pytest.fixture
def images(tmp_path):
    """Two images of one name in two folders, a broken one, and a file that is none."""
    generator = np.random.default_rng(0)
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / folder / 'cat.png')
    (tmp_path / 'b' / 'broken.png').write_bytes((tmp_path / 'a' / 'cat.png').read_bytes()[:900])
    (tmp_path / 'b' / 'notes.txt').write_text('no image')
    return tmp_path


def test_broken_images_are_reported_and_the_rest_goes_on(tiny_run, images, capsys):
    with pytest.raises(SystemExit) as left:
        VERB.main([str(tiny_run), str(images / 'gone.jpg'), str(images / 'a' / 'cat.png'), str(images / 'b'), '--out',
                   str(images / 'out')])
    out, err = capsys.readouterr()
    assert left.value.code == 2 and sorted(p.name for p in (images / 'out').iterdir()) == ['cat.1.png', 'cat.png']
    assert re.fullmatch(r'.*/a/cat.png -> .*/out/cat.png  PSNR \d+\.\d\d dB  pixel 16 tokens of 2 codes  192 bits '
                        r'\(0\.188 a pixel\)\n'
                        r'.*/b/cat.png -> .*/out/cat.1.png  PSNR .*\n', out)
    assert re.fullmatch(r'error: .*gone.jpg does not exist.*\nerror: .*broken.png cannot be decoded.*\n'
                        r'2 could not be reconstructed.\n', err)


def test_picture_shows_both(tiny_run, images, capsys):
    VERB.main([str(tiny_run), str(images / 'a'), '--out', str(images / 'out'), '--vocabularies', 'pixel', 'semantic'])
    assert 'pixel 16 tokens of 2 codes, semantic 16 tokens of 2 codes  384 bits' in capsys.readouterr().out
    image = Image.open(images / 'out' / 'cat.png')
    assert image.size == (2 * 192 + 6 + 40, 192 + 66)
    left, right = (np.asarray(image.crop((x, 34, x + 192, 226))) for x in (20, 218))
    assert left.std() > 40 and not (left == right).all()


@pytest.mark.parametrize('words, says', [
    (['--vocabularies', 'semantic'], 'leaves out pixel'), (['--vocabularies', 'pixl'], 'Did you mean `pixel`?'),
    (['--checkpoint', 'gone.pth'], 'the checkpoint gone.pth does not exist')])
def test_what_cannot_be_asked(tiny_run, images, capsys, words, says):
    with pytest.raises(SystemExit) as left:
        VERB.main([str(tiny_run), str(images / 'a'), '--out', str(images / 'out'), *words])
    err = capsys.readouterr().err
    assert left.value.code == 2 and err.startswith('error: ') and says in err and not (images / 'out').exists()


def test_a_folder_without_images(tiny_run, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SystemExit):
        VERB.main([str(tiny_run), str(tmp_path / 'empty'), '--out', str(tmp_path / 'out')])
    assert 'empty holds no images' in capsys.readouterr().err
