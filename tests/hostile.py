"""Folders of strangers, made by code: each name of `RUNS` and `EXPORTS` changes a good one so that opening it tries to
run code, to allocate without bound, or to end in a traceback."""
from __future__ import annotations

import json
import os
import pickle
import re

import torch

MARK = 'executed'
"""Name of the file that hostile code would make, in the folder above the hostile one."""


def _code(folder):
    return f"open({os.path.join(os.path.dirname(folder), MARK)!r}, 'w').close()"


def _write(file, text):
    def change(folder):
        content = text(folder) if callable(text) else text
        with open(os.path.join(folder, file), 'wb' if isinstance(content, bytes) else 'w') as f:
            f.write(content)
    return change


def _append(text):
    """Add a line to config.py."""
    def change(folder):
        with open(os.path.join(folder, 'config.py'), 'a') as f:
            f.write('\n' + (text(folder) if callable(text) else text) + '\n')
    return change


def _run(expression):
    """Add `x = EXPRESSION`, in which CODE stands for hostile Python."""
    return _append(lambda folder: expression.replace('CODE', _code(folder)))


def _checkpoint(edit):
    """Change what checkpoint.pth holds."""
    def change(folder):
        path = os.path.join(folder, 'checkpoint.pth')
        state = torch.load(path, weights_only=True)
        torch.save(edit(state) or state, path)
    return change


def _json(file, edit):
    def change(folder):
        path = os.path.join(folder, file)
        with open(path) as f:
            values = json.load(f)
        with open(path, 'w') as f:
            json.dump(edit(values) or values, f)
    return change


def _replace(pattern, text):
    """Change the settings of config.py."""
    def change(folder):
        path = os.path.join(folder, 'config.py')
        with open(path) as f:
            content = f.read()
        changed = re.sub(pattern, text, content)
        assert changed != content
        with open(path, 'w') as f:
            f.write(changed)
    return change


def _plugin(named, place):
    """A plugin that runs code, and a config that names it."""
    def change(folder):
        path = os.path.normpath(os.path.join(folder, place))
        os.makedirs(path, exist_ok=True)
        with open(os.path.join(path, '__init__.py'), 'w') as f:
            f.write(_code(folder))
        _append(f'plugins = [{named.replace("PATH", path)!r}]')(folder)
    return change


def _around(named, file, here='', path='', home=''):
    """A plugin at `file` of the archive that holds the run, by a name that only finds it from the current directory
    `here`, by a folder `path` on sys.path, or with `home` as the home, all of them below the archive; None leaves what
    there is."""
    def change(folder):
        archive = os.path.dirname(folder)
        place = os.path.join(archive, file)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, 'w') as f:
            f.write(_code(folder))
        os.symlink(archive, os.path.join(folder, 'link'))
        _append(f'plugins = [{named.replace("LINK", os.path.join(folder, "link"))!r}]')(folder)
        return tuple(None if one is None else os.path.join(archive, one) for one in (here, path, home))
    return change


class _Reduce:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, 'w')


def _pickled(file, protocol=2):
    def change(folder):
        with open(os.path.join(folder, file), 'wb') as f:
            pickle.dump(_Reduce(os.path.join(os.path.dirname(folder), MARK)), f, protocol)
    return change


def _torch_pickled(folder):
    torch.save(dict(format=2, state_dict={}, meta=_Reduce(os.path.join(os.path.dirname(folder), MARK))),
               os.path.join(folder, 'checkpoint.pth'))


def _base(folder):
    with open(os.path.join(folder, 'evil.py'), 'w') as f:
        f.write(_code(folder))
    _append("_base_ = ['evil.py']")(folder)


def _folder_for(file):
    def change(folder):
        path = os.path.join(folder, file)
        if os.path.exists(path):
            os.remove(path)
        os.makedirs(path)
    return change


def _cut(file, keep):
    def change(folder):
        path = os.path.join(folder, file)
        with open(path, 'rb') as f:
            content = f.read()
        with open(path, 'wb') as f:
            f.write(content[:int(len(content) * keep)])
    return change


def _key(**values):
    def edit(state):
        state.update(values)
    return edit


def _without(*names):
    def edit(state):
        for name in names:
            state.pop(name, None)
    return edit


AROUND = {
    'module': _around('hostile_one', 'hostile_one.py'), 'package': _around('hostile_two', 'hostile_two/__init__.py'),
    'dotted': _around('hostile_three.parts', 'hostile_three/parts.py'),
    'dotted_in_the_run': _around('hostile_four.parts', 'run/hostile_four/parts.py', 'run', 'run'),
    'run_is_here': _around('hostile_five', 'run/hostile_five.py', 'run', 'run'),
    'module_of_the_archive': _around('hostile_six.parts', 'hostile_six/parts.py', None, ''),
    'module_beside': _around('hostile_seven.parts', 'code/hostile_seven/parts.py', 'code', 'code'),
    'home': _around('~/mine', 'mine/__init__.py', None, None, ''),
    'link': _around('LINK/mine', 'mine/__init__.py', None, None), 'plugins_of_the_run': _around(
        'plugins/mine', 'run/plugins/mine/__init__.py', 'run', None),
    'process': _around('/proc/self/cwd/mine', 'mine/__init__.py', '', None)}
"""Name -> what it does to a good run folder in an archive; returns (current directory, folder on sys.path, home)."""
DEEP = '[' * 10_000 + ']' * 10_000
RUNS = {
    # Python in config.py
    'call': _run('x = CODE'), 'import': _run('import os\nCODE'), 'statement': _run('CODE'),
    'lambda': _run('x = (lambda: CODE)()'), 'comprehension': _run('x = [CODE for _ in (1,)]'),
    'nested': _run('x = dict(a=[1, (2, {"b": CODE})])'), 'dict_argument': _run('x = dict(CODE)'),
    'dict_keyword': _run('x = dict(**{"a": CODE})'), 'float_argument': _run('x = float(CODE)'),
    'fstring': _run('x = f"{CODE}"'), 'conditional': _run('x = 1 if CODE else 2'), 'walrus': _run('x = (y := CODE)'),
    'subscript': _run('x = [1][CODE or 0]'), 'starred': _run('x = [*(CODE or ())]'),
    'operator': _run('x = 1 + (CODE or 0)'), 'function': _run('def f(a=CODE): pass'),
    'class': _run('class A:\n    a = CODE'), 'decorator': _run('@CODE\ndef f(): pass'),
    'loop': _run('for i in (1,):\n    CODE'), 'with': _run('with CODE: pass'),
    'try': _run('try:\n    CODE\nexcept: pass'), 'annotation': _run('x: CODE = 1'),
    'augmented': _run('seed += CODE or 0'), 'unpacked': _run('a, b = CODE, 1'), 'deleted': _run('del seed\nCODE'),
    'match': _run('match 1:\n    case 1: CODE'), 'assertion': _run('assert CODE'),
    'shadowed_dict': _run('dict = 1\nx = dict(a=CODE)'), 'base': _base,
    'docstring_call': _write('config.py', lambda folder: f'{_code(folder)}\nseed = 0\n'),
    # plugins and commands
    'plugin_inside': _plugin('mine', 'mine'), 'plugin_inside_absolute': _plugin('PATH', 'mine'),
    'plugin_beside': _plugin('../mine', '../mine'), 'plugin_hidden': _plugin('./.x/../mine', 'mine'),
    'plugin_two_above': _plugin('../../mine', '../../mine'), 'plugin_by_name': _plugin('mine', '../../mine'),
    'plugins_above': _plugin('plugins/mine', '../../plugins/mine'),
    'pipe': _append(lambda folder: 'val_dataloader = dict(batch_size=1, dataset=dict(type="Shards", urls="pipe:touch '
                    + os.path.join(os.path.dirname(folder), MARK) + '", split="heldout"))'),
    # types by their import path
    'type_os': _append('model = dict(type="TokenizerTask", tokenizer=dict(type="os.system", command="touch '
                       'executed"))'),
    'type_encoder': _append('model = dict(type="TokenizerTask", '
                            'tokenizer=dict(encoders=dict(a=dict(type="os.system"))))'),
    # files that are something else
    'deep': _append(f'x = {DEEP}'), 'empty': _write('config.py', ''), 'binary': _write('config.py', bytes(range(256))),
    'utf16': _write('config.py', 'seed = 0'.encode('utf-16')), 'null': _write('config.py', b'seed = 0\0'),
    'number': _write('config.py', '7'), 'config_is_a_folder': _folder_for('config.py'),
    'model_list': _append('model = [1]'), 'model_none': _append('model = None'),
    'tokenizer_str': _append('model = dict(tokenizer="x")'), 'key_of_a_number': _append('model = {1: 2}'),
    'plugins_number': _append('plugins = 7'),
    'pipeline_number': _append('val_dataloader = dict(dataset=dict(pipeline=7))'),
    'pipeline_os': _append('val_dataloader = dict(dataset=dict(type="ImageFolder", '
                           'pipeline=[dict(type="os.system")]))'),
    # models without bound
    'embed_dim': _replace('embed_dim=32', 'embed_dim=10_000_000'), 'depth': _replace('depth=3', 'depth=1_000_000'),
    'heads': _replace('embed_dim=32, depth=3, num_heads=2', 'embed_dim=10_000_001, depth=3, num_heads=2'),
    'codes': _replace('size=64', f'size={2 ** 45}'),
    'depths': _replace('depth=2', 'depth=1_000_000'), 'width': _replace('width=32', 'width=10_000_000'),
    'blocks': _replace('blocks=1', 'blocks=1_000_000'),
    'image_size': _replace('image_size = 32', f'image_size = {2 ** 20}'),
    # checkpoint.pth
    'pickle': _pickled('checkpoint.pth'), 'torch_pickle': _torch_pickled, 'cut': _cut('checkpoint.pth', 0.5),
    'no_checkpoint': _write('checkpoint.pth', b''), 'text': _write('checkpoint.pth', 'hello'),
    'checkpoint_is_a_folder': _folder_for('checkpoint.pth'),
    'meta_int': _checkpoint(_key(meta=7)), 'meta_text': _checkpoint(_key(meta='x')),
    'meta_none': _checkpoint(_key(meta=None)), 'meta_absent': _checkpoint(_without('meta')),
    'state_list': _checkpoint(_key(state_dict=[1, 2])), 'state_numbers': _checkpoint(_key(state_dict={'a': 1})),
    'state_keys': _checkpoint(_key(state_dict={1: torch.ones(1)})), 'state_empty': _checkpoint(_key(state_dict={})),
    'format_text': _checkpoint(_key(format='x')), 'format_none': _checkpoint(_key(format=None)),
    'format_float': _checkpoint(_key(format=2.5)), 'plugins_int': _checkpoint(lambda s: s['meta'].update(plugins=7)),
    'plugins_text': _checkpoint(lambda s: s['meta'].update(plugins=['x'])),
    'iteration_negative': _checkpoint(_key(iteration=-5)),
    'world_text': _checkpoint(lambda s: s['meta'].update(world_size='x')),
    'settings_list': _checkpoint(lambda s: s['meta'].update(config='[1]')),
    'version_int': _checkpoint(lambda s: s['meta'].update(dtbox=7)),
    # beside them
    'run_json_list': _write('run.json', '[1]'), 'run_json_deep': _write('run.json', DEEP),
    'run_json_format': _write('run.json', '{"format": "2", "dtbox": 7}'),
    'plugins_json': _write('plugins.json', '{"a": 1}'), 'plugins_json_deep': _write('plugins.json', DEEP)}
"""Name -> what it does to a good run folder."""


def _huge(values):
    values['tokenizer']['encoders']['trunk']['model_args']['embed_dim'] = 10_000_000


def _codes(values):
    values['tokenizer']['vocabularies']['pixel']['quantizer']['size'] = 2 ** 45


EXPORTS = {
    'no_tokenizer': _json('config.json', _without('tokenizer')), 'no_format': _json('config.json', _without('format')),
    'no_pipeline': _json('config.json', _without('pipeline')), 'no_type': _json('config.json', _without('model_type')),
    'list': _write('config.json', '[1, 2]'), 'deep': _write('config.json', DEEP), 'broken': _write('config.json', '{'),
    'sums_text': _json('config.json', _key(sha256='x')),
    'sums_odd': _json('config.json', _key(sha256={'config.json': 7})),
    'format_text': _json('config.json', _key(format='1')), 'format_later': _json('config.json', _key(format=99)),
    'pipeline_text': _json('config.json', _key(pipeline='x')), 'pipeline_os': _json('config.json', _key(pipeline=[
        dict(type='os.system', command='touch executed')])),
    'tokenizer_list': _json('config.json', _key(tokenizer=[1])), 'huge': _json('config.json', _huge),
    'many_codes': _json('config.json', _codes), 'config_is_a_folder': _folder_for('config.json'),
    'weights_cut': _cut('model.safetensors', 0.5), 'weights_text': _write('model.safetensors', 'hello'),
    'weights_empty': _write('model.safetensors', b''),
    'weights_header': _write('model.safetensors', (2 ** 40).to_bytes(8, 'little') + b'{}'),
    'weights_is_a_folder': _folder_for('model.safetensors')}
"""Name -> what it does to a good folder of `save_pretrained`."""


RESUMES = {
    'no_schedules': _without('param_schedulers'), 'no_random': _without('random'),
    'no_iteration': _without('iteration'),
    'no_optimizer': _without('optimizer'), 'schedules_list': _key(param_schedulers=[]),
    'schedules_other': _key(param_schedulers={'x': []}), 'random_number': _key(random=7),
    'random_empty': _key(random=[{}]), 'random_text': _key(random=[dict(python=[3, [1], None], numpy=1, torch='x')]),
    'optimizer_list': _key(optimizer=[1]), 'optimizer_empty': _key(optimizer={'generator': {}}),
    'optimizer_other': _key(optimizer={'x': {}}), 'no_world': lambda state: state['meta'].pop('world_size') and None,
    'passes': _key(backward_passes=3)}
"""Name -> what it does to a good checkpoint of a run that resumes."""


def make_words(**changes):
    """Return a tokenizer.json of two words as text."""
    return json.dumps({**dict(
        version='1.0', truncation=None, padding=None, added_tokens=[], normalizer=None,
        pre_tokenizer=dict(type='WhitespaceSplit'), post_processor=None, decoder=None,
        model=dict(type='WordLevel', vocab={'<pad>': 0, '<unk>': 1, 'cat': 2}, unk_token='<unk>')), **changes})


def _pattern(regex):
    return make_words(normalizer=dict(type='Replace', pattern=dict(Regex=regex), content='b'))


WORDS = {
    'ids_far': make_words(model=dict(type='WordLevel', vocab={'<pad>': 0, '<unk>': 1, 'cat': 4_000_000_000},
                                     unk_token='<unk>')),
    'nested_repeats': _pattern('(a+)+$'), 'alternatives': _pattern('(a|aa)+$'), 'empty_repeats': _pattern('(a*)*b'),
    'many_repeats': _pattern('a*a*a*a*a*a*a*c'), 'regex_broken': _pattern('(('), 'empty': '', 'list': '[1]',
    'deep': DEEP, 'binary': '\0\1\2', 'no_pad': make_words(model=dict(type='WordLevel', vocab={'cat': 0},
                                                                      unk_token='cat'))}
"""Name -> tokenizer.json of somebody else."""
