"""Variables that nothing reads are errors, and what a recipe sets itself stays beside --data."""
import pytest

from dtbox.config import load_config, resolve, take_data_options
from dtbox.errors import InputError

PAPER = 'paper/dualtoken_so400m_384_rq8'
READ = (r'which nothing in this config reads\. Its data are set by heldout=\.\.\. and shards=\.\.\., or by '
        r'another data config \(--data\)\. Variables that are read: batch_size, encoder, gan, .*, shards, siglip\.$')


def test_data_root_of_a_recipe_that_reads_shards():
    """One sentence at once names what the recipe reads; with a data config that has it, it counts."""
    with pytest.raises(InputError, match=r'^data_root: the option sets `data_root`, ' + READ):
        load_config(PAPER, dict(data_root='photos'))
    cfg = load_config(PAPER, dict(data_root='photos'), data='imagenet')
    assert resolve(cfg).train_dataloader.dataset.data_root == 'photos'
    with pytest.raises(InputError, match=r'^shards: the option sets `shards`, which nothing in this config reads\.'):
        load_config(PAPER, dict(shards='x.tar'), data='imagenet')


def test_a_variable_of_a_child_that_nothing_reads(tmp_path):
    path = tmp_path / 'child.py'
    path.write_text(f"_base_ = ['{PAPER}']\ndata_root = 'photos'\n")
    with pytest.raises(InputError, match=r'^data_root: child\.py sets `data_root`, ' + READ):
        load_config(path)
    path.write_text(f"_base_ = ['{PAPER}']\ngan = None\ngan_start = 3\n")
    with pytest.raises(InputError, match=r'^gan_start: child\.py sets `gan_start`, which nothing .*Variables that are'):
        load_config(path)


@pytest.mark.parametrize('options', [
    dict(seed=1), dict(work_dir='x'), dict(image_size=56), {'train_dataloader.num_workers': 1}, dict(heldout='x.tar')])
def test_what_is_read_may_be_set(options):
    """Keys of dtbox itself, variables of the model and of the data, and anything below them."""
    assert load_config(PAPER, options) is not None


@pytest.mark.parametrize('data', ['pictures64', 'imagenet'])
def test_settings_of_a_recipe_beside_other_data(data, tmp_path):
    """Batch, workers, image size and resize are the recipe's; an option reaches them."""
    cfg = resolve(load_config(PAPER, data=data))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert (loader.batch_size, loader.num_workers) == (32, 8)
    cfg = resolve(load_config(PAPER, dict(num_workers=3, batch_size=5), data=data))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert (loader.batch_size, loader.num_workers) == (5, 3)
    if data != 'pictures64':
        path = tmp_path / 'child.py'
        path.write_text(f"_base_ = ['{PAPER}']\nresize = 'squash'\n")
        pipeline = resolve(load_config(path, data=data)).val_dataloader.dataset.pipeline
        assert pipeline[0] == dict(type='ResizeCrop', size=384, mode='squash')


def test_loader_settings_that_a_recipe_writes_itself(tmp_path):
    """A recipe that says nothing about workers takes the data config's; numbers in its loaders stay."""
    assert resolve(load_config('dualtoken_rq', data='imagenet')).train_dataloader.num_workers == 4
    path = tmp_path / 'child.py'
    path.write_text("_base_ = ['dualtoken_rq']\ntrain_dataloader = dict(num_workers=1, global_batch_size=48)\n")
    cfg = resolve(load_config(path, data='imagenet'))
    assert (cfg.train_dataloader.num_workers, cfg.train_dataloader.global_batch_size) == (1, 48)
    assert cfg.train_dataloader.dataset.type == 'ImageNet'
    assert 'num_workers' not in load_config(path).val_dataloader and cfg.val_dataloader.num_workers == 1
    path.write_text("_base_ = ['dualtoken_rq']\ntrain_dataloader = dict(batch_size=6)\n"
                    "val_dataloader = dict(batch_size=3)\n")
    cfg = resolve(load_config(path, data='imagenet'))
    assert (cfg.train_dataloader.batch_size, cfg.val_dataloader.batch_size) == (6, 3)
    cfg = resolve(load_config(path, dict(batch_size=9), data='imagenet'))
    assert (cfg.train_dataloader.batch_size, cfg.val_dataloader.batch_size) == (9, 3)


def test_options_of_data_to_measure_on():
    """The loader of a data config without the variable takes them all the same."""
    options = dict(num_workers=2, data_root='x', seed=3)
    assert take_data_options('configs/_base_/datasets/pictures64.py', options) == {
        'val_dataloader.num_workers': 2, 'data_root': 'x'} and options == dict(seed=3)
    assert take_data_options('configs/_base_/datasets/imagenet.py', dict(num_workers=2)) == dict(num_workers=2)
