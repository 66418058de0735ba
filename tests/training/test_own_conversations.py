"""`dtbox train mllm_twemoji --data conversations.py`: a language model on somebody's own files."""
import json

import numpy as np
import pytest
from PIL import Image

from dtbox.cli import check_data, train
from dtbox.config import load_config, resolve
from dtbox.evaluation.results import Results
from dtbox.registry import DATASETS
from tests.conversation_data import llava

pytestmark = pytest.mark.slow
DATA = 'configs/_base_/datasets/conversations.py'


@pytest.fixture
def own(tmp_path):
    """A folder as the README shows it: seven training rows of both formats and two held-out ones, images in `pics`."""
    (tmp_path / 'own' / 'pics').mkdir(parents=True)
    for number in range(4):
        image = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / 'own' / 'pics' / f'{number}.png')
    openai = [dict(role='user', content=[dict(type='text', text='a blue cup')]),
              dict(role='assistant', content=[dict(type='image_gen', image='2.png')])]
    train_rows = [llava('a', '0.png', ('<image>\nWhat is it?', 'A cat.'), ('Is it red?', 'No.')),
                  llava('b', '1.png', ('<image>\nWhat is it?', 'A dog.')), llava('c', '3.png', ('a dog', '<image>')),
                  dict(id='d', messages=openai), dict(id='e', text='A sentence without an image.'),
                  llava('f', '1.png', ('a blue dog', '<image>')), llava('g', '0.png', ('a cat', '<image>'))]
    heldout = [llava('h', '3.png', ('<image>\nWhat is it?', 'A cup.')), llava('i', '2.png', ('a red cup', '<image>'))]
    for name, rows in dict(train=train_rows, heldout=heldout).items():
        (tmp_path / 'own' / f'{name}.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    return tmp_path / 'own'


def test_the_command_trains_and_evaluates(own, tmp_path, capsys):
    """A handful of samples and `--tiny`; drawings and replies of the held-out ones are scored."""
    train.VERB.main(['mllm_twemoji', '--data', DATA, '--tiny', '--work-dir', str(tmp_path / 'run'), '--cfg-options',
                     f'data_root={own}', 'images=pics', 'cpu_ranks=1'])
    scores = Results.read(str(tmp_path / 'run' / 'metrics.json')).row()
    assert np.isfinite(scores['heldout/nats/pixel'])
    assert 'heldout/drawing_t2i_r1/s2' in scores or any('drawing' in name for name in scores)
    assert (tmp_path / 'run' / 'drawings.png').is_file()


def test_what_the_recipe_reads(own):
    """Images in the recipe's size, batches in its number, the data config's file; loaders have one size each."""
    cfg = resolve(load_config('mllm_twemoji', dict(data_root=str(own), images='pics', batch_size=4), data=DATA))
    assert cfg.train_dataloader.dataset.pipeline[0]['size'] == 64
    assert cfg.train_dataloader.global_batch_size == 4 and 'batch_size' not in cfg.train_dataloader
    assert load_config('mllm_twemoji', data=DATA).batch_size == 24  # not that of the recipe's evaluation
    assert cfg.val_dataloader.batch_size == 64 and 'global_batch_size' not in cfg.val_dataloader
    assert [len(DATASETS.build(cfg[f'{name}_dataloader'].dataset)) for name in ('train', 'val')] == [7, 2]


def test_the_data_alone(own, tmp_path, capsys):
    """`dtbox check-data` reads the config without a recipe."""
    check_data.VERB.main([DATA, '--cfg-options', f'data_root={own}', 'images=pics'])
    assert '7' in capsys.readouterr().out
