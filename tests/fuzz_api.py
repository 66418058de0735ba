"""Odd calls of the API: whatever comes in, the answer is a result that makes sense, or an `InputError` that names the
argument. `apis/test_fuzz.py` makes 300 of them; more outside CI:

    python tests/fuzz_api.py --calls 5000 --seed 7
"""
import argparse
import collections
import functools
import os
import random
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image

import dtbox
from dtbox.apis.evaluation import choose_results_path, evaluate_run
from dtbox.apis.export import export_to
from dtbox.apis.reconstruction import reconstruct_files
from dtbox.apis.tiles import reconstruct_tiled
from dtbox.datasets import read_image
from dtbox.evaluation import functional
from dtbox.layout import CodeLayout, CodeOrder, Grid, Scales, Sequence, StreamLayout, Video, delay_codes, undo_delay
from tests.odd_values import ODD

VALID_SHARE = 0.15
"""Share of calls whose arguments are all valid: these must have a result."""
CODES = torch.arange(100).view(1, 25, 4) % 64
LAYOUT = CodeLayout((StreamLayout('pixel', Grid(5, 5), (64,) * 4), StreamLayout('semantic', Grid(5, 5), (64,) * 4)))


@dataclass(frozen=True)
class Entry:
    """One public function.

    Attributes:
        call: the function.
        values: argument -> factories of valid values; the odd ones come from `tests.odd_values`.
        check: takes a result, raises AssertionError where it makes no sense.
        share: how often it is called, among the others.
        words: that also name an argument, or an entry of it.
    """
    call: Callable
    values: Mapping[str, list[Callable[[], Any]]]
    check: Callable[[Any], None]
    share: float = 1.0
    words: tuple[str, ...] = ()


def check_tensor(value, dtype=None, ndim=None):
    """A result is a dense tensor with values, finite where they are floats."""
    assert isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_meta, type(value)
    assert dtype is None or value.dtype == dtype, value.dtype
    assert ndim is None or value.ndim == ndim, value.shape


def check_finite(value, dtype=torch.float32, ndim=None):
    check_tensor(value, dtype, ndim)
    assert value.isfinite().all()


def check_codes(value):
    assert isinstance(value, dict)
    for name, codes in value.items():
        assert name in ('pixel', 'semantic')
        check_tensor(codes, torch.int64, 3)
        assert codes.shape[1:] == (25, 4) and (not codes.numel() or 0 <= codes.min() <= codes.max() < 64)


def check_images(value):
    check_finite(value, ndim=4)
    assert value.shape[1:] == (3, 32, 32)


def check_features(value):
    assert isinstance(value, dict)
    for features in value.values():
        check_finite(features, ndim=3)


def check_ids(value):
    check_tensor(value, torch.int64, 2)
    assert not value.numel() or 0 <= value.min() <= value.max() < 512


def check_unit(value):
    check_finite(value, ndim=2)
    assert torch.allclose(value.norm(dim=1), torch.ones(len(value)), atol=1e-4)


def check_kind(*kinds):
    """Return a check that a result is of some classes."""
    def check(value):
        assert isinstance(value, kinds), type(value)
    return check


def check_scores(value):
    check_tensor(value, torch.float64, 1)


def check_usage(value):
    assert value.keys() == {'usage', 'perplexity', 'dead'} and all(np.isfinite(v) for v in value.values())


def check_distance(value):
    assert isinstance(value, float) and value >= 0


def check_places(value):
    check_tensor(value, torch.int64, 1)


def list_entries(tok, run, folder):
    """Return the public functions with valid arguments.

    Args:
        tok: Tokenizer of 32 pixels with text tower; see the fixture `reader`.
        run: run folder that `dtbox.load` opens.
        folder: empty folder to write to.
    """
    folder = Path(folder)
    Image.new('RGB', (40, 30), (200, 10, 10)).save(folder / 'image.png')
    file, pil = folder / 'image.png', Image.new('RGB', (50, 40))
    fresh = (folder / f'new{i}' for i in range(10 ** 9))
    images = [lambda: torch.rand(2, 3, 32, 32) * 2 - 1, lambda: [torch.zeros(3, 32, 32)], lambda: pil, lambda: file,
              lambda: str(file), lambda: [pil, file], lambda: torch.zeros(1, 3, 32, 32, dtype=torch.bfloat16)]
    codes = [lambda: dict(pixel=CODES, semantic=CODES), lambda: dict(pixel=CODES.numpy(), semantic=CODES.tolist()),
             lambda: collections.OrderedDict(pixel=CODES.int(), semantic=CODES.to(torch.uint8))]
    names = [lambda: None, lambda: ['pixel'], lambda: 'pixel', lambda: ('semantic', 'pixel'), lambda: {'pixel'}]
    flag = [lambda: True, lambda: False, lambda: np.bool_(True)]
    order = [CodeOrder, lambda: CodeOrder('token'), lambda: CodeOrder(streams=('semantic', 'pixel'))]
    ids = [lambda: LAYOUT.flat_ids(dict(pixel=CODES, semantic=CODES)).tolist()]
    texts = [lambda: 'red fox', lambda: ['red', 'fox'], lambda: torch.tensor([[2, 3]]), lambda: ('red',),
             lambda: np.array(['red', 'fox'])]
    plugins = [tuple, lambda: None, list]
    device = [lambda: 'cpu', lambda: torch.device('cpu')]
    dtype = [lambda: 'float32', lambda: 'bfloat16', lambda: torch.float32]
    size = [lambda: (32, 32), lambda: [32, 32]]
    pair = [lambda: torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))]
    scores = [lambda: torch.rand(4, 5)]
    covariance = [lambda: torch.eye(3), lambda: [[1, 0, 0], [0, 1, 0], [0, 0, 1]]]
    paths = [lambda: str(run), lambda: Path(run)]
    grid = Grid(5, 5)

    def collect(**kwargs):
        return list(reconstruct_files(**kwargs))

    def save(folder):
        tok.save_pretrained(folder)
        return dtbox.Tokenizer.from_pretrained(folder)
    exported = folder / 'exported'
    if not exported.exists():
        tok.save_pretrained(exported)
    tokenizer = check_kind(dtbox.Tokenizer)
    entries = dict(
        encode=Entry(tok.encode, dict(images=images, vocabularies=names), check_codes, 4),
        decode=Entry(tok.decode, dict(codes=codes, clamp=flag), check_images, 4),
        features=Entry(tok.features, dict(codes=codes), check_features, 2),
        reconstruct=Entry(tok.reconstruct, dict(images=images, clamp=flag), check_images, 2),
        prepare=Entry(tok.prepare, dict(images=images), check_images, 2),
        embed_image=Entry(tok.embed_image, dict(images=images), check_unit, 2),
        embed_text=Entry(tok.embed_text, dict(texts=texts, truncate=flag), check_unit, 3),
        flat_ids=Entry(tok.flat_ids, dict(codes=codes, order=order), check_ids, 3),
        from_flat_ids=Entry(tok.from_flat_ids, dict(ids=ids, vocabularies=[lambda: None], order=[CodeOrder]),
                            check_codes, 3, ('ids have the shape',)),
        save_pretrained=Entry(save, dict(folder=[lambda: next(fresh), lambda: str(next(fresh))]), tokenizer, 0.3),
        from_pretrained=Entry(dtbox.Tokenizer.from_pretrained,
                              dict(folder=[lambda: exported], device=device, dtype=dtype, plugins=plugins), tokenizer),
        load=Entry(dtbox.load, dict(run=[*paths, lambda: exported], checkpoint=[lambda: None], device=device,
                                    dtype=dtype, plugins=plugins, trust_remote_code=flag), tokenizer),
        load_config=Entry(dtbox.load_config,
                          dict(path=[lambda: 'vqgan', *paths], options=[dict, lambda: None], plugins=plugins,
                               data=[lambda: None], tiny=[lambda: False]), check_kind(Config), 0.5, ('the config',)),
        Tokenizer=Entry(dtbox.Tokenizer, dict(model=[lambda: tok.model], pipeline=[lambda: tok.config['pipeline']],
                                              config=[lambda: None, lambda: tok.config]), tokenizer),
        reconstruct_tiled=Entry(reconstruct_tiled,
                                dict(images=[lambda: torch.zeros(1, 3, 40, 48)], model=[lambda: tok.reconstruct],
                                     size=size, overlap=[lambda: 0.25, lambda: 0], batch=[lambda: 16, lambda: 1]),
                                functools.partial(check_tensor, ndim=4)),
        reconstruct_files=Entry(collect,
                                dict(tokenizer=[lambda: tok], images=[lambda: [str(file)], lambda: [file]],
                                     out=[lambda: str(folder / 'out')],
                                     vocabularies=[lambda: None, lambda: ['pixel']], text=[lambda: None]),
                                check_kind(list), 0.5),
        export_to=Entry(export_to, dict(tokenizer=[], folder=[lambda: next(fresh)], kind=[lambda: 'torch']),
                        check_kind(), 0.3),
        evaluate_run=Entry(evaluate_run, dict(run=[], checkpoint=[lambda: None], options=[lambda: None],
                                              plugins=plugins), check_kind(), 0.3),
        choose_results_path=Entry(choose_results_path,
                                  dict(checkpoint=[lambda: None, lambda: str(run)],
                                       out=[lambda: None, lambda: 'a.json'], protocols=flag), check_kind(str), 0.3),
        read_image=Entry(read_image, dict(source=[lambda: file, lambda: pil],
                                          background=[lambda: (0, 0, 0), lambda: [9, 9, 9]]), check_kind(Image.Image),
                         words=('the image',)),
    )
    return {**entries, **list_layouts(codes, names, order, ids, grid), **list_functions(pair, scores, covariance)}


def listed(value):
    """Return what can be handed in as `*value`: lists as they are, all else as the one place of a list."""
    return value if isinstance(value, (list, tuple)) else [value]


def list_layouts(codes, names, order, ids, grid):
    """Return the functions of `dtbox.layout`."""
    stream = LAYOUT.streams[0]
    layout = check_kind(CodeLayout)
    token_layouts = [lambda: grid, lambda: Sequence(25), lambda: Scales([3, 4])]
    one, none = [lambda: CODES, lambda: CODES.tolist()], [lambda: None]
    return {
        'CodeLayout': Entry(CodeLayout, dict(streams=[lambda: LAYOUT.streams, lambda: list(LAYOUT.streams)]), layout),
        'layout.flat_ids': Entry(LAYOUT.flat_ids, dict(codes=codes, order=order), check_ids),
        'layout.from_flat_ids': Entry(LAYOUT.from_flat_ids, dict(ids=ids, names=none, order=[CodeOrder]), check_codes,
                                      words=('ids have the shape', 'stream')),
        'layout.count_ids': Entry(LAYOUT.count_ids, dict(names=names), check_kind(int), words=('stream',)),
        'layout.stream': Entry(LAYOUT.stream, dict(name=[lambda: 'pixel']), check_kind(StreamLayout),
                               words=('stream',)),
        'layout.select': Entry(LAYOUT.select, dict(names=names[1:]), layout, words=('stream',)),
        'layout.restrict': Entry(LAYOUT.restrict, dict(depths=[lambda: None, lambda: dict(pixel=(0, 2))],
                                                       groups=[lambda: None, lambda: dict(pixel=(3, 3))]), layout),
        'layout.extract': Entry(LAYOUT.extract, dict(codes=codes), check_codes),
        'layout.restore': Entry(LAYOUT.restore, dict(codes=codes), check_codes),
        'CodeLayout.from_dict': Entry(CodeLayout.from_dict, dict(values=[LAYOUT.to_dict]), layout,
                                      words=('layout of codes', 'stream')),
        'StreamLayout': Entry(StreamLayout, dict(name=[lambda: 'a'], token_layout=token_layouts,
                                                 codebooks=[lambda: (64, 64), tuple], depths=none,
                                                 groups=none), check_kind(StreamLayout)),
        'StreamLayout.from_dict': Entry(StreamLayout.from_dict, dict(values=[stream.to_dict]),
                                        check_kind(StreamLayout), words=('layout', *stream.to_dict())),
        'stream.check': Entry(stream.check, dict(codes=one), check_kind(type(None))),
        'stream.extract': Entry(stream.extract, dict(codes=one), check_tensor),
        'stream.restore': Entry(stream.restore, dict(codes=one), check_tensor),
        'CodeOrder': Entry(CodeOrder, dict(by=[lambda: 'token', lambda: 'slice'], streams=names[:2]),
                           check_kind(CodeOrder)),
        'CodeOrder.from_dict': Entry(CodeOrder.from_dict, dict(values=[lambda: dict(by='token')]),
                                     check_kind(CodeOrder), words=('order', 'by')),
        'Grid': Entry(Grid, dict(rows=[lambda: 3], columns=[lambda: 4]), check_kind(Grid), 0.5),
        'Sequence': Entry(Sequence, dict(length=[lambda: 3]), check_kind(Sequence), 0.5),
        'Scales': Entry(Scales, dict(sizes=[lambda: [1, 2], lambda: ((1, 2),)]), check_kind(Scales), 0.5),
        'Video': Entry(Video, dict(frames=[lambda: 2], rows=[lambda: 3], columns=[lambda: 4]), check_kind(Video), 0.5),
        'grid.position': Entry(grid.position, dict(index=[lambda: 3, lambda: np.int64(4)]), check_kind(tuple),
                               words=('no token',)),
        'grid.positions': Entry(grid.positions, dict(device=[lambda: None, lambda: 'cpu']), check_tensor),
        'grid.index': Entry(lambda position: grid.index(*listed(position)), dict(position=[lambda: (1, 2)]),
                            check_kind(int),
                            words=('no token at',)),
        'grid.split': Entry(grid.split, dict(values=[lambda: torch.zeros(1, 25, 2)]), check_kind(tuple)),
        'grid.unflatten': Entry(grid.unflatten, dict(features=[lambda: torch.zeros(1, 25, 2)]),
                                check_kind(torch.Tensor), words=('values',)),
        'grid.flatten': Entry(grid.flatten, dict(maps=[lambda: torch.zeros(1, 2, 5, 5)]), check_kind(torch.Tensor)),
        'Grid.from_dict': Entry(Grid.from_dict, dict(values=[grid.to_dict]), check_kind(Grid, Sequence, Scales, Video),
                                words=('token layout', 'rows', 'columns', 'sizes')),
        'delay_codes': Entry(delay_codes, dict(codes=one, fill=[lambda: 64, lambda: -1]), check_tensor),
        'undo_delay': Entry(undo_delay, dict(steps=one), check_tensor),
    }


def list_functions(pair, scores, covariance):
    """Return the functions of `dtbox.evaluation.functional`."""
    mean = [lambda: torch.zeros(3), lambda: [0, 0, 0]]
    labels = [lambda: torch.tensor([0, 1, 2, 4]), lambda: [0, 1, 2, 3]]
    number = [lambda: 0.01, lambda: 0.5]
    return dict(
        to_unit=Entry(functional.to_unit, dict(images=pair), check_tensor),
        psnr=Entry(functional.psnr, dict(x=pair, y=pair), check_scores),
        absolute_error=Entry(functional.absolute_error, dict(x=pair, y=pair), check_scores),
        ssim=Entry(functional.ssim, dict(x=pair, y=pair, size=[lambda: 11, lambda: 3], sigma=[lambda: 1.5],
                                         k1=number, k2=number), check_scores),
        count_codes=Entry(functional.count_codes, dict(codes=[lambda: CODES], size=[lambda: 64, lambda: 2 ** 30]),
                          check_kind(torch.Tensor), words=('codes reach',)),
        seen_counts=Entry(functional.seen_counts, dict(histogram=[lambda: [1, 2], lambda: torch.ones(9).to_sparse()]),
                          check_tensor),
        code_usage=Entry(functional.code_usage, dict(histogram=[lambda: torch.ones(9), lambda: [1, 2, 0]]),
                         check_usage),
        frechet_distance=Entry(functional.frechet_distance, dict(mean1=mean, cov1=covariance, mean2=mean,
                                                                 cov2=covariance), check_distance),
        places=Entry(functional.places, dict(queries=scores, gallery=scores, pairs=[lambda: [[0, 0], [1, 1], [2, 2],
                                                                                             [3, 3]]],
                                             tie=[lambda: 0.0], block=[lambda: None, lambda: 2]), check_places),
        topk_places=Entry(functional.topk_places, dict(scores=scores, labels=labels, tie=[lambda: 0.0]), check_places),
        recall_at=Entry(functional.recall_at, dict(places_m=[lambda: torch.arange(4)], k=[lambda: 1]),
                        check_kind(float)),
        normalize_text=Entry(functional.normalize_text, dict(text=[lambda: ' A  b']), check_kind(str)),
        word_f1=Entry(functional.word_f1, dict(reply=[lambda: 'a b'], truth=[lambda: 'a']), check_kind(float)),
        cider_d=Entry(functional.cider_d, dict(replies=[lambda: ['a b', 'c']], references=[lambda: [['a'], ['c', 'd']]],
                                               longest=[lambda: 4], sigma=[lambda: 6.0]), check_kind(list)),
        **list_rules(),
        match_pairs=Entry(functional.match_pairs, dict(keys=[lambda: ['a', 'b']], texts=[lambda: ['c', 'd']]),
                          check_kind(tuple)),
    )


def check_rate(value):
    assert isinstance(value, float) and 0 <= value <= 1


def list_rules():
    """Return the functions of `dtbox.evaluation.functional` that are rules of benchmarks."""
    reply, truths = [lambda: 'A red dog.', lambda: ''], [lambda: ['a dog', '2', 'red']]
    return dict(
        normalize_vqa=Entry(functional.normalize_vqa, dict(text=reply), check_kind(str)),
        vqa_accuracy=Entry(functional.vqa_accuracy, dict(
            reply=reply, answers=truths, rule=[lambda: 'official', lambda: 'always', lambda: 'lmms_eval']), check_rate),
        gqa_match=Entry(functional.gqa_match, dict(reply=reply, answer=reply, rule=[lambda: 'llava']),
                        check_kind(bool)),
        tokenize_caption=Entry(functional.tokenize_caption, dict(text=reply), check_kind(str)),
        cider_ceilings=Entry(functional.cider_ceilings, dict(references=[lambda: [['a'], ['c', 'd']]]),
                             check_kind(tuple)),
        read_yes_no=Entry(functional.read_yes_no, dict(reply=reply, rule=[lambda: 'llava', lambda: 'mme']),
                          check_kind(str)),
        pope_scores=Entry(functional.pope_scores, dict(
            replies=[lambda: ['yes', 'No']], truths=[lambda: ['yes', 'no']], rule=[lambda: 'llava']), check_kind(dict),
            words=('replies',)),
        mme_scores=Entry(functional.mme_scores, dict(right=[lambda: dict(count=[(True, False)])]), check_kind(dict)),
        find_letter=Entry(functional.find_letter, dict(
            reply=reply, options=[lambda: dict(A='a cat', B='a dog')], rule=[lambda: 'vlmevalkit']), check_kind(str)),
        circular_hits=Entry(functional.circular_hits, dict(right=[lambda: [('1', True), ('1', False)]]),
                            check_kind(dict)),
    )


def draw_odd(rng, valid):
    """Return (label, odd value): one of the catalogue, or a valid container with an odd value in it."""
    label = rng.choice(list(ODD))
    value = ODD[label]()
    if valid and rng.random() < 0.3:
        container = rng.choice(valid)()
        if isinstance(container, dict) and container:
            return f'{label} in a dict', {**container, rng.choice(list(container)): value}
        if isinstance(container, (list, tuple)) and container:
            return f'{label} in a list', [*container[1:], value]
    return label, value


@dataclass
class Outcome:
    """What became of a call; `fault` says what is wrong with that, '' where nothing is."""
    name: str
    odd: dict
    result: bool
    fault: str = ''

    def __str__(self):
        return f'{self.name}({", ".join(f"{k}={v}" for k, v in self.odd.items())}): {self.fault}'


def call_once(entries, rng):
    """Make one call; returns its Outcome."""
    name = rng.choices(list(entries), [entry.share for entry in entries.values()])[0]
    entry = entries[name]
    arguments = {key: rng.choice(values)() for key, values in entry.values.items() if values}
    count = 0 if rng.random() < VALID_SHARE and all(entry.values.values()) else 2 if rng.random() < 0.2 else 1
    chosen = rng.sample(list(entry.values), min(count, len(entry.values)))
    odd = {key: draw_odd(rng, entry.values[key]) for key in chosen}
    for key, values in entry.values.items():
        if not values and key not in odd:
            odd[key] = draw_odd(rng, [])
    arguments.update({key: value for key, (_, value) in odd.items()})
    labels = {key: label for key, (label, _) in odd.items()}
    try:
        result = entry.call(**arguments)
    except dtbox.InputError as e:
        said = str(e)
        if not odd:
            return Outcome(name, labels, False, f'valid arguments are refused: {said}')
        if not any(word.rstrip('s') in said for word in (*odd, *entry.words)):
            return Outcome(name, labels, False, f'the error names none of {", ".join(odd)}: {said[:300]}')
        if '\n' in said.strip() or len(said) > 1000:
            return Outcome(name, labels, False, f'the error is not one short sentence: {len(said)} {said[:300]}')
        return Outcome(name, labels, False)
    except Exception as e:
        place = traceback.extract_tb(e.__traceback__)[-1]
        return Outcome(name, labels, False, f'{type(e).__name__}: {str(e)[:200]} ({place.filename}:{place.lineno})')
    try:
        entry.check(result)
    except AssertionError as e:
        odd_images = any('NaN' in label or 'inf' in label for label in labels.values())
        return Outcome(name, labels, True, '' if odd_images else f'the result makes no sense: {e}')
    return Outcome(name, labels, True)


def make_calls(entries, calls, seed):
    """Make calls and return their Outcomes."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return [call_once(entries, rng) for _ in range(calls)]


def main():
    """See the module."""
    from tests.apis.conftest import make_reader
    from tests.conftest import DATA
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--calls', type=int, default=300)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--results', action='store_true', help='also list odd calls that have a result')
    parser.add_argument('--only', help='names of functions, separated by commas')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        golden = torch.load(DATA / 'golden_A.pt', weights_only=True)
        golden['state_dict'] = {k: v.float() for k, v in golden['state_dict'].items()}
        run = make_reader(golden, Path(folder))
        (Path(folder) / 'work').mkdir()
        os.chdir(Path(folder) / 'work')  # odd values may be taken for relative paths
        entries = list_entries(dtbox.load(run), run, Path(folder) / 'work')
        entries = {k: v for k, v in entries.items() if not args.only or k in args.only.split(',')}
        outcomes = make_calls(entries, args.calls, args.seed)
    sys.stdout.reconfigure(errors='backslashreplace')
    faults = [outcome for outcome in outcomes if outcome.fault]
    if args.results:
        passed = collections.Counter((o.name, *sorted(o.odd.items())) for o in outcomes if o.result and len(o.odd) == 1)
        print(*(f'{name} {odd}' for name, odd in sorted(passed)), sep='\n')
    print(*faults, sep='\n')
    print(f'{len(outcomes)} calls, {sum(o.result for o in outcomes)} results, {len(faults)} faults')
    return bool(faults)


if __name__ == '__main__':
    raise SystemExit(main())
