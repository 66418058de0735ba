"""Captions in .txt files beside images."""
import pytest
from PIL import Image

from dtbox.datasets.image_folder import ImageFolder
from dtbox.datasets.sidecars import find_sidecars
from dtbox.errors import InputError


@pytest.mark.parametrize('files, found', [
    (dict(a_txt='x'), {}), ({'a.txt': 'x'}, {'a.jpg': 'a.txt'}), ({'a.jpg.txt': 'x'}, {'a.jpg': 'a.jpg.txt'}),
    ({'a.txt': 'x', 'a.jpg.txt': ' x\n'}, {'a.jpg': 'a.txt'}), ({'a.TXT': 'x'}, {'a.jpg': 'a.TXT'}),
    ({'A.Jpg.txt': 'x'}, {'a.jpg': 'A.Jpg.txt'}), ({'a.TXT': 'y', 'a.txt': 'x'}, {'a.jpg': 'a.txt'}),
    ({'A.jpg': '', 'A.txt': 'x'}, {'A.jpg': 'A.txt'})])
def test_names(tmp_path, files, found):
    """The exact names come first; a name in another case counts where no other image has it."""
    for name, text in {'a.jpg': '', **files}.items():
        (tmp_path / name).write_text(text)
    images = [tmp_path / name for name in ('a.jpg', *files) if name.lower().endswith('.jpg')]
    assert {image.name: file.name for image, file in find_sidecars(images).items()} == found


@pytest.mark.parametrize('names', [('a.txt', 'a.jpg.txt'), ('a.TXT', 'a.Txt')])
def test_two_texts_of_an_image(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text(f'of {name}')
    with pytest.raises(InputError, match=rf'a.jpg has several captions beside it: {names[0]}, {names[1]}. Delete'):
        find_sidecars([tmp_path / 'a.jpg'])


def test_a_folder_of_such_files(tmp_path):
    """They are read, and none counts as left out."""
    for i in range(4):
        Image.new('RGB', (40, 40), (i * 60, 0, 0)).save(tmp_path / f'{i}.png')
        (tmp_path / f'{i}.png.txt').write_text(f'image {i}')
    data = ImageFolder(tmp_path, 'train')
    assert {item['key']: item['text'] for item in data} == {f'{i}.png': f'image {i}' for i in range(4)
                                                            if f'{i}.png' in data.keys} and not data.notes
