"""What the command lines in tools/ share: config options, and errors that a user can read."""
import ast
import functools
import os
import sys

from dtbox.errors import Diverged, InputError, RankLost, Stopped
from dtbox.files import no_room


def add_config_options(parser):
    """Add --cfg-options and --plugin to an argparse parser."""
    parser.add_argument('--cfg-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE',
                        help='override config keys that exist, such as train_cfg.max_iters=100')
    add_plugin_option(parser)


def add_tiny_option(parser):
    """Add --tiny to an argparse parser, for `read_config`."""
    parser.add_argument('--tiny', action='store_true', help='apply the small values that the config names under `tiny`: the recipe runs in '
                                                            'seconds, to try it before it is given a cluster')


def add_plugin_option(parser):
    """Add --plugin to an argparse parser."""
    parser.add_argument('--plugin', action='append', default=[], metavar='PATH',
                        help='folder, file or module with parts to register; may be given several times')


def parse_options(pairs):
    """Read `--cfg-options`: ['a.b=1', 'c=dict(type=\'X\', n=2)', 'd=x,y'] -> dict key -> value.

    A value is a Python literal, `dict(...)` allowed; `x,y` is a list, as MMEngine has it; anything else is a string.
    """
    options = {}
    for pair in pairs:
        key, equals, text = pair.partition('=')
        if not equals or not key:
            raise InputError(f'`{pair}` is no override; expected KEY=VALUE, such as train_cfg.max_iters=100.', '--cfg-options')
        options[key.strip()] = parse_value(text.strip())
    return options


def parse_value(text):
    """Read one value (see `parse_options`)."""
    try:
        value = _literal(ast.parse(text, mode='eval').body)
        return list(value) if isinstance(value, tuple) and not text.startswith('(') else value
    except (SyntaxError, ValueError):
        pass
    if os.path.exists(text):
        return text
    if text.startswith(('dict(', '[', '{', '(')):
        raise InputError(f'the value `{text}` is no Python literal. Quote it in the shell: \'key=dict(type="X", n=[1, 2])\'.', '--cfg-options')
    if ',' in text:
        return [parse_value(part) for part in text.split(',')]
    return {'true': True, 'false': False, 'none': None, 'null': None}.get(text.lower(), text)


def _literal(node):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {k.arg: _literal(k.value) for k in node.keywords}
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_literal(e) for e in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    return ast.literal_eval(node)


def read_config(args):
    """Return the config of parsed arguments, plugins loaded first."""
    from dtbox.config import load_config
    return load_config(args.config, parse_options(args.cfg_options), args.plugin, getattr(args, 'data', None),
                       getattr(args, 'tiny', False))


def main_guard(main):
    """Wrap a command line's main: an `InputError` or a full disk becomes one sentence on stderr and exit code 2; `Diverged` and `RankLost` exit
    with 1, `Stopped` with 143, Ctrl-C with 130."""
    @functools.wraps(main)
    def guarded(argv=None):
        try:
            return main(argv)
        except InputError as e:
            print(f'error: {e}', file=sys.stderr)
            raise SystemExit(2) from None
        except (Diverged, RankLost) as e:
            print(f'stopped: {e}', file=sys.stderr)
            raise SystemExit(1) from None
        except Stopped as e:
            print(f'stopped: {e}', file=sys.stderr)
            raise SystemExit(143) from None
        except OSError as e:
            if not no_room(e):
                raise
            print(f'error: no space is left on the disk{f" for {e.filename}" if e.filename else ""}. Make room and run the command again '
                  '(a run or grid goes on with --resume).', file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            print('interrupted.', file=sys.stderr)
            raise SystemExit(130) from None
    return guarded
