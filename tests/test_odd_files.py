"""Odd files of somebody else, of every room: what they hold is one sentence, or read as its author meant it."""
import io
import json
import os
import re
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import dtbox
from dtbox.checksums import find_damage
from dtbox.config import references
from dtbox.converters.run_folder import convert
from dtbox.datasets.captions import read_captions
from dtbox.datasets.coco import read_coco
from dtbox.datasets.masks import decode_mask, is_crowd, read_area, read_size
from dtbox.datasets.read import read_image
from dtbox.datasets.shards import places
from dtbox.datasets.shards.index import scan
from dtbox.datasets.transforms import PackImage, ResizeCrop
from dtbox.errors import InputError
from dtbox.extend.find import find
from dtbox.files import parse_json
from dtbox.registry import DATASETS
from dtbox.report.trials import read_grid
from dtbox.runs import RunFolder
from dtbox.texts.tokenizers import FileTokenizer
from dtbox.weights.model_folders import load_published
from dtbox.weights.renaming import Renaming
from dtbox.weights.state_dicts import load_into
from tests.conftest import write_published
from tests.hostile import make_words


def test_a_name_twice_in_json():
    """Python keeps the last value and says nothing."""
    assert parse_json('[{"a": 1}, {"a": 2}]') == [{'a': 1}, {'a': 2}]
    with pytest.raises(ValueError, match="the name 'a' comes twice"):
        parse_json('{"b": {"a": 1, "a": 2}}')


@pytest.mark.parametrize('content', ['image;caption\na.jpg;a cat, asleep\n', 'image|caption\na.jpg|a cat, asleep\n',
                                     'image,caption\na.jpg,"a cat, asleep"\n'])
def test_separators_of_tables(content, tmp_path):
    """Spreadsheets of many countries write semicolons."""
    (tmp_path / 'captions.csv').write_text(content)
    assert read_captions(tmp_path / 'captions.csv') == {'a.jpg': ['a cat, asleep']}


@pytest.mark.parametrize('name, content, error', [
    ('captions.csv', 'image,caption,Caption\na.jpg,x,y\n', 'the column `caption` twice'),
    ('captions.json', json.dumps(dict(images=[dict(id=1, file_name=7)], annotations=[dict(image_id=1, caption='x')])),
     'lacks a part, or has an odd one'),
    ('captions.json', json.dumps(dict(images=[dict(id=[1], file_name='a')], annotations=[])), 'has an odd one')])
def test_odd_captions(name, content, error, tmp_path):
    """A second column was taken for the first; ids and names of odd kinds were told as faults of dtbox."""
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=error):
        read_captions(tmp_path / name)


def make_coco(folder, **changes):
    """Write one image and its annotation; returns the data set's folder."""
    note = dict(id=1, image_id=1, category_id=7, iscrowd=0, area=100, segmentation=[[1, 1, 20, 1, 20, 20]],
                caption='a cat')
    image = dict(id=1, file_name='0.png', width=24, height=24)
    for key, value in changes.items():
        (image if key in image else note)[key] = value
    (folder / 'val2017').mkdir()
    (folder / 'annotations').mkdir()
    Image.new('RGB', (24, 24)).save(folder / 'val2017' / '0.png')
    data = json.dumps(dict(images=[image], annotations=[note], categories=[dict(id=7, name='cat')]))
    for name in ('instances', 'captions'):
        (folder / 'annotations' / f'{name}_val2017.json').write_text('\ufeff' + data, encoding='utf-8')
    return folder


@pytest.mark.parametrize('key, value, left', [
    ('area', 'x', 1), ('area', [1], 1), ('width', '24', 1), ('iscrowd', '0', 1), ('iscrowd', 1, 0),
    ('segmentation', [[0, 0, 1e12, 0, 1e12, 1e12]], 0), ('segmentation', [[float('nan')] * 6], 0)])
def test_odd_annotations(key, value, left, tmp_path):
    """Numbers that are none count as absent; points far outside of the image crashed the process. A byte order mark is
    no part of JSON."""
    pytest.importorskip('pycocotools')
    data = DATASETS.build(dict(type='CocoObjects', data_root=str(make_coco(tmp_path, **{key: value})), split='val'))
    sample = data[0]
    assert len(sample['masks']) == left and (left or value == 1 or 'is left out' in sample['flaws'][0])


def test_numbers_of_annotations():
    assert [read_area(dict(area=a)) for a in (5, 2.5, 'x', None, -3, float('nan'))] == [5, 2.5, 0, 0, 0, 0]
    assert read_size(dict(width=3, height=4)) == (3, 4) and read_size(dict(width='3', height=4)) == (None, None)
    assert [is_crowd(dict(iscrowd=c)) for c in (0, 1, '0', '1', None)] == [False, True, False, True, False]
    with pytest.raises(InputError, match='is said to have 1000000 x 1000000 pixels'):
        decode_mask(dict(segmentation=dict(size=[10 ** 6] * 2, counts=[1])), (10, 10), (10 ** 6, 10 ** 6))


@pytest.mark.parametrize('caption, texts', [(['a', 'b '], ['a', 'b']), (None, []), ('\ud83d x', ['? x'])])
def test_captions_of_coco(caption, texts, tmp_path):
    """They were `['a', 'b']` and `None` as text."""
    data = DATASETS.build(dict(type='CocoCaptions', data_root=str(make_coco(tmp_path, caption=caption)), split='val'))
    assert data[0]['captions'] == texts


def test_odd_ids_and_names_of_coco(tmp_path):
    for number, (key, value, error) in enumerate([('image_id', [1], 'the first a number'),
                                                  ('caption', 5, 'a caption must be'),
                                                  ('file_name', '\ud83d.png', 'is not the name of a file')]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(InputError, match=error):
            DATASETS.build(dict(type='CocoCaptions', data_root=str(make_coco(folder, **{key: value})), split='val'))
    with pytest.raises(InputError, match='expected id, the first a number'):
        (tmp_path / 'odd.json').write_text(json.dumps(dict(images=[dict(id=[1])], annotations=[])))
        read_coco(tmp_path / 'odd.json', 'caption')


def test_marks_and_repeats_in_lists(tmp_path):
    """A byte order mark before Karpathy's JSON and Kaggle's table; captions of an image that comes twice."""
    (tmp_path / 'images').mkdir()
    (tmp_path / 'val').mkdir()
    for name in ('images/0.png', 'val/a.png'):
        Image.new('RGB', (8, 8)).save(tmp_path / name)
    rows = [dict(filename='0.png', split='test', sentences=[dict(raw=text)]) for text in 'xy']
    (tmp_path / 'dataset.json').write_text('\ufeff' + json.dumps(dict(images=rows)), encoding='utf-8')
    data = DATASETS.build(dict(type='Captions', data_root=str(tmp_path), split='test'))
    assert [sample['captions'] for sample in data] == [['x', 'y']]
    (tmp_path / 'LOC_val_solution.csv').write_text('\ufeffImageId,PredictionString\na,n01443537 1 2 3 4\n', 'utf-8')
    names = [str(i) for i in range(1000)]  # without open_clip, which takes two seconds to import
    data = DATASETS.build(dict(type='ImageNet', data_root=str(tmp_path), split='val', names=names))
    assert data[0]['label'] == 1


def write_shard(path, **members):
    """Write a tar file of two samples, `members` replacing those of the first."""
    picture = io.BytesIO()
    Image.new('RGB', (8, 8)).save(picture, 'PNG')
    files = {'a.png': picture.getvalue(), 'a.txt': b'a cat', 'a.cls': b'1', 'b.png': picture.getvalue()}
    with tarfile.open(path, 'w') as tar:
        for name, content in {**files, **{k.replace('_', '.', 1): v for k, v in members.items()}}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


@pytest.mark.parametrize('content, texts', [('\ufeffa cat'.encode(), ['a cat']), ('kätzchen'.encode('latin-1'), None),
                                            ('a cat'.encode('utf-16'), None)])
def test_texts_in_shards(content, texts, tmp_path):
    """A byte order mark is no part of a caption, and text that is not UTF-8 is no caption."""
    path = write_shard(tmp_path / 'a.tar', a_txt=content)
    data = DATASETS.build(dict(type='Shards', urls=path, split='heldout', index=str(tmp_path)))
    assert data[0].get('captions') == texts and (texts or 'is not UTF-8' in data[0]['broken'])


def test_odd_shards(tmp_path, monkeypatch):
    """Classes of 5,000 digits, sizes below zero, what a Mac lays beside its files, ranges without an end."""
    path = write_shard(tmp_path / 'a.tar', a_cls=b'9' * 5000)
    data = DATASETS.build(dict(type='Shards', urls=path, split='heldout', index=str(tmp_path)))
    assert 'expected an index' in data[0]['broken']
    assert not scan(write_shard(tmp_path / 'b.tar', **{'._a.png': b'x'})).flaws
    with tarfile.open(tmp_path / 'c.tar', 'w', format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo('a.png')
        info.pax_headers = dict(size='-5')
        tar.addfile(info)
    with pytest.raises(InputError, match='has a negative size'):
        scan(tmp_path / 'c.tar')
    monkeypatch.setattr(places, 'MOST', 1000)
    for pattern in ('{0..99999999999}.tar', '{0..99}{0..99}{0..9}.tar'):
        with pytest.raises(InputError, match='names more than 1,000 shards'):
            places.list_places(pattern)


def test_pictures_without_end(tmp_path):
    """A pipe keeps its reader waiting; a picture a thousand times as long as wide takes the machine's memory."""
    os.mkfifo(tmp_path / 'a.png')
    with pytest.raises(InputError, match='is a pipe or a device'):
        read_image(tmp_path / 'a.png')
    with pytest.raises(InputError, match='an image of 1 x 40000 pixels is too long and thin'):
        ResizeCrop(384)(dict(image=Image.new('RGB', (1, 40000))))
    with pytest.raises(InputError, match='an int from 1 to 16,384'):
        ResizeCrop(10 ** 7)
    with pytest.raises(InputError, match='expects an RGB image, got a uint8 tensor'):
        PackImage()(PackImage()(dict(image=Image.new('RGB', (8, 8)))))


def test_pipes_in_folders(tmp_path):
    """A folder of a stranger may hold pipes, which a tar file brings."""
    os.mkfifo(tmp_path / 'run.json')
    os.mkfifo(tmp_path / 'results.csv')
    for read in (RunFolder(tmp_path).read_origin, lambda: read_grid(str(tmp_path))):
        with pytest.raises(InputError, match='is a pipe or a device'):
            read()


def test_compressed_checkpoints(tmp_path):
    """A thousand times as large once it is unpacked."""
    with zipfile.ZipFile(tmp_path / 'a.pth', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', bytes(10 ** 6))
    with pytest.raises(InputError, match="holds the compressed record 'archive/data.pkl'"):
        find_damage(tmp_path / 'a.pth')


@pytest.mark.parametrize('make', [
    lambda t: t.to_sparse(), lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), lambda t: t.to('meta'),
    lambda t: t.to(torch.complex64)], ids=['sparse', 'quantized', 'meta', 'complex'])
def test_odd_tensors_in_weights(make):
    module = torch.nn.Linear(2, 2)
    state = dict(module.state_dict())
    state['weight'] = make(state['weight'])
    with pytest.raises(InputError, match='the tensor weight of x'):
        load_into(module, state, 'x')


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('changes', [
    dict(model=dict(type='WordLevel', vocab={'<pad>': 0}, unk_token='zzz')),
    dict(normalizer=dict(type='Sequence', normalizers=[dict(type='Replace', pattern=dict(String='o'), content='oo')]
                         * 30)), dict(normalizer=dict(type='Prepend', prepend='x' * 10_000)),
    dict(normalizer=dict(type='Precompiled', precompiled_charsmap='AAAA'))],
                         ids=['unknown', 'grows', 'begins', 'panic'])
def test_damaged_text_tokenizers(changes, tmp_path):
    """A bare Exception, a panic, and a text of a thousand million characters."""
    (tmp_path / 'tokenizer.json').write_text(make_words(**changes))
    with pytest.raises(InputError, match='tokenizer.json'):
        FileTokenizer(str(tmp_path / 'tokenizer.json'))(['dog'])


def test_references_that_explode(monkeypatch):
    """Ten references to a list of ten references, eleven times over."""
    monkeypatch.setattr(references, 'MOST', 5000)
    lists = {f'b{i}': [f'${{b{i - 1}}}'] * 10 for i in range(1, 12)}
    with pytest.raises(InputError, match='more than 5,000 values'):
        references.resolve(dict(lists, b0=1))


@pytest.mark.parametrize('line, error', [
    ("plugins = ['run.mine']", 'names the plugin'),
    ("plugins = ['plugins/mine.py']", 'names the plugin'),
    ("plugins = ['this']", 'a module of Python itself'), ('x = dict(a=1, a=2)', 'would have to be run'),
    ('x = {([1],): 2}', 'would have to be run')])
def test_odd_lines_of_a_run(line, error, tiny_run, tmp_path, monkeypatch):
    """A plugin in the folder by its name as a module, or by `plugins/` where the folder is the current one."""
    run = shutil.copytree(tiny_run, tmp_path / 'run')
    (run / 'plugins').mkdir()
    for name in ('mine.py', 'plugins/mine.py'):
        (run / name).write_text(f'open({str(tmp_path / "executed")!r}, "w")')
    with open(run / 'config.py', 'a') as file:
        file.write(f'\n{line}\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(run)
    with pytest.raises(InputError, match=error):
        dtbox.load(run)
    assert not (tmp_path / 'executed').exists()


def test_text_of_an_export(tiny_run, tmp_path):
    """`text` that is no dict."""
    dtbox.load(tiny_run).save_pretrained(tmp_path / 'x')
    config = json.loads((tmp_path / 'x' / 'config.json').read_text())
    del config['sha256']
    for text in (5, [1], dict(tokenizer=5)):
        config['tokenizer']['text'] = text
        (tmp_path / 'x' / 'config.json').write_text(json.dumps(config))
        with pytest.raises(InputError):
            dtbox.load(tmp_path / 'x')


@pytest.mark.parametrize('part, key, value', [
    ('config', 'vq_pix', 5), ('config', 'ddconfig', None), ('config', 'layer_recon', []),
    ('vision_config', 'hidden_size', 'x'), ('vision_config', 'num_hidden_layers', 10 ** 9),
    ('text_config', 'num_hidden_layers', 10 ** 9), ('text_config', 'vocab_size', None)])
def test_odd_published_configs(part, key, value, golden, tmp_path):
    """Values of other kinds were tracebacks, a thousand million blocks took for ever."""
    def change(config, state, towers):
        (config if part == 'config' else towers[part])[key] = value
    src, siglip = write_published(tmp_path, golden, change)
    with pytest.raises(InputError, match='cannot be converted|do not belong together|expected'):
        convert('dualtoken', src, tmp_path / 'run', siglip=siglip)


@pytest.mark.parametrize('content', ['[]', '5', 'null', '{"rqvaesiglip": 5}'])
def test_published_configs_that_are_no_objects(content, golden, tmp_path):
    src, siglip = write_published(tmp_path, golden)
    (src / 'config.json').write_text(content)
    with pytest.raises(InputError, match='expected a JSON object'):
        convert('dualtoken', src, tmp_path / 'run', siglip=siglip)


def test_odd_indices_of_shards(tmp_path):
    for content in ('[]', '{"weight_map": {"a": 5}}'):
        (tmp_path / 'model.safetensors.index.json').write_text(content)
        with pytest.raises(InputError, match='expected'):
            load_published(str(tmp_path))
    with pytest.raises(InputError, match='and its config tells of 9 blocks'):
        Renaming(dict(a=torch.ones(1)), 'x').count(9)


def test_other_default_devices(tiny_run):
    """`torch.set_default_device` is for the user's own tensors."""
    tokenizer = dtbox.load(tiny_run)
    picture = Image.fromarray(np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3))
    codes = tokenizer.encode(picture)
    with torch.device('meta'):
        again = tokenizer.encode(picture)
        image = tokenizer.decode({name: value.tolist() for name, value in codes.items()})
    assert all(torch.equal(again[name], codes[name]) for name in codes) and not image.is_meta


class OddPath(os.PathLike):
    def __fspath__(self):
        raise RuntimeError('no')


def test_paths_that_raise():
    with pytest.raises(InputError, match=re.escape('expected a path')):
        dtbox.load(OddPath())
    assert find('plugins/residual_fsq').name == 'residual_fsq'
