"""How a child merges into its base: by name, by `type`, by None, and below references; the same for tiny values and
options."""
import pytest
from mmengine.config import Config

from dtbox.config import load_config, resolve, set_option
from dtbox.config.keys import find_implied_type
from dtbox.config.merge import merge
from dtbox.errors import InputError

BASE = """
batch_size = 32
seed = 0
quantizer = dict(type='RQ', size=1024, dim=16, depth=4)
model = dict(tokenizer=dict(
    vocabularies=dict(pixel=dict(taps={2: 1.0, 1: 0.6}, quantizer='${quantizer}'),
                      semantic=dict(taps=7, quantizer='${quantizer}')),
    head=dict(type='TrunkPool')))
hooks = dict(log=dict(type='Log', interval=20), checkpoint=dict(type='Checkpoint', interval=100),
             results=dict(type='Results'))
val_evaluator = dict(psnr=dict(type='PSNR'), ssim=dict(type='SSIM'))
tiny = dict(batch_size=4, model=dict(tokenizer=dict(head=dict(type='TrunkPool'))))
"""


@pytest.fixture
def write(tmp_path):
    """Return write(text, name) -> path of a config; `base.py` is there already."""
    def write(text, name='child.py'):
        (tmp_path / name).write_text(text)
        return tmp_path / name
    write(BASE, 'base.py')
    return write


@pytest.fixture
def child(write):
    """Return child(text) -> resolved config of a child of base.py."""
    return lambda text, *args, **more: resolve(load_config(write(f"_base_ = ['base.py']\n{text}"), *args, **more))


def test_dicts_merge_in_the_order_of_the_base(child):
    cfg = child("hooks = dict(images=dict(type='Images'), log=dict(interval=5))")
    assert list(cfg.hooks) == ['log', 'checkpoint', 'results', 'images']
    assert cfg.hooks.log == dict(type='Log', interval=5)


def test_none_removes_a_named_part(child):
    """The file keeps the None, so that its children know the name; a resolved config does not."""
    cfg = child("hooks = dict(checkpoint=None)\nval_evaluator = dict(psnr=None)")
    assert list(cfg.hooks) == ['log', 'results'] and list(cfg.val_evaluator) == ['ssim']


def test_another_type_replaces(child):
    assert child("quantizer = dict(type='VQ', size=64)").quantizer == dict(type='VQ', size=64)
    assert child("quantizer = dict(type='RQ', size=64)").quantizer == dict(type='RQ', size=64, dim=16, depth=4)


def test_a_type_replaces_a_dict_without_one(child):
    """But for the types that a place implies: a vocabulary is a Vocabulary."""
    cfg = child("model = dict(tokenizer=dict(vocabularies=dict(semantic=dict(type='Vocabulary', reinject=7))))")
    assert cfg.model.tokenizer.vocabularies.semantic.taps == 7
    assert merge(dict(a=dict(x=1)), dict(a=dict(type='B'))) == dict(a=dict(type='B'))


def test_layers_and_weights_are_one_value(child):
    cfg = child('model = dict(tokenizer=dict(vocabularies=dict(pixel=dict(taps={3: 1.0}))))')
    assert cfg.model.tokenizer.vocabularies.pixel.taps == {3: 1.0}


def test_delete_replaces(child):
    assert list(child("hooks = dict(_delete_=True, log=dict(type='Log'))").hooks) == ['log']


def test_neither_side_is_changed():
    base, own = dict(a=dict(b=dict(c=1))), dict(a=dict(b=dict(_delete_=True, d=2)))
    assert merge(base, own) == dict(a=dict(b=dict(d=2)))
    assert base == dict(a=dict(b=dict(c=1))) and own == dict(a=dict(b=dict(_delete_=True, d=2)))


def test_a_change_below_a_reference(child):
    """It stays at its place, and is made of what the variable is in the end."""
    cfg = child("model = dict(tokenizer=dict(vocabularies=dict(pixel=dict(quantizer=dict(depth=2)))))\nquantizer = "
                "dict(size=64)")
    pixel, semantic = (cfg.model.tokenizer.vocabularies[name].quantizer for name in ('pixel', 'semantic'))
    assert pixel == dict(type='RQ', size=64, dim=16, depth=2) and semantic == dict(type='RQ', size=64, dim=16, depth=4)


def test_another_type_below_a_reference(child):
    cfg = child("model = dict(tokenizer=dict(vocabularies=dict(pixel=dict(quantizer=dict(type='FSQ', levels=[8])))))")
    assert cfg.model.tokenizer.vocabularies.pixel.quantizer == dict(type='FSQ', levels=[8])


def test_a_wrong_key_below_a_reference(child):
    with pytest.raises(InputError, match=r'^model\.tokenizer\.vocabularies\.pixel\.quantizer\.sise: child\.py .* Did '
                                         r'you mean `size`'):
        child("model = dict(tokenizer=dict(vocabularies=dict(pixel=dict(quantizer=dict(sise=2)))))")


def test_several_bases_merge_from_left_to_right(write):
    write("hooks = dict(log=dict(interval=3))\nextra = dict(x=1)\n", 'more.py')
    cfg = load_config(write("_base_ = ['base.py', 'more.py']\nextra = dict(y=2)\n"))
    assert cfg.hooks.log == dict(type='Log', interval=3) and cfg.extra == dict(x=1, y=2)


def test_a_base_by_name(write):
    cfg = load_config(write("_base_ = ['dualtoken_rq']\nbatch_size = 8\n"))
    assert cfg.batch_size == 8 and cfg.model.type == 'TokenizerTask'


def test_options_merge_as_children_do(write):
    path = write("_base_ = ['base.py']\n")
    cfg = resolve(load_config(path, {'quantizer': dict(depth=2), 'hooks': dict(log=None), 'val_evaluator.psnr': None}))
    assert cfg.quantizer == dict(type='RQ', size=1024, dim=16, depth=2) and list(cfg.hooks) == ['checkpoint', 'results']
    assert list(cfg.val_evaluator) == ['ssim']
    cfg = resolve(load_config(path, {'quantizer': dict(type='VQ', size=64),
                                     'model.tokenizer.vocabularies.pixel': dict(quantizer=dict(size=8),
                                                                                taps={5: 1.0})}))
    assert cfg.quantizer == dict(type='VQ', size=64)
    assert cfg.model.tokenizer.vocabularies.pixel == dict(taps={5: 1.0}, quantizer=dict(type='VQ', size=8))


@pytest.mark.parametrize('key, value, says', [
    ('quantizer', dict(sise=3), r'^quantizer\.sise: the option .* Did you mean `size`'),
    ('model.tokenizer.vocabularies.pixel', dict(quantizer=dict(sise=3)),
     r'^model\.tokenizer\.vocabularies\.pixel\.quantizer\.sise: '),
    ('hooks.chekpoint', None, r'^hooks\.chekpoint: the option removes `chekpoint`, .* Did you mean `checkpoint`\?'),
    ('hooks.chekpoint', dict(interval=3), r'^hooks\.chekpoint: .* gives no `type` to add it\. Did you mean '
                                          r'`checkpoint`\?'),
    ('hooks', dict(chekpoint=dict(interval=3)), r'^hooks\.chekpoint: .* Did you mean `checkpoint`\? There are: log, '
                                                r'checkpoint, results')])
def test_options_with_wrong_keys(write, key, value, says):
    with pytest.raises(InputError, match=says):
        load_config(write("_base_ = ['base.py']\n"), {key: value})


@pytest.mark.parametrize('text, says', [
    ('hooks = dict(chekpoint=None)', r'^hooks\.chekpoint: child\.py removes `chekpoint`, which its base does not '
                                     r'have\. Did you mean `checkp'),
    ('hooks = dict(chekpoint=dict(interval=1))', r'^hooks\.chekpoint: child\.py changes .* Did you mean `checkpoint`'),
    ('tiny = dict(batch_sise=1)', r'^batch_sise: `tiny` sets a key .* Did you mean `batch_size`')])
def test_children_with_wrong_names(child, text, says):
    with pytest.raises(InputError, match=says):
        child(text, tiny=True)


def test_small_values_nest_and_merge(child):
    cfg = child("tiny = dict(quantizer=dict(size=8), hooks=dict(log=dict(interval=1)))", tiny=True)
    assert (cfg.batch_size, cfg.quantizer.size, cfg.quantizer.depth, cfg.hooks.log.interval) == (4, 8, 4, 1)
    assert child("tiny = dict(_delete_=True, seed=3)", tiny=True).batch_size == 32


def test_small_values_may_replace(child):
    """`_delete_` inside `tiny` replaces what the recipe has, not what the base's `tiny` says."""
    assert list(child("tiny = dict(hooks=dict(_delete_=True, log=dict(type='Log')))", tiny=True).hooks) == ['log']
    cfg = child("tiny = dict(hooks=dict(_delete_=True, log=dict(type='Log')))\nseed = 1", {'seed': 2}, tiny=True)
    assert (cfg.batch_size, cfg.seed, list(cfg.hooks)) == (4, 2, ['log'])


def test_small_values_of_a_removed_part_are_left_out(write):
    """A part with `type` is a new one, and is taken."""
    write("part = dict(type='A', size=3)\nother = '${part}'\ntiny = dict(part=dict(size=1), "
          "other=dict(size=2))\n", 'parts.py')
    cfg = load_config(write("_base_ = ['parts.py']\npart = None\n"), tiny=True)
    assert cfg.part is None and resolve(cfg).other is None
    cfg = load_config(write("_base_ = ['parts.py']\npart = None\ntiny = dict(part=dict(type='B'))\n"), tiny=True)
    assert cfg.part.type == 'B'


def test_set_option_in_a_list(write):
    cfg = load_config(write("steps = [dict(type='A', size=3)]\nmodel = dict()\n"), {'steps.0': dict(size=4)})
    assert cfg.steps == [dict(type='A', size=4)]
    set_option(cfg, 'steps.0', dict(type='B'))
    assert cfg.steps == [dict(type='B')]


# ---- dicts of weights are one value ----------------------------------------------------------------------------

@pytest.mark.parametrize('taps', ["{'trunk:3': 1.0}", "{'norm': 1.0}", "{3: 1.0, 'norm': 0.5}", "{'2': 0.5}", '[1, 3]'])
def test_a_child_sets_the_weights_of_taps_whole(child, taps):
    """Whatever names the layers: numbers, words, or the strings that JSON makes of numbers."""
    change = f'model = dict(tokenizer=dict(vocabularies=dict(pixel=dict(taps={taps}))))'
    want = eval(taps)
    assert child(change).model.tokenizer.vocabularies.pixel.taps == want
    cfg = child(f'tiny = dict({change.replace("model = ", "model=")})', tiny=True)
    assert cfg.model.tokenizer.vocabularies.pixel.taps == want
    cfg = child('', {'model.tokenizer.vocabularies.pixel': dict(taps=want)})
    assert cfg.model.tokenizer.vocabularies.pixel.taps == want


def test_tiny_taps_of_a_child_replace_those_of_its_base(write):
    write("tiny = dict(taps={'trunk:2': 1.0})\n", 'small.py')
    cfg = load_config(write("_base_ = ['small.py']\ntiny = dict(taps={'trunk:norm': 0.5})\n"))
    assert cfg.tiny == dict(taps={'trunk:norm': 0.5})


def test_one_weight_of_a_tap(child):
    """The dotted key of a layer that is there changes its weight; another one is an error that names those."""
    key = 'model.tokenizer.vocabularies.pixel.taps'
    assert child('', {f'{key}.1': 0.3}).model.tokenizer.vocabularies.pixel.taps == {2: 1.0, 1: 0.3}
    with pytest.raises(InputError, match=r'taps\.3: there is no such key .* there are: 2, 1\.'):
        child('', {f'{key}.3': 1.0})


def test_factors_of_the_adaptive_weight_are_one_value():
    base = dict(adversarial=dict(against={'l1': 0.2, 'l2': 1.0}))
    assert merge(base, dict(adversarial=dict(against={'lpips': 1.0}))) == dict(adversarial=dict(against={'lpips': 1.0}))


@pytest.mark.parametrize('path, kind', [
    ('model.tokenizer.vocabularies.pixel', 'Vocabulary'), ('vocabularies.pixel', 'Vocabulary'), ('vocabularies', None),
    ('model.tokenizer', 'VisualTokenizer'), ('tokenizer', 'VisualTokenizer'), ('model.text.tokenizer', None)])
def test_types_that_need_not_be_written(path, kind):
    assert find_implied_type(path) == kind


def test_another_type_alone_keeps_arguments():
    """The option is refused where the new part does not take what the old one has; the error says how to replace it."""
    def make():
        return Config(dict(model=dict(tokenizer=dict(decoder=dict(type='ViTDecoder', reads=['pixel'], width=8)))))
    key = 'model.tokenizer.decoder'
    with pytest.raises(InputError) as caught:
        set_option(make(), f'{key}.type', 'ViTaminDecoder')
    assert 'ViTaminDecoder does not take `width`' in str(caught.value)
    assert f'{key}="dict(type=\'ViTaminDecoder\', ...)".' in str(caught.value)
    cfg = make()
    set_option(cfg, f'{key}.type', 'LightCNNDecoder')  # takes them all
    assert cfg.model.tokenizer.decoder == dict(type='LightCNNDecoder', reads=['pixel'], width=8)
