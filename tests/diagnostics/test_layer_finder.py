"""The layer finder: the rule by hand, probes that are alike for every layer, and scores like the metrics'."""
import numpy as np
import pytest
import torch

from dtbox.diagnostics import layer_finder as layers
from dtbox.diagnostics.layer_choice import Standing, compute_standings, propose
from dtbox.diagnostics.layer_probes import Probes, Standardise, choose_latent_size, compute_contrastive_loss
from dtbox.diagnostics.layer_scores import LayerScores
from dtbox.diagnostics.output_folder import choose_result_folder
from dtbox.encoders.latent_vit import LatentViT
from dtbox.errors import InputError
from dtbox.evaluation import EvalContext, Retrieval, ZeroShot
from dtbox.layout import Grid
from dtbox.registry import ENCODERS
from dtbox.structures import Batch, TokenizerOutput

# ---- the rule -----------------------------------------------------------------------------------------------------

def test_standings_by_hand():
    """Layer 3 is best. Layer 2 loses 1 dB everywhere; layer 1 loses 0, 2, 0, 2: mean 1, standard error sqrt(4/3) /
    2."""
    found = compute_standings({1: [[8, 6, 8, 6]], 2: [[7, 7, 7, 7]], 3: [[8, 8, 8, 8]]}, tolerance=1.)
    assert found[3] == Standing(8., 0., 0., True) and found[2] == Standing(7., 1., 0., True)
    assert found[1].loss == 1 and found[1].half == pytest.approx(1.96 * (4 / 3) ** .5 / 2) and not found[1].good
    both = compute_standings({1: [[1, 1], [0, 1, 1]], 2: [[1, 1], [1, 1, 1]]}, tolerance=.2)  # means 1 and 2/3: 5/6
    assert both[1].score == pytest.approx(5 / 6) and both[1].loss == pytest.approx(1 / 6) and not both[1].good
    assert compute_standings({1: [[5.]], 2: [[5.]]}, tolerance=9.)[2].half == np.inf  # one image shows nothing


def test_the_embedding_is_no_candidate():
    found = compute_standings({0: [[9., 9.]], 1: [[8., 8.]], 2: [[7., 7.]]}, tolerance=1.)
    assert [s.good for s in found.values()] == [False, True, True] and found[0].loss == -1 and propose(found).pixel == 2
    assert compute_standings({0: [[9., 9.]]}, tolerance=1.)[0].good  # unless it is all there is


def standing(score, good):
    return Standing(score, 0., 0., good)


def table(scores, good):
    return {layer: standing(score, layer in good) for layer, score in enumerate(scores)}


@pytest.mark.parametrize('pixel, semantic, want', [
     (([30, 29, 28, 20], {1, 2}), ([.1, .2, .5, .6], {2, 3}), (2, 2, 'one layer serves both')),
     (([30, 29, 28, 20], {1}), ([.1, .2, .5, .6], {2, 3}), (1, 2, '')),
     (([30, 29, 28, 28], {1, 2, 3}), ([.1, .6, .5, .6], {1, 3}), (1, 1, 'one layer serves both')),
     (([29, 22, 28, 30], {3}), ([.1, .6, .5, .4], {1}), (1, 1,
      'no layer up to 1 is as good for pixels as the best ' 'one; 1 comes closest')),
     (([30, 29, 28, 20], {1}), None, (1, None, ''))])
def test_proposals(pixel, semantic, want):
    found = propose(table(*pixel), table(*semantic) if semantic else None)
    assert (found.pixel, found.semantic, found.remark) == want


# ---- the probes ---------------------------------------------------------------------------------------------------

def test_standardised_features():
    part = Standardise(2)
    x = torch.tensor([[[1., 5.], [3., 5.]]])
    part.fit(x.sum((0, 1)).double(), x.square().sum((0, 1)).double(), 2)
    assert part(x).tolist() == [[[-1., 0.], [1., 0.]]]  # a channel that never changes says nothing


def test_contrastive_by_hand():
    """Equal logits over two texts cost ln 2; where both are right answers, too."""
    logits = torch.zeros(2, 2)
    assert compute_contrastive_loss(logits, torch.eye(2, dtype=torch.bool)).item() == pytest.approx(np.log(2))
    assert compute_contrastive_loss(logits, torch.ones(2, 2, dtype=torch.bool)).item() == pytest.approx(np.log(2))
    assert compute_contrastive_loss(torch.tensor([[9., 0.], [0., 9.]]), torch.eye(2, dtype=torch.bool)).item() < 1e-3


@pytest.mark.parametrize('grid, size, want', [
     ((27, 27), (384, 384), (24, 24)), ((8, 8), (64, 64), (8, 8)), ((3, 5), (40, 40), (2, 5))])
def test_latent_size_divides_the_image(grid, size, want):
    assert choose_latent_size(grid, size) == want


def test_probes_start_alike_and_disturb_no_random_state():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    a, b, c = (Probes(8, (4, 4), (32, 32), 16, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))
    assert not torch.equal(a.pool.fc_in.weight, c.pool.fc_in.weight)
    made, embedding = a(torch.randn(2, 16, 8))
    assert made.shape == (2, 3, 32, 32) and torch.allclose(embedding.norm(dim=-1), torch.ones(2))


# ---- the scores ---------------------------------------------------------------------------------------------------

def test_scores_are_those_of_the_metrics():
    g = torch.Generator().manual_seed(0)
    n, names = 12, ['red', 'blue', 'green']
    images = torch.rand(n, 3, 16, 16, generator=g) * 2 - 1
    text = torch.randn(n, 6, generator=g)
    vectors = torch.randn(3, 6, generator=g)
    unit = torch.nn.functional.normalize
    text = unit(text, dim=-1)
    embedding = unit(text + .5 * torch.randn(n, 6, generator=g), dim=-1)
    texts = [f'text {i}' for i in range(n)]
    texts[1] = texts[0]
    text[1] = text[0]
    texts[5] = ''
    labels = torch.tensor([i % 4 - 1 for i in range(n)])
    batch = Batch(images=images, texts=texts, labels=labels, keys=[str(i) for i in range(n)])
    outputs = TokenizerOutput(images=images, pooled=embedding, text_pooled=text)
    context = EvalContext(classes=names, embed_text=lambda words: vectors[[names.index(w) for w in words]])
    want = {}
    for metric in (Retrieval(ks=(1,)), ZeroShot(ks=(1, 5))):
        metric.setup(context)
        metric.process(batch, outputs)
        want.update(metric.compute())
    scores = LayerScores()
    scores.add(images[:7], images[:7] * .9, embedding[:7])
    scores.add(images[7:], images[7:] * .9, embedding[7:])
    scores.finish(batch.keys, ['heldout'] * n, list(zip(texts, text)), labels.tolist(), unit(vectors, dim=-1))
    row = scores.row()
    assert row['t2i_r1'] == want['t2i_r1/tokens'] and row['i2t_r1'] == want['i2t_r1/tokens'] and 0 < row['i2t_r1'] < 1
    assert row['zeroshot_top1'] == want['zeroshot_top1/tokens'] and row['zeroshot_top5'] == 1
    assert len(scores.psnr) == len(scores.ssim) == n and row['ssim'] > .9


# ---- the whole ----------------------------------------------------------------------------------------------------

def test_a_layer_does_not_depend_on_which_others_are_probed(tiny_config):
    one = layers.probe_layers(tiny_config, layers=[1], iters=4)
    more = layers.probe_layers(tiny_config, layers=[3, 1, 0], iters=4)
    assert [row['layer'] for row in more['layers']] == [0, 1,
                                                        3] and more['layers'][1]['psnr'] == one['layers'][0]['psnr']
    assert more['layers'][0]['psnr'] != one['layers'][0]['psnr'] and more['proposal']['semantic'] is None
    assert 'no semantics: the tokenizer has no text tower' in more['remarks'] and 'r1' not in more['layers'][0]
    assert any('after 4 steps the probes say little' in remark for remark in more['remarks'])


def test_encoders_of_a_run_and_its_teacher(tiny_config, tiny_run):
    from dtbox.diagnostics.subjects import open_encoder
    start, trained, teacher = (open_encoder(*a).encoder.state_dict()
                               for a in ((tiny_config,), (tiny_run,), (tiny_run, 'teacher')))
    key = 'trunk.blocks.0.attn.qkv.weight'
    assert torch.equal(start[key], teacher[key]) and not torch.equal(start[key], trained[key])
    bare = open_encoder(tiny_config, None, {'encoder.weights': None})
    assert bare.remarks[0] == 'the encoder `trunk` names no weights: these are the layers of a random network'
    with pytest.raises(InputError, match='no encoder `teachr`. Did you mean `teacher`'):
        open_encoder(tiny_run, 'teachr')


def test_large_layers_are_left_out_and_said(monkeypatch):
    class Pyramid:
        depth = 2

        def layout(self, layer):
            return (Grid(64, 64), Grid(32, 32), Grid(16, 16))[layer]
    remarks = []
    assert layers.choose_layers(Pyramid(), None, remarks) == [1, 2]
    assert remarks == ['left out for their size: 0 (4,096 tokens); name them with --layers']
    assert layers.choose_layers(Pyramid(), [2, 0, 2], remarks) == [0, 2] and len(remarks) == 1
    with pytest.raises(InputError, match='no layer 3; the encoder has the layers 0'):
        layers.choose_layers(Pyramid(), [3], [])


def test_layers_without_a_grid_are_left_out_and_said():
    encoder, remarks = ENCODERS.build(dict(type='LatentViT', **LatentViT.example)), []
    assert layers.choose_layers(encoder, None, remarks) == [0, 1]
    assert remarks == ['left out, as their tokens do not lie on a grid: 2 (sequence of 5 tokens)']
    with pytest.raises(InputError, match='the probe of layer 2 needs tokens on a grid .* sequence of 5 tokens'):
        layers.choose_layers(encoder, [1, 2], [])


def test_folders_are_never_taken_twice(tmp_path):
    run = tmp_path / 'run'
    (run / 'diagnostics' / 'atlas').mkdir(parents=True)
    assert choose_result_folder(run, 'atlas') == str(run / 'diagnostics' / 'atlas')  # empty: free
    (run / 'diagnostics' / 'atlas' / 'atlas.json').touch()
    assert choose_result_folder(run, 'atlas') == str(run / 'diagnostics' / 'atlas.1')
    assert choose_result_folder('configs/dualtoken_rq.py', 'layers') == 'work_dirs/diagnostics/dualtoken_rq_layers'
    with pytest.raises(InputError, match='is a file'):
        choose_result_folder(run, 'atlas', str(run / 'diagnostics' / 'atlas' / 'atlas.json'))
