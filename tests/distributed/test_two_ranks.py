"""Two and four processes equal one: codebooks, metrics and training steps. One group of ranks serves these tests and
those of the contract."""
import functools

import pytest
import torch

from dtbox.testing.rank_group import SHARED, Ranks
from tests.conversation_data import write_word_tokenizer
from tests.distributed import mllm_worker, worker


@pytest.fixture(scope='module')
def two():
    """What each of two ranks finds: a function job -> list of results."""
    return functools.cache(SHARED.run)


def close(found, want, tolerance=1e-5):
    assert found.keys() == want.keys()
    for name, value in want.items():
        assert torch.allclose(found[name].double(), value.double(), rtol=tolerance, atol=tolerance), name


@pytest.mark.parametrize('name', sorted(worker.QUANTIZED))
def test_codebooks(two, name):
    """Halves, uneven parts and a rank without data give the tables of the whole batch, restarts included."""
    alone = worker.codebooks(0, 1)[name]
    for rank in two(worker.codebooks):
        for step, state in enumerate(rank[name]):
            close(state, alone[min(step, 2)])
    books = {k.removesuffix('.weight') for k in alone[0] if k.endswith('.weight')}
    restarted = [int((alone[0][f'{b}.cluster_size'] == 1).sum()) for b in books]
    assert min(restarted) > 0 and all(int(alone[2][f'{b}.updates']) == 3 for b in books)


@pytest.mark.parametrize('variant', sorted(worker.OFFICIAL))
def test_published_variants(two, variant):
    """Ranks agree; without restart, which draws on rank 0 alone, they equal one process."""
    alone = worker.official(0, 1)
    for restart in (1.0, 0.0):
        first, second = (rank[f'{variant} {restart}'] for rank in two(worker.official))
        close(first, second, 1e-6)
        assert all(torch.isfinite(v).all() for v in first.values())
    close(first, alone[f'{variant} 0.0'])


def test_adaptive_weights(two):
    """Global: the weight of one process with the whole batch, on every rank; per rank: each its own."""
    alone = worker.balances(0, 1)
    first, second = two(worker.balances)
    assert alone[0] == alone[1] and first[0] == second[0] == pytest.approx(alone[0], rel=1e-5)
    assert abs(first[1] - second[1]) > 1e-3 * alone[0] and abs(first[1] - alone[1]) > 1e-3 * alone[0]


def test_metrics(two):
    alone = worker.metrics(0, 1)
    assert {len(alone.sets[name]) > 3 for name in ('concepts', 'variants',
                                                   'all')} == {True} and alone.counts == dict(concepts=5, variants=6,
                                                                                              all=11)
    for found in two(worker.metrics):
        assert found.sets.keys() == alone.sets.keys()
        assert found.skipped == alone.skipped
        assert found.counts == alone.counts
        for name in ('concepts', 'variants', 'all'):
            assert found.sets[name] == pytest.approx(alone.sets[name], rel=1e-6, abs=1e-9)


def test_metrics_of_protocols(two):
    """Frechet statistics, captions, neighbours, masks, and pairs of frames across the two parts."""
    alone, lost, frames = worker.protocol_metrics(0, 1)
    assert {'rfid', 't2i_r1/tokens', 'knn_top1/tokens', 'region_psnr/large', 'flicker'} <= set(alone.sets['heldout'])
    assert alone.sets['heldout']['frame_pairs'] == 9
    for found, missing, samples in two(worker.protocol_metrics):
        assert found.counts == alone.counts and found.skipped == alone.skipped and missing == lost == 1
        # the relative part is for rfid, 4e5 here: its features are float32, from batches of other sizes
        assert found.sets['heldout'] == pytest.approx(alone.sets['heldout'], rel=1e-6, abs=1e-6)
        assert samples == pytest.approx(frames)


def test_training_steps(two):
    """DistributedDataParallel as the Runner wraps it: weights and codebooks of one process with the global batch."""
    alone = worker.training(0, 1)
    ranks = two(worker.training)
    for rank in ranks:
        close(rank['before'], alone['before'], 0.0)
        close(rank['state'], alone['state'])
    moved = {name: (value - alone['before'][name]).abs().max() for name, value in alone['state'].items()}
    for name in ('encoders.trunk.trunk.blocks.0', 'encoders.trunk.trunk.attn_pool', 'vocabularies.pixel.projections.1',
                 'vocabularies.semantic.quantizer', 'decoder.conv_out'):  # and they have gone far in these four steps
        assert max(v for n, v in moved.items() if n.startswith(f'tokenizer.{name}')) > 1e-3, name
    assert 'NaN or infinite' in alone['refused'] and 'NaN or infinite' in ranks[1]['refused']
    # neither waits for the other, and neither has moved
    assert 'the forward pass of another rank is not finite' in ranks[0]['refused']
    logs = [rank['logs'] for rank in ranks]
    assert {k: (logs[0][k] + logs[1][k]) / 2 for k in alone['logs']} == pytest.approx(alone['logs'], abs=1e-4)


@pytest.fixture(scope='module')
def one():
    """What one process finds."""
    return worker.adversarial(0, 1)


def check_adversarial(ranks, one):
    for rank in ranks:
        close(rank['before'], one['before'], 0.0)
        close(rank['state'], one['state'])
    assert 'NaN or infinite' in one['refused'] and 'NaN or infinite' in ranks[-1]['refused']
    assert {rank['refused'] for rank in ranks[:-1]} == {'the forward pass of another rank is not finite; its message '
                                                        'says where.'}
    for step, (_, want) in enumerate(one['logs']):
        found = [rank['logs'][step] for rank in ranks]
        assert sum(share for share, _ in found) == pytest.approx(len(ranks))
        for name in want.keys() - {'total', 'adaptive_weight'}:
            assert sum(share * logs[name] for share, logs in found) / len(ranks) == pytest.approx(want[name],
                                                                                                  abs=1e-5), (step,
                                                                                                              name)
        assert [logs['adaptive_weight'] for _, logs in found] == pytest.approx([want['adaptive_weight']] * len(ranks),
                                                                               abs=1e-4)


def test_two_ranks_with_discriminator(two, one):
    """A global adaptive weight, uneven and empty parts, texts compared over ranks: losses, weights and codebooks of one
    process."""
    moved = {name: float((value - one['before'][name]).abs().max()) for name, value in one['state'].items()
             if value.is_floating_point()}
    for part in ('discriminator.main.5', 'tokenizer.text.', 'tokenizer.decoder.',
                 'tokenizer.vocabularies.pixel.quantizer'):
        assert max(v for name, v in moved.items() if name.startswith(part)) > 1e-3, part
    assert {share for share, _ in two(worker.adversarial)[1]['logs']} == {1.0, 1.25, 0.0}
    check_adversarial(two(worker.adversarial), one)


def test_sharded_ranks(two, one):
    """FSDP2: the same again."""
    check_adversarial(SHARED.run(worker.adversarial, True), one)


def test_sharded_matrices_by_muon(two):
    """FSDP2: a matrix is orthogonalized as a whole."""
    want = worker.muon(0, 1)
    for found in two(worker.muon):
        for name, value in want.items():
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize('way', mllm_worker.WAYS)
def test_sharded_language_model(way, tmp_path):
    """FSDP2: drawings on one rank and texts on the other, a rank without samples, a part that is not finite, and an
    evaluation by one rank alone, which draws, answers and leaves the other in peace: one process."""
    pytest.importorskip('transformers')
    words = write_word_tokenizer(tmp_path / 'tokenizer.json')
    logs, state, moved, refused, said = mllm_worker.train(0, 1, words, way)
    ranks = SHARED.run(mllm_worker.train, words, way)
    for found in ranks:
        close(found[1], state, 1e-6)
    for step, want in enumerate(logs):
        assert {k: ranks[0][0][step][k] + ranks[1][0][step][k] for k in want} == pytest.approx(want, rel=1e-5), step
    for part in ('layers.0.self_attn.q_proj', 'layers.1.mlp.down_proj', 'special', 'chains.1.blocks.0', 'classifiers'):
        assert max(v for name, v in moved.items() if part in name) > 1e-4, part
    assert ('layers.0.mlp.up_proj' in ' '.join(name for name, v in moved.items() if v)) == (way == 'all of it')
    assert '`text` is nan' in refused and '`text` is nan' in ranks[1][3] and 'of another rank' in ranks[0][3]
    assert ranks[0][4][0] == said[0] and ranks[1][4] is None
    for name, nats in said[1].items():
        assert torch.allclose(ranks[0][4][1][name], nats, atol=1e-5, equal_nan=True), name


def test_four_ranks(one):
    """The same with four; in the last step three ranks have nothing or one picture."""
    with Ranks(4) as four:
        check_adversarial(four.run(worker.adversarial), one)
