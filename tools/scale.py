"""Predict training on many GPUs: python tools/scale.py CONFIG [--gpus 8 64 1024] [--global-batch N] [--parallel fsdp] [--out DIR] [--check]"""
import argparse
import os

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options, read_config


@main_guard
def main(argv=None):
    """Run the command line."""
    args = parser().parse_args(argv)
    text = check(args) if args.check else predict(args)
    print(text)


def parser():
    """Return the parser."""
    made = argparse.ArgumentParser(description='Seconds of a training step, what is sent in it, efficiency, days and memory on so many GPUs, from '
                                               'counted FLOPs and bytes. With --check: real steps of a few processes here against the same model.')
    made.add_argument('config', help='config file or run folder')
    made.add_argument('--gpus', type=int, nargs='+', default=[8, 16, 32, 64, 128, 256, 512, 1024], help='numbers of GPUs (default: 8 to 1024)')
    made.add_argument('--batch', type=int, help='pictures a GPU (default: that of the config; of --check: 8)')
    made.add_argument('--global-batch', type=int, metavar='N', help='pictures of all GPUs together, instead')
    made.add_argument('--config-gpus', type=int, default=8, metavar='N', help="GPUs for which the config's iterations are meant (default: 8)")
    made.add_argument('--parallel', default='ddp', choices=('ddp', 'fsdp'), help='how the GPUs share the model (default: ddp)')
    made.add_argument('--memory', type=float, default=80, metavar='GB', help='of a GPU (default: 80, an A100)')
    made.add_argument('--peak', type=float, default=312, metavar='TFLOPS', help='of a GPU in the type of training (default: 312, A100 in bfloat16)')
    made.add_argument('--utilisation', type=float, default=0.4, help='share of it that training reaches (default: 0.4)')
    made.add_argument('--gpus-per-node', type=int, default=8, metavar='N', help='default: 8')
    made.add_argument('--inside', type=float, default=300, metavar='GB/S', help='bandwidth a GPU inside a node (default: 300, NVLink of an A100)')
    made.add_argument('--between', type=float, default=25, metavar='GB/S', help='bandwidth a GPU between nodes (default: 25, one 200 Gb/s card each)')
    made.add_argument('--latency', type=float, default=5, metavar='US', help='microseconds a hop (default: 5)')
    made.add_argument('--out', metavar='DIR', help='also write scale.md, scale.csv and scale.png there (with --check: check.md)')
    made.add_argument('--check', action='store_true', help='train 1, 2 and 4 processes here for a few steps; use an idle machine')
    made.add_argument('--steps', type=int, default=20, help='of --check, timed (default: 20)')
    add_config_options(made)
    return made


def predict(args):
    """Return the prediction as text; write files where asked."""
    from dtbox.config import resolve
    from dtbox.errors import InputError
    from dtbox.sizing import scale
    from dtbox.sizing.communication import Network
    if args.batch and args.global_batch:
        raise InputError('--batch and --global-batch contradict each other; give one of them.')
    if args.config_gpus < 1:
        raise InputError(f'--config-gpus is {args.config_gpus}; expected at least 1.')
    cfg = resolve(read_config(args))
    own = (cfg.get('train_dataloader') or {}).get('batch_size', 1)
    iterations = (cfg.get('train_cfg') or {}).get('max_iters')
    batch = None if args.global_batch is not None else own if args.batch is None else args.batch
    network = Network(args.gpus_per_node, args.inside * 1e9, args.between * 1e9, args.latency * 1e-6)
    setting = scale.Setting(
        batch, args.global_batch, tuple(sorted(set(args.gpus))), network, args.parallel, args.peak * 1e12, args.utilisation, args.memory * 1e9,
        iterations and iterations * own * args.config_gpus)
    found, _, rows = scale.scale(cfg, setting)
    name = os.path.splitext(os.path.basename(os.path.normpath(args.config)))[0]
    pictures = f'{args.global_batch:,} pictures in all' if batch is None else f'{batch:,} pictures a GPU'
    title = f'{name}, {pictures}, {args.parallel}'
    tables, said = [scale.table(rows), scale.sent_table(rows, args.parallel)], scale.assumptions(setting, found)
    listed = '\n'.join(f'- {s}' for s in said)
    if args.out:
        from dtbox.drawing.scale_plot import draw_scale
        from dtbox.files import write_atomic
        os.makedirs(args.out, exist_ok=True)
        write_atomic(os.path.join(args.out, 'scale.md'), '\n\n'.join([f'# {title}', *map(markdown, tables), listed]) + '\n')
        write_atomic(os.path.join(args.out, 'scale.csv'), scale.to_csv(rows))
        drawn = [dict(gpus=r.gpus, efficiency=r.efficiency, compute=r.compute, exposed=r.exposed, sent=r.communication) for r in rows if r.fits]
        lost = ', '.join(f'{r.gpus:,}' for r in rows if not r.fits)
        draw_scale(drawn, os.path.join(args.out, 'scale.png'), f'{title}: predicted' + (f'; does not fit on {lost} GPUs' if lost else ''))
    return '\n\n'.join([title, *map(aligned, tables), listed])


def check(args):
    """Return what the check found as text; write check.md where asked."""
    from dtbox.sizing import scale_check
    from dtbox.testing.rank_group import Ranks
    result = scale_check.check(Ranks, (args.config, args.cfg_options, args.plugin), 8 if args.batch is None else args.batch, args.steps)
    text = scale_check.format_check(result, aligned)
    if args.out:
        from dtbox.files import write_atomic
        os.makedirs(args.out, exist_ok=True)
        pages = [f'# Predicted and measured steps of {result.name}', f'`{command(args)}`', scale_check.format_check(result, markdown)]
        write_atomic(os.path.join(args.out, 'check.md'), '\n\n'.join(pages) + '\n')
    return text


def command(args):
    """Return the command of a check."""
    options = f' --cfg-options {" ".join(args.cfg_options)}' if args.cfg_options else ''
    batch = f' --batch {args.batch}' if args.batch else ''
    return f'python tools/scale.py {args.config} --check --steps {args.steps}{batch}{options} --out {args.out}'


def aligned(lines):
    """Lists of texts -> columns of text; the first is aligned left."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return '\n'.join('  '.join(t.ljust(w) if i == 0 else t.rjust(w) for i, (t, w) in enumerate(zip(line, widths))) for line in lines)


def markdown(lines):
    """Lists of texts -> a table in Markdown."""
    head, *rest = lines
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in [head, ['---'] + ['---:'] * (len(head) - 1), *rest])


if __name__ == '__main__':
    main()
