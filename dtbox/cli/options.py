"""Options that several verbs share."""
from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add --cfg-options and --plugin."""
    parser.add_argument('--cfg-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE',
                        help='override config keys that exist, such as train_cfg.max_iters=100')
    add_plugin_option(parser)


def add_tiny_option(parser: argparse.ArgumentParser) -> None:
    """Add --tiny, for `read_config`."""
    parser.add_argument('--tiny', action='store_true',
                        help='apply the small values that the config names under `tiny`: the recipe runs in seconds, '
                             'to try it before a long run')


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --checkpoint, --device and --plugin, of verbs that open a run."""
    parser.add_argument('--checkpoint', metavar='FILE', help='checkpoint (default: that of the run folder)')
    parser.add_argument('--device', default='cpu', help='torch device (default: cpu)')
    add_plugin_option(parser)


def add_language_model(parser: argparse.ArgumentParser) -> None:
    """Add RUN of a multimodal language model."""
    parser.add_argument('run', metavar='RUN', help='run folder, folder of save_pretrained, or dtbox://NAME')


def add_reply_options(parser: argparse.ArgumentParser) -> None:
    """Add how a language model replies: --max-tokens, --temperature, --seed."""
    parser.add_argument('--max-tokens', type=int, metavar='N',
                        help="most text tokens of a reply (default: the model's)")
    parser.add_argument('--temperature', type=float, default=0.0, metavar='T',
                        help='of the text, 0 takes the most likely words (default: 0)')
    add_seed_option(parser)


def add_seed_option(parser: argparse.ArgumentParser) -> None:
    """Add --seed of what is drawn."""
    parser.add_argument('--seed', type=int, default=0, help='of the random numbers (default: 0)')


def add_plugin_option(parser: argparse.ArgumentParser) -> None:
    """Add --plugin."""
    parser.add_argument('--plugin', action='append', default=[], metavar='PATH',
                        help='folder, file or module with parts to register; may be given several times')
    parser.add_argument('--trust-remote-code', action='store_true',
                        help='let a run folder of somebody else run what came with it: its plugins, Python in its '
                             'config, commands of shards')


def read_options(args: argparse.Namespace) -> dict:
    """Return the overrides of --cfg-options, dotted key -> value."""
    from dtbox.config.options import parse_options
    return parse_options(args.cfg_options)


def read_config(args: argparse.Namespace) -> Config:
    """Return the config of parsed arguments, plugins loaded first."""
    from dtbox.config import load_config
    return load_config(args.config, read_options(args), args.plugin, getattr(args, 'data', None),
                       getattr(args, 'tiny', False))
