"""What the command lines in tools/ share: config options, and errors that a user can read."""
import functools
import sys

from dtbox.errors import Diverged, InputError


def add_config_options(parser):
    """Add --cfg-options and --plugin to an argparse parser."""
    from mmengine.config import DictAction
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                        help='override config keys that exist, such as train_cfg.max_iters=100')
    parser.add_argument('--plugin', action='append', default=[], metavar='PATH', help='folder, file or module with parts to register')


def read_config(args):
    """Return the config of parsed arguments, plugins loaded first."""
    from dtbox.config import load_config
    from dtbox.plugins import load_plugins
    load_plugins(args.plugin)
    return load_config(args.config, args.cfg_options)


def main_guard(main):
    """Wrap a command line's main: an `InputError` becomes one sentence on stderr and exit code 2; `Diverged` exits with 1, Ctrl-C with 130."""
    @functools.wraps(main)
    def guarded(argv=None):
        try:
            return main(argv)
        except InputError as e:
            print(f'error: {e}', file=sys.stderr)
            raise SystemExit(2) from None
        except Diverged as e:
            print(f'stopped: {e}', file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print('interrupted; `--resume` continues from the last checkpoint.', file=sys.stderr)
            raise SystemExit(130) from None
    return guarded
