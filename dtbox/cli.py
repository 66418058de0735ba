"""What the command lines in tools/ share: config options, and errors that a user can read."""
import functools
import sys

from dtbox.config.options import parse_options
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
