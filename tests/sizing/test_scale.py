"""The cost of scale: rings and steps by hand, and what two real processes send against what the model counts."""
import csv
import re
from dataclasses import replace

import pytest

from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.sizing import scale, scale_tables
from dtbox.sizing.communication import (
    BUCKET,
    FIRST_BUCKET,
    Facts,
    Kind,
    Network,
    cut_into_buckets,
    list_kinds,
    read_facts,
)
from dtbox.sizing.describe import Description, Part, build_without_memory, describe
from dtbox.sizing.scale_check import SIZES, check, fit_network, format_check, make_bytes_table
from dtbox.sizing.scale_report import align_columns
from dtbox.testing.rank_group import SHARED
from tests.sizing import scale_worker
from tools.scale import main

RECIPE = 'configs/dualtoken_rq.py'


def test_rings_by_hand():
    """In a node of 4: 2 x 3 steps of a quarter. Two nodes: the same, and 2 x 1 steps of half of what each GPU holds."""
    net = Network(node=4, inside=100.0, between=10.0, latency=0.5)
    assert net.seconds('all_reduce', 800, 4) == pytest.approx(2 * 3 * (200 / 100 + 0.5))
    assert net.seconds('all_reduce', 800, 8) == pytest.approx(2 * 3 * (200 / 100 + 0.5) + 2 * 1 * (100 / 10 + 0.5))
    assert net.seconds('reduce_scatter', 800, 8) == net.seconds('unshard', 800, 8) == net.seconds('all_reduce', 800,
                                                                                                  8) / 2
    assert net.seconds('all_gather', 100, 8) == net.seconds('unshard', 800, 8) and net.seconds('all_reduce', 800,
                                                                                               1) == 0
    times = [net.seconds('all_reduce', 800, world) for world in (1, 2, 4, 8, 16, 32)]
    assert times == sorted(times) and net.seconds('all_reduce', 900, 8) > times[3]


def test_cut_into_buckets():
    assert cut_into_buckets(0) == [] and cut_into_buckets(10) == [10] and cut_into_buckets(FIRST_BUCKET
                                                                                           + BUCKET) == [FIRST_BUCKET,
                                                                                                         BUCKET]
    assert cut_into_buckets(FIRST_BUCKET + 2 * BUCKET + 4) == [FIRST_BUCKET, BUCKET, BUCKET, 4]


def test_what_is_hidden_by_hand():
    """Behind 2 s of the backward pass 6 s are sent: 4 remain; where less is sent than computed, the largest message
    remains."""
    net = Network(node=8, inside=1.0, between=1.0, latency=0.0)  # an all-reduce of 2 processes takes a second a byte
    hidden, open_ = Kind('a', 'all_reduce', None, 'backward'), Kind('b', 'all_reduce', None)
    sent, exposed = scale.predict_step(4.0, dict(backward=0.5), [(hidden, [3, 3]), (open_, [5])], net, 2)
    assert (sent['a'].bytes, sent['a'].calls, sent['a'].seconds, exposed) == (6, 2, 6.0, 4.0 + 5.0)
    assert scale.predict_step(40.0, dict(backward=0.5), [(hidden, [4, 2])], net, 2)[1] == 4.0
    assert scale.predict_step(40.0, {}, [(hidden, [4, 2])], net,
                              2)[1] == 6.0 and scale.predict_step(4.0, {}, [(open_, [5])], net, 1)[1] == 0.0


def test_rows_by_hand():
    row = scale.Row(gpus=4, batch=10, memory=1.0, fits=True, compute=3.0, sent=dict(a=scale.Sent(8, 1, 2.0)),
                    exposed=1.0, samples=86401)
    assert (row.step, row.rate, row.efficiency, row.communication) == (4.0, 10.0, 0.75, 2.0)
    assert row.iterations == 2161 and row.days == pytest.approx(2161 * 4 / 86400)
    found = Description(dict(enc=Part(100, 100, 10.0, True), dec=Part(50, 50, 10.0), frozen=Part(30, 0, 10.0),
                             lpips=Part(7, 0, 1.0), discriminator=Part(20, 20, 1.0)), 1, 1.0, {}, buffers=1000,
                        activations=400)
    assert scale.measure_windows(found) == dict(forward=20.0, backward=50.0, discriminator=4.0)
    has = Facts(tokenizer=150, discriminator=20, blocks=[(60, 60), (40, 40)], rest=[(50, 50), (30, 0)],
                whole_discriminator=20)
    assert scale.predict_memory(found, has, 3, 1, 'ddp') == scale.predict_memory(found, has, 3, 8,
                                                                                 'ddp') == found.memory(3)
    state = 4 * (180 + 20 + 170 * 3)
    assert scale.predict_memory(found, has, 3, 8, 'fsdp') == pytest.approx(found.memory(3) - state * 7 / 8 + 4
                                                                           * (50 + 50 + 30 + 20 + 20))


def test_facts_of_recipes():
    """Trained numbers as `describe` counts them; tables by hand; a frozen vocabulary tells the others, and nothing
    more."""
    cfg = resolve(load_config(RECIPE))
    found, has = describe(cfg), read_facts(build_without_memory(cfg)[0], cfg.model.gan.adversarial)
    inside = [p for name, p in found.parts.items() if name not in scale.OUTSIDE]
    assert has.tokenizer == sum(p.trained
                                for p in inside) and has.whole_discriminator == found.parts['discriminator'].parameters
    assert sum(n for n, _ in has.blocks + has.rest) == sum(p.parameters for p in inside) and len(has.blocks) == 8 + 2
    assert sum(n for _, n in has.blocks + has.rest) == has.tokenizer
    assert has.updates == has.restarts == [(1024, 16)] * 2 and (has.gathers, has.official, has.adaptive) == (2, [],
                                                                                                             True)
    assert has.last_layer == 432 and has.discriminator == found.parts['discriminator'].parameters
    assert {k.name: sum(k.sizes(has)) for k in list_kinds()}['codebook statistics'] == 2 * 4 * 1024 * 17
    cfg.model.gan.adversarial.per_rank = True
    cfg.model.tokenizer.vocabularies.pixel.quantizer = dict(cfg.quantizer, official=True, variant='rq')
    has = read_facts(build_without_memory(cfg)[0], cfg.model.gan.adversarial)
    assert has.official == has.broadcasts == [(1024, 16)] * 4 and has.updates == [(1024, 16)] and not has.adaptive
    cfg = resolve(load_config(RECIPE))
    cfg.model.losses = dict(l1=dict(type='L1Loss'))
    cfg.model.gan = cfg.model.teacher = None
    model = build_without_memory(cfg)[0]
    model.tokenizer.vocabularies['semantic'].requires_grad_(False)
    has = read_facts(model)
    assert (has.gathers, has.updates, has.restarts) == (2, [(1024, 16)], [(1024, 16)])
    cfg = resolve(load_config('configs/dualtoken_fsq.py'))
    assert read_facts(build_without_memory(cfg)[0]).gathers == 0
    cfg = resolve(load_config('configs/vila_u.py'))
    has = replace(read_facts(build_without_memory(cfg)[0]), batch=8, world=4)
    sizes = {k.name: k.sizes(has) for k in list_kinds()}
    width = has.pairs[0]
    assert sizes['embeddings'] == [4 * 8 * width] and sizes['gradients of embeddings'] == [4 * 4 * 8 * width]


def test_more_gpus_cost_more():
    cfg = resolve(load_config(RECIPE))
    rows = {way: scale.scale(cfg, scale.Setting(batch=32, parallel=way, samples=10 ** 9))[2] for way in ('ddp', 'fsdp')}
    for way in rows.values():
        assert [r.efficiency for r in way] == sorted((r.efficiency for r in way),
                                                     reverse=True) and all(0 < r.efficiency < 1 for r in way)
        assert all(a.exposed < b.exposed and a.rate < b.rate and a.compute == b.compute for a, b in zip(way, way[1:]))
    assert all(a.memory > b.memory for a, b in zip(rows['ddp'],
                                                   rows['fsdp'])) and rows['fsdp'][0].memory > rows['fsdp'][-1].memory
    strong = scale.scale(cfg, scale.Setting(whole=1024, samples=10 ** 9))[2]
    assert [r.batch for r in strong] == [128, 64, 32, 16, 8, 4, 2, 1] and len({r.iterations for r in strong}) == 1
    assert strong[0].efficiency > strong[-1].efficiency


@pytest.mark.parametrize('recipe', [RECIPE, 'configs/vila_u.py', 'configs/titok.py'])
def test_two_processes_send_what_the_model_counts(recipe):
    """Every kind of message in every step of two ranks, calls and bytes; nothing that the table does not name."""
    for one in SHARED.run(scale_worker.train, recipe, 2, 2):
        lines = make_bytes_table(one)[1:]
        assert [line[0] for line in lines] == [k.name for k in list_kinds() if k.sizes(one.facts)]
        assert all(line[5] == '0' for line in lines), lines
        assert all(line[1] == line[2] for line in lines if line[0] != 'restart rows'), lines
        assert one.sent[0]['gradients of the tokenizer'] == one.sent[1]['gradients of the tokenizer']
        assert len(one.seconds) == 2
        assert max(one.restarted) > 0 or not one.facts.restarts
    assert SHARED.run(scale_worker.strangers) == [{'not in the model: all_reduce of '
                                                   'dtbox.elsewhere.somebody': (1, 20)}] * 2


def test_fit_of_rings():
    """Measured times that follow a ring give it back."""
    ring = Network(4, 2e9, 1.0, 1e-4)
    found, worst = fit_network(SIZES, [ring.seconds('all_reduce', size, 4) for size in SIZES], 4)
    assert (found.inside, found.latency) == (pytest.approx(2e9, rel=1e-6),
                                             pytest.approx(1e-4, rel=1e-6)) and worst == pytest.approx(1)
    # 1 byte takes 1 s and 2 s, 3 bytes take 2 s: v minimises (v - 1)^2 + (v / 2 - 1)^2 at 1.2, 0.8 s + 0.4 s a byte
    found, worst = fit_network([1, 1, 3], [1.0, 2.0, 2.0], 2)
    assert found.seconds('all_reduce', 1, 2) == pytest.approx(1.2)
    assert worst == pytest.approx(2 / 1.2)


def test_check_says_what_it_found():
    """Processes stand in for real ones: two take as long as one, and send for as long as the ring says."""
    result = check(scale_worker.Pretended, (RECIPE, [], []), 2, 3, worlds=(1, 2), rounds=1)
    text = format_check(result, align_columns)
    assert result.same and result.seconds[2] == [2.0] * 3 and 'Fitted ring of 2 processes: 1.00 GB/s, 100 us' in text
    assert re.search(r'\n2 +1,000\.0 +', text) and 'fastest 1,000, slowest 1,000' in text
    with pytest.raises(InputError, match='0 steps of 2 images'):
        check(scale_worker.Pretended, (RECIPE, [], []), 2, 0)


def test_files(tmp_path, capsys):
    main([RECIPE, '--gpus', '1', '8', '64', '--out', str(tmp_path / 'new')])
    out, page = capsys.readouterr().out, (tmp_path / 'new/scale.md').read_text()
    assert all('- Predicted, not measured on GPUs.' in text
               for text in (out, page)) and '| codebook statistics | all_reduce |' in page
    with open(tmp_path / 'new/scale.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [r['gpus'] for r in rows] == ['1', '8',
                                         '64'] and rows[0]['exposed_s'] == '0' and rows[0]['efficiency'] == '1'
    assert rows[1]['iterations'] == '600' and rows[2]['iterations'] == '75' and rows[2]['codebook statistics '
                                                                                        '[bytes]'] == '139264'
    assert (tmp_path / 'new/scale.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('words, says', [
     (['--gpus', '12'], '12 GPUs do not fill nodes of 8'), (['--gpus', '0'], '0 GPUs do not fill'),
     (['--global-batch', '100'], '100 images in all cannot be divided evenly among 8 GPUs'),
     (['--batch', '4', '--global-batch', '8'], 'contradict each other'),
     (['--batch', '0'], '`batch` is 0 and `whole` is None'),
     (['--memory', '0.01'], r'32 images a GPU need 0\.4 GB on 8 GPUs, and a GPU has 0\.0 GB; none of'),
     (['--utilisation', '2'], r'utilisation in \(0, 1\]'),
     (['--between', '0'], 'expected at least 1 GPU, bandwidths above 0'),
     (['--config-gpus', '0'], 'expected at least 1')])
def test_bad_numbers(words, says, capsys):
    with pytest.raises(SystemExit) as left:
        main([RECIPE, *words])
    lines = capsys.readouterr().err.splitlines()
    assert left.value.code == 2 and len(lines) == 1 and re.search(says, lines[0]), lines


def test_unknown_ways():
    with pytest.raises(InputError, match='expected one of: ddp, fsdp'):
        list_kinds('zero')


def test_what_does_not_fit_is_told_apart():
    """Few GPUs have no room for their share of the images; more of them have."""
    cfg = resolve(load_config(RECIPE))
    rows = scale.scale(cfg, scale.Setting(whole=1024, counts=(8, 64), memory=0.5e9))[2]
    assert [r.fits for r in rows] == [False, True] and scale_tables.make_step_table(rows)[1][2] == 'does not fit'
