"""Named protocols on data in the published formats, from the command line as a user has it."""
import json
import os
import re

import pytest
import torch
from PIL import Image

from dtbox.apis.tiles import place_tiles, reconstruct_tiled
from dtbox.config import load_config
from dtbox.errors import InputError
from dtbox.evaluation.results import Results
from dtbox.evaluation.stamps import compute_digest
from dtbox.protocols import load_protocol
from tests.format_data import coco_captions, coco_objects, colour_video, frame_folder, imagenet, karpathy
from tests.shard_data import write_set
from tools.test import main

DATA = 'configs/_base_/datasets/{}.py'


@pytest.fixture(scope='session')
def text_run(tmp_path_factory):
    """A run folder of the main recipe: two steps from the packaged weights, so that texts mean something."""
    from dtbox.training.runner import Runner
    folder = tmp_path_factory.mktemp('protocols') / 'run'
    options = {'batch_size': 4, 'max_iters': 2, 'gan': None,
               'val_dataloader': None, 'val_evaluator': None,
               'hooks': dict(_delete_=True, checkpoint=dict(type='Checkpoint', interval=2))}
    Runner.from_config(load_config('configs/dualtoken_rq.py', options), work_dir=str(folder)).train()
    return str(folder)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def measured(run, tmp_path, protocols, data, *options):
    """Run the command line; returns the JSON."""
    out = str(tmp_path / 'out.json')
    main([run, '--protocol', *protocols, '--data', DATA.format(data), '--out', out, '--cfg-options', 'num_workers=0',
          *options])
    with open(out) as f:
        return json.load(f)


def test_imagenet(text_run, tmp_path, capsys):
    root = imagenet(tmp_path / 'imagenet')
    found = measured(text_run, tmp_path, ['reconstruction', 'zeroshot', 'knn', 'linear_probe', 'codes', 'rfid_clean',
                                          'lpips_vgg'],
                     'imagenet', f'data_root={root}')
    scores = found['val']
    assert (
        found['counts'] == dict(val=12, all=12)
        and 5 < scores['psnr@reconstruction'] < 60
        and 'ssim@reconstruction' in scores
    )
    assert 0 <= scores['zeroshot_top5@zeroshot/tokens'] <= 1
    # a picture tells its class by its colour: four classes that neighbours know
    assert scores['knn_top1@knn/teacher'] == 1 and scores['linear_top1@linear_probe/teacher'] == 1
    assert scores['usage@codes/pixel'] > 0 and 'token_cosine@codes' in scores
    assert 'rfid@rfid_clean' not in scores
    assert 'inception-2015-12-05.pt' in found['skipped']['FID@rfid_clean']
    assert 'vgg16' in found['skipped']['LPIPS@lpips_vgg']
    assert set(found['protocols']) == {'reconstruction', 'zeroshot', 'knn', 'linear_probe', 'codes', 'rfid_clean',
                                       'lpips_vgg'}
    assert (
        len({p['data'] for p in found['protocols'].values()}) == 1
        and len({p['hash'] for p in found['protocols'].values()}) == 7
    )
    said = capsys.readouterr().out
    assert 'protocol zeroshot (settings ' in said and 'not measured' in said and 'embedding 12 training images' in said


def test_images_of_each_protocol_are_dumped(text_run, tmp_path, capsys):
    """Source and reconstruction lie in a folder for each protocol and set, also where the weights of Inception are
    missing."""
    root, out = imagenet(tmp_path / 'imagenet', 1), tmp_path / 'dump'
    words = [text_run, '--protocol', 'rfid_clean', 'rfid_clean_256', '--data', DATA.format('imagenet'), '--out',
             str(tmp_path / 'out.json'), '--dump', str(out), '--cfg-options', 'num_workers=0', f'data_root={root}']
    main(words)
    count = json.loads((tmp_path / 'out.json').read_text())['counts']['val']
    for protocol, size in (('rfid_clean', 64), ('rfid_clean_256', 256)):
        for side in ('source', 'reconstruction'):
            files = sorted((out / protocol / 'FID' / 'val' / side).iterdir())
            assert len(files) == count and Image.open(files[0]).size == (size, size)
    assert f'Inception got, to {out}' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(words)
    assert f'{out} is not a new or empty folder' in capsys.readouterr().err


def test_names_of_metrics_do_not_count_in_the_hash(tmp_path):
    """The hash is that of the list of metrics, so that numbers compare with those of configs that had a list."""
    metrics = "dict(psnr=dict(type='PSNR'), ssim=None, l1=dict(type='L1'))"
    (tmp_path / 'named.py').write_text(f"protocol = dict(type='Scores', metrics={metrics})\n")
    protocol = load_protocol(str(tmp_path / 'named.py'))
    assert protocol.hash == compute_digest(dict(type='Scores', metrics=[dict(type='PSNR'), dict(type='L1')]))
    assert [m.label for m in protocol.evaluator().prototypes] == ['PSNR', 'L1']


def test_stamps_tell_settings_and_data_apart(text_run, tmp_path):
    def stamp(root, *options):
        found = measured(text_run, tmp_path, ['codes'], 'imagenet', f'data_root={root}', *options)
        return tuple(Results.from_dict(found).stamp('usage@codes/pixel').split('-'))
    one, two = imagenet(tmp_path / 'one', 1), imagenet(tmp_path / 'two', 2)
    first = stamp(one)
    assert stamp(one) == first and stamp(two)[0] == first[0] and stamp(two)[1] != first[1]
    assert stamp(one, 'resize=squash')[1] != first[1]
    other = stamp(one, 'protocol.metrics=dict(_delete_=True, code_usage=dict(type="CodeUsage"))')
    assert other[0] != first[0] and other[1] == first[1]


@pytest.mark.parametrize('data, make, counts', [
    ('coco_captions', coco_captions, dict(val=4, all=4)), ('flickr30k', karpathy, dict(test=2, all=2))])
def test_retrieval_with_several_captions(text_run, tmp_path, data, make, counts):
    found = measured(text_run, tmp_path, ['retrieval'], data, f'data_root={make(tmp_path / "data")}')
    part = next(iter(found['counts']))
    assert found['counts'] == counts
    assert 0 <= found[part]['t2i_r1@retrieval/tokens'] <= found[part]['t2i_r10@retrieval/tokens'] == 1
    if data == 'coco_captions':
        assert 'images without a caption (1 image)' in found['skipped']['Retrieval@retrieval']


def test_shards_with_broken_samples_make_an_incomplete_result(text_run, tmp_path, capsys):
    folder = write_set(tmp_path / 'shards', [3, 3])
    path = tmp_path / 'shards' / 's-1.tar'
    content = bytearray(path.read_bytes())
    start = content.find(b'\xff\xd8\xff')  # a picture
    content[start:start + 60] = b'x' * 60
    path.write_bytes(content)
    (tmp_path / 'shards' / 's-2.tar').write_text('no tar')
    found = measured(text_run, tmp_path, ['reconstruction'], 'cc12m', f'heldout={folder}')
    assert found['counts']['all'] == 5 and len(found['missing']) == 2 and 's-1/000003' in found['missing'][0]
    # its samples are missing, too, although nobody knows how many
    assert 's-2.tar is not a tar file' in found['missing'][1]
    assert 'INCOMPLETE: 2 samples, shards or masks could not be read' in capsys.readouterr().out


@pytest.mark.parametrize('protocol, data, lvis', [
     ('coco_objects', 'coco_objects', False), ('lvis_regions', 'lvis', True)])
def test_objects(text_run, tmp_path, protocol, data, lvis, capsys):
    found = measured(text_run, tmp_path, [protocol], data, f'data_root={coco_objects(tmp_path / "data", lvis)}',
                     'resize=squash')
    scores = found['val']
    count = {k.rpartition('/')[2]: v for k, v in scores.items() if k.startswith('region_count')}
    assert {k: count[k] for k in ('objects', 'small', 'medium', 'large', 'background')} == dict(objects=4, small=1,
                                                                                                medium=1, large=2,
                                                                                                background=2)
    assert not lvis or {k: count[k] for k in ('rare', 'common', 'frequent')} == dict(rare=1, common=1, frequent=2)
    assert 0 <= scores[f'region_top1@{protocol}/objects/tokens'] <= 1
    assert f'region_top1@{protocol}/objects/teacher' in scores
    assert any('annotation 6' in line for line in found['missing'])
    folder = str(tmp_path / 'out' / protocol)
    table = open(os.path.join(folder, 'regions_val.md')).read()
    assert table.startswith('| inside | masks | PSNR [dB] | L1 | category top-1, tokens [%] | category top-1, teacher '
                            '[%] |\n')
    assert '| background |' in table and table.strip() in capsys.readouterr().out
    assert Image.open(os.path.join(folder, 'worst_objects_val.png')).width > 400


def test_video(text_run, tmp_path):
    colour_video(tmp_path / 'clips' / 'rise.mp4', frames=6, size=(80, 64))
    frame_folder(tmp_path / 'clips' / 'frames', 4)
    found = measured(text_run, tmp_path, ['video'], 'video', f'data_root={tmp_path / "clips"}', 'batch_size=4')
    scores = found['heldout']
    assert found['counts']['all'] == 10 and scores['frame_pairs@video'] == 8 and scores['change@video/source'] > 0.03
    assert scores['flicker@video'] > 0 and 0 < scores['churn@video/pixel'] <= 1 and 'ssim@video' in scores
    folder = str(tmp_path / 'out' / 'video')
    import cv2
    file = cv2.VideoCapture(os.path.join(folder, 'rise.mp4'))
    frames = []
    while True:
        more, frame = file.read()
        if not more:
            break
        frames.append(frame)
    assert len(frames) == 6 and frames[0].shape == (192, 384, 3) and file.get(cv2.CAP_PROP_FPS) == pytest.approx(8)
    assert frames[5][:, :192].mean() > frames[0][:, :192].mean() + 40  # the source on the left
    assert os.path.isfile(os.path.join(folder, 'psnr_over_time.png')) and os.path.isfile(os.path.join(folder,
                                                                                                      'frames.mp4'))


def test_resolution(text_run, tmp_path):
    root = imagenet(tmp_path / 'imagenet', 1)
    found = measured(text_run, tmp_path, ['codes', 'resolution'], 'imagenet', f'data_root={root}',
                     'protocol.sizes=64,96', 'protocol.limit=2')
    scores = found['all']
    assert {name: stamp['counts']['all'] for name, stamp in found['protocols'].items()} == dict(
        codes=4, resolution=2
    ) and found['counts']['all'] == 4
    assert Results.from_dict(found).of_protocol('codes').counts == {'val': 4, 'all': 4}
    assert scores['psnr@resolution/resize/64'] == pytest.approx(scores['psnr@resolution/tiles/64'], abs=1e-3)
    assert {f'{name}@resolution/{way}/96' for name in ('psnr', 'ssim', 'seconds', 'peak_mb')
            for way in ('resize', 'tiles')} <= set(scores)
    folder = str(tmp_path / 'out' / 'resolution')
    table = open(os.path.join(folder, 'resolution.md')).read()
    assert len(table.splitlines()) == 6 and os.path.isfile(os.path.join(folder, 'resolution.png'))


# ---- tiles -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('length, tile, overlap', [
     (64, 64, 16), (96, 64, 16), (100, 64, 0), (1024, 256, 64), (65, 64, 60), (257, 256, 0)])
def test_tiles_cover_everything_and_overlap(length, tile, overlap):
    places = place_tiles(length, tile, overlap)
    assert places[0] == 0 and places[-1] == length - tile
    assert all(b - a <= tile - overlap and b > a for a, b in zip(places, places[1:]))


def test_tiled_reconstruction_is_seamless():
    images = torch.rand(2, 3, 50, 70) * 2 - 1
    assert torch.allclose(reconstruct_tiled(images, lambda x: x, (32, 32)), images, atol=1e-5)
    shifts = iter(torch.linspace(0, 1, 1000))
    made = reconstruct_tiled(torch.zeros(1, 3, 32, 200),
                             lambda x: torch.stack([t + next(shifts) for t in x]), (32, 32), overlap=0.5)
    assert made.shape == (1, 3, 32, 200)
    steps = made[0, 0, 0].diff().abs()
    assert steps.max() < 0.002 and made[0, 0, 0, -1] > made[0, 0, 0, 0]
    with pytest.raises(InputError, match='fewer than a tile'):
        reconstruct_tiled(images, lambda x: x, (64, 64))
    with pytest.raises(InputError, match='expected a fraction'):
        reconstruct_tiled(images, lambda x: x, (32, 32), overlap=1.0)


# ---- bad input -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('words, says', [
     (['--protocol', 'retreival'], r'there is no protocol `retreival`. Did you mean `retrieval`\?'),
     (['--data', DATA.format('imagenet')], '--data goes with --protocol'),
     (['--protocol', 'knn', 'knn'], 'expected at least one, each once'),
     (['--protocol', DATA.format('imagenet')], 'is not a protocol: expected `protocol = dict'),
     (['--protocol', 'resolution', 'codes', '--cfg-options', 'protocol.sizs=64'],
      'protocol.sizs: there is no such ' 'key.*`protocol` there are'),
     (['--protocol', 'codes'], 'the config has no `val_dataloader`'),
     (['--protocol', 'codes', '--data', DATA.format('imagenet')], 'ImageNet needs `data_root`'),
     (['--protocol', 'codes', '--data', DATA.format('imagenet'), '--cfg-options', 'data_rot=x'], 'data_rot')])
def test_what_cannot_be_measured(text_run, words, says, capsys):
    with pytest.raises(SystemExit) as left:
        main([text_run, *words])
    assert left.value.code == 2 and re.search(says, capsys.readouterr().err)


def test_protocols_are_listed(capsys):
    main(['x', '--protocol', 'list'])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 18 and all(len(line.split(None, 1)) == 2 for line in lines)


def test_options_reach_the_protocols_that_have_them():
    """Of several protocols an option is for those that have its key; what is no protocol's is given back."""
    from dtbox.protocols.find import load_protocols
    found, rest = load_protocols(['resolution', 'reconstruction'], {'protocol.limit': 7, 'data_root': 'x'})
    assert found[0].limit == 7 and not hasattr(found[1], 'limit') and rest == {'data_root': 'x'}
    with pytest.raises(InputError, match='protocol.limt'):
        load_protocols(['resolution', 'reconstruction'], {'protocol.limt': 7})
