"""Configs: base chains, strict keys, references that one override reaches, and a dump that loads again."""
import pytest

from dtbox import training
from dtbox.config import UNTYPED, list_known_keys, load_config, resolve, set_option
from dtbox.config.text import dump_config, format_config
from dtbox.errors import InputError
from dtbox.training import loops
from dtbox.training.dataloaders import build_train_dataloader

BASE = """
image_size = 16
size = 8
quantizer = dict(type='RQ', size='${size}', dim=4, depth=2)
model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(trunk=dict(type='TimmViT', name='vit_tiny_patch16_224', image_size='${image_size}')),
        vocabularies=dict(
            pixel=dict(taps={6: 1.0, 4: 0.6}, quantizer='${quantizer}'),
            semantic=dict(taps=7, quantizer='${quantizer}'))),
    losses=dict(pixels=dict(type='L2Loss', weight=1.0)))
optim_wrapper = dict(generator=dict(optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.95)), clip_grad=None))
hooks = dict(log=dict(type='Log', interval=20))
steps = [dict(size=3)]
"""


@pytest.fixture
def write(tmp_path):
    """Return write(name, text) -> path of a config file; `base.py` is there already."""
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path
    write('base.py', BASE)
    return write


@pytest.fixture
def child(write):
    """Return child(text) -> Config of a child of base.py."""
    return lambda text: load_config(write('child.py', f"_base_ = ['base.py']\n{text}"))


def test_chain_of_bases(write):
    write('middle.py', "_base_ = ['base.py']\nsize = 16\nimage_size = 32\n")
    cfg = resolve(load_config(write('sub/leaf.py', "_base_ = '../middle.py'\nimage_size = 64\n"
                                    "hooks = dict(log=None, checkpoint=dict(type='Checkpoint'))\n")))
    assert (cfg.size, cfg.image_size, cfg.quantizer.size) == (16, 64, 16)
    assert dict(cfg.hooks) == dict(checkpoint=dict(type='Checkpoint'))  # None removes


@pytest.mark.parametrize('text, says', [
    ('image_sise = 3', r'^image_sise: child\.py sets a key that its base does not have\. Did you mean `image_size`\?'),
    ('model = dict(tokenizr=3)', r'^model\.tokenizr: .* Did you mean `tokenizer`\? Known there: amp, gan, '),
    ('quantizer = dict(sise=3)', r'^quantizer\.sise: .* Did you mean `size`'),
    ('model = dict(tokenizer=dict(vocabularies=dict(pixel=dict(tap=3))))',
     r'^model\.tokenizer\.vocabularies\.pixel\.tap: .* Did you mean `taps`'),
    ('model = dict(tokenizer=dict(encoder=3))', r'^model\.tokenizer\.encoder: .* Did you mean `encoders`'),
    ('optim_wrapper = dict(generator=dict(clip_gard=3))', r'^optim_wrapper\.generator\.clip_gard: .* Did you mean '
                                                          r'`clip_grad`'),
])
def test_unknown_key_in_a_child(child, text, says):
    with pytest.raises(InputError, match=says):
        child(text)


def test_unknown_key_in_the_middle_of_a_chain(write):
    write('middle.py', "_base_ = ['base.py']\nquantizer = dict(sise=3)\n")
    with pytest.raises(InputError, match=r'^quantizer\.sise: middle\.py'):
        load_config(write('leaf.py', "_base_ = ['middle.py']\n"))


def test_keys_that_a_constructor_takes_may_be_new(child):
    cfg = child("""
model = dict(tokenizer=dict(vocabularies=dict(pixel=dict(reinject=6)),
                             decoder=dict(type='ViTDecoder', reads=['pixel'])),
             losses=dict(pixels=dict(weight=2.0)))
quantizer = dict(shared=False)
optim_wrapper = dict(generator=dict(accumulative_counts=4))
train_dataloader = dict(batch_size=2)
""")
    assert cfg.model.tokenizer.vocabularies.pixel.reinject == 6 and cfg.quantizer.shared is False
    assert cfg.optim_wrapper.generator.accumulative_counts == 4


def test_another_type_is_left_to_its_constructor(child):
    cfg = resolve(child("quantizer = dict(type='FSQ', levels=[8, 8])"))
    assert cfg.model.tokenizer.vocabularies.semantic.quantizer == dict(type='FSQ', levels=[8, 8])


def test_new_variables_may_be_referred_to(child):
    cfg = resolve(child("levels = [4]\nmodel = "
                        "dict(tokenizer=dict(vocabularies=dict(pixel=dict(quantizer=dict(type='FSQ', "
                        "levels='${levels}')))))"))
    assert cfg.model.tokenizer.vocabularies.pixel.quantizer.levels == [4]


def quantizer(cfg, name='pixel'):
    return resolve(cfg).model.tokenizer.vocabularies[name].quantizer


def test_one_override_reaches_all_copies(write):
    cfg = load_config(write('x.py', BASE), {'image_size': 32, 'quantizer.depth': 3})
    set_option(cfg, 'size', 64)
    whole = resolve(cfg)
    assert whole.model.tokenizer.image_size == whole.model.tokenizer.encoders.trunk.image_size == 32
    for name in ('pixel', 'semantic'):
        assert quantizer(cfg, name) == dict(type='RQ', size=64, dim=4, depth=3)
    assert cfg.model.tokenizer.image_size == '${image_size}'  # the unresolved config is what a run folder keeps


def test_override_below_a_reference_stays_where_it_is(write):
    cfg = load_config(write('x.py', BASE), {'model.tokenizer.vocabularies.pixel.quantizer.depth': 5})
    assert (quantizer(cfg).depth, quantizer(cfg, 'semantic').depth, cfg.quantizer.depth) == (5, 2, 2)
    set_option(cfg, 'size', 32)
    assert quantizer(cfg).size == 32  # what the copy refers to is still followed


def test_override_below_a_reference_to_a_reference(write):
    cfg = load_config(write('x.py',
                            "a = dict(x=1)\nb = '${a}'\nmodel = dict(tokenizer='${b}')"), {'model.tokenizer.x': 3})
    assert resolve(cfg).model.tokenizer.x == 3 and cfg.a.x == 1


@pytest.mark.parametrize('key, value, look', [
    ('model.tokenizer.vocabularies.pixel.taps.6', 0.5, lambda c: c.model.tokenizer.vocabularies.pixel.taps[6]),
    ('hooks.log.interval', 5, lambda c: c.hooks.log.interval),
    ('model.tokenizer.vocabularies.pixel.reinject', 6, lambda c: c.model.tokenizer.vocabularies.pixel.reinject),
    ('model.tokenizer.vocabularies.pixel.projection.type', 'MLPProjection',
     lambda c: c.model.tokenizer.vocabularies.pixel.projection.type),
    ('model.tokenizer.encoders.trunk.model_args.depth', 2, lambda c: c.model.tokenizer.encoders.trunk.model_args.depth),
    ('model.tokenizer.decoder.type', 'ViTDecoder', lambda c: c.model.tokenizer.decoder.type),
    ('optim_wrapper.generator.clip_grad.max_norm', 1.0, lambda c: c.optim_wrapper.generator.clip_grad.max_norm),
    ('optim_wrapper.generator.accumulative_counts', 2, lambda c: c.optim_wrapper.generator.accumulative_counts),
    ('model.losses.pixels.weight', 2.0, lambda c: c.model.losses.pixels.weight),
    ('seed', 7, lambda c: c.seed)])
def test_options_may_set_what_is_there_or_taken(write, key, value, look):
    assert look(load_config(write('x.py', BASE), {key: value})) == value


@pytest.mark.parametrize('key, says', [
    ('image_sise', r'^image_sise: there is no such key in the config\. Did you mean `image_size`\? At the top level '
                   r'there are: image_size, size, '),
    ('quantizer.sise', r'^quantizer\.sise: .* Did you mean `size`\? In `quantizer` there are: type, size, dim, depth, '
                       r''),
    ('model.tokenizer.vocabularies.pixel.quantizer.sise', r'Did you mean `size`'),
    ('model.tokenizer.vocabularies.pixl.taps', r'Did you mean `pixel`'),
    ('hooks.lgo.interval', r'^hooks\.lgo\.interval: there is no such key in the config\. Did you mean `log`\?'),
    ('steps.1.size', r'`steps` is a list of 1; `1` is not an index'),
    ('steps.first', r'`first` is not an index'),
    ('image_size.height', r'`image_size` is 16; it has no key `height`'),
    ('optim_wrapper.generator.optimizer.betas.0', r'betas` is the tuple \(0\.9, 0\.95\)'),
    ('optim_wrapper.generator.lr', r'^optim_wrapper\.generator\.lr')])
def test_unknown_option(write, key, says):
    with pytest.raises(InputError, match=says):
        load_config(write('x.py', BASE), {key: 1})


@pytest.mark.parametrize('text, says', [
    ("a = '${b}'\nb = '${a}'", r'refers to itself'), ("a = '${a}'", r'^a: `\$\{a\}` refers to itself'),
    ("size = 3\nx = dict(y=['${sise}'])", r'^x\.y\.0: `\$\{sise\}` names no top-level variable\. Did you mean `size`')])
def test_references_that_lead_nowhere(write, text, says):
    with pytest.raises(InputError, match=says):
        resolve(load_config(write('x.py', text)))


def test_self_reference_below_an_override(write):
    with pytest.raises(InputError, match='refers to itself'):
        load_config(write('x.py', "a = '${b}'\nb = '${a}'\nmodel = dict(tokenizer='${a}')"), {'model.tokenizer.x': 1})


def test_dump_and_reload(write, tmp_path):
    text = (
        BASE
        + "z = dict(b=1, a=2, c={3: 'x', 1: None})\nlimit = float('inf')\nempty = [dict(), [], (), 'a\"\\n\\'b', "
          "(1,), True, 1e-05]\n"
        "words = {'not-a-name': 1, 'class': 2, 'ok': 3}\n"
    )
    cfg = load_config(write('x.py', text))
    dump_config(cfg, tmp_path / 'run' / 'config.py', header='Header.')
    again = load_config(tmp_path / 'run')
    assert again._cfg_dict.to_dict() == cfg._cfg_dict.to_dict()
    assert list(again.model.tokenizer.vocabularies.pixel.taps.items()) == [(6, 1.0), (4, 0.6)]
    assert (
        list(again.z) == ['b', 'a', 'c']
        and list(again.z.c.items()) == [(3, 'x'), (1, None)]
        and list(again.keys()) == list(cfg.keys())
    )
    assert isinstance(again.optim_wrapper.generator.optimizer.betas, tuple) and again.empty[4] == (1,)
    written = (tmp_path / 'run' / 'config.py').read_text()
    assert written.startswith('"""Header."""\n') and max(map(len, written.splitlines())) <= 120
    assert format_config(again) == format_config(cfg)
    set_option(again, 'size', 99)
    assert quantizer(again).size == 99  # references survive


def test_long_values_take_a_line_for_each_item():
    """Indented by four for each level, where a line would have more than 120 characters."""
    x, y = 'x' * 60, 'y' * 60
    assert format_config(dict(a=dict(b=1, c={'d e': [x, y]}), f=(x, y))) == (
        f"a = dict(\n    b=1,\n    c={{\n        'd e': [\n            '{x}',\n            '{y}']}})\n"
        f"f = (\n    '{x}',\n    '{y}',)\n")
    assert format_config(dict(a=[x, 'y' * 51])) == f"a = ['{x}', '{'y' * 51}']\n"


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match='a type, which cannot be written as text'):
        dump_config(dict(a=[dict(type=int)]), tmp_path / 'c.py')
    assert not list(tmp_path.iterdir())


def test_other_data(write):
    """--data: loaders and their variables come from the other config, image size and batch from the recipe, overrides
    reach both."""
    recipe = write('recipe.py', "_base_ = ['./base.py']\ntrain_dataloader = dict(batch_size=2, "
                                "dataset=dict(type='Twemoji'))\nval_dataloader = "
                                "dict(batch_size=2, dataset=dict(type='Twemoji', limit=5))\n")
    cfg = resolve(load_config(recipe, dict(data_root='photos', resize='squash', size=9),
                              data='configs/_base_/datasets/coco_captions.py'))
    assert cfg.train_dataloader.dataset.type == cfg.val_dataloader.dataset.type == 'CocoCaptions'
    assert 'limit' not in cfg.val_dataloader.dataset
    assert cfg.train_dataloader.dataset.data_root == 'photos'
    assert cfg.train_dataloader.batch_size == cfg.val_dataloader.batch_size == 2
    assert cfg.train_dataloader.num_workers == 4  # the recipe says nothing
    assert cfg.train_dataloader['last'] == 'carry'
    assert cfg.val_dataloader.dataset.pipeline[0] == dict(type='ResizeCrop', size=16,
                                                          mode='squash') and cfg.quantizer['size'] == 9
    with pytest.raises(InputError, match='no `train_dataloader`, so there is nothing to train on'):
        load_config(recipe, data='configs/_base_/datasets/coco_objects.py')


def test_small_values(write):
    """The config's own, under the options that are given."""
    path = write('recipe.py', "batch_size = 32\nseed = 0\ntiny = {'batch_size': 2, 'seed': 1}")
    assert (load_config(path).batch_size, load_config(path, tiny=True).batch_size) == (32, 2)
    cfg = load_config(path, {'batch_size': 3}, tiny=True)
    assert (cfg.batch_size, cfg.seed) == (3, 1)
    with pytest.raises(InputError, match='has no dict `tiny` of small values'):
        load_config(write('plain.py', 'batch_size = 32'), tiny=True)


def test_missing_files(write, tmp_path):
    write('dualtoken.py', 'a = 1')
    with pytest.raises(InputError, match=r'dualtokn\.py does not exist\. Did you mean `\S+/dualtoken\.py`'):
        load_config(tmp_path / 'dualtokn.py')
    with pytest.raises(InputError, match=r'Give the path of a config file or of a run folder'):
        load_config(tmp_path / 'nowhere' / 'x.py')
    (tmp_path / 'run').mkdir()
    with pytest.raises(InputError, match=r'run/config\.py does not exist'):
        load_config(tmp_path / 'run')
    with pytest.raises(InputError, match=r'x\.py cannot be read: .*gone\.py'):
        load_config(write('x.py', "_base_ = ['gone.py']"))


@pytest.mark.parametrize('text', ['a = (', 'a = b', 'a = 1 / 0', 'a = dict(1)', "raise RuntimeError('x')"])
def test_broken_files(write, text):
    with pytest.raises(InputError, match=r'x\.py cannot be read: \w+Error'):
        load_config(write('x.py', text))


def test_a_run_folder_reads_its_own_text_tokenizer(write, tmp_path):
    write('run/config.py', "model = dict(tokenizer=dict(text=dict(type='OpenCLIPText', "
                           "tokenizer=dict(type='FileTokenizer', file='gone.json'))))")
    assert load_config(tmp_path / 'run').model.tokenizer.text.tokenizer.file == 'gone.json'
    write('run/tokenizer.json', '{}')
    assert load_config(tmp_path / 'run').model.tokenizer.text.tokenizer.file == str(tmp_path / 'run' / 'tokenizer.json')


def test_known_keys_follow_the_code():
    """What config.py says of dicts without a type is what the code behind them takes."""
    assert set(UNTYPED['optim_wrapper.*']) == list_known_keys({}, 'optim_wrapper.generator')
    loop = set(loops.TrainLoop.__init__.__code__.co_varnames[3:loops.TrainLoop.__init__.__code__.co_argcount])
    assert set(UNTYPED['train_cfg']) == loop
    with pytest.raises(InputError, match=f'There are: {", ".join(UNTYPED["train_dataloader"])}.'):
        build_train_dataloader(dict(x=1), seed=0)
    assert 'weight' in list_known_keys(dict(type='L2Loss'), 'model.losses.pixels')
    assert 'weight' not in list_known_keys(dict(type='L2Loss'), 'x.y')
    assert list_known_keys({}, 'model.tokenizer.vocabularies.pixel.taps') == set()
    assert training is not None


def test_named_parts_may_be_added(tmp_path):
    """Losses, vocabularies, encoders and groups are tables of named parts: a child or an override may add to them."""
    (tmp_path / 'base.py').write_text("model = dict(losses=dict(a=dict(type='L1Loss')))\n")
    (tmp_path / 'child.py').write_text("_base_ = ['./base.py']\nmodel = dict(losses=dict(b=dict(type='L2Loss')))\n")
    cfg = load_config(tmp_path / 'child.py', {'model.losses.c': dict(type='L2Loss')})
    assert list(cfg.model.losses) == ['a', 'b', 'c']


def test_a_reference_in_part_of_a_string_is_refused(tmp_path):
    (tmp_path / 'c.py').write_text("root = 'x'\npath = '${root}/train'\n")
    with pytest.raises(InputError, match='refers to a variable in part'):
        resolve(load_config(tmp_path / 'c.py'))
