import math

import numpy as np
import pytest
import torch

from dtbox.errors import InputError
from dtbox.evaluation.functional import (
    absolute_error,
    code_usage,
    frechet_distance,
    match_pairs,
    places,
    psnr,
    recall_at,
    ssim,
    to_unit,
    topk_places,
)


def pictures(n=3, size=24, seed=0):
    """Smooth pictures with flat areas, and noisy copies."""
    g = torch.Generator().manual_seed(seed)
    x = torch.nn.functional.interpolate(torch.rand(n, 3, 5, 5, generator=g), size=(size, size + 4), mode='bilinear')
    x[:, :, :8] = 1.0
    return x, (x + 0.05 * torch.randn(x.shape, generator=g)).clamp(0, 1)


def test_psnr_by_hand_and_torchmetrics():
    from torchmetrics.functional.image import peak_signal_noise_ratio
    zeros = torch.zeros(2, 3, 4, 4)
    found = psnr(zeros, torch.stack([torch.full((3, 4, 4), 0.1), torch.zeros(3, 4, 4)]))
    assert torch.allclose(found, torch.tensor([20.0, 80.0], dtype=torch.float64), atol=1e-5)
    x, y = pictures()
    for i, value in enumerate(psnr(x, y)):
        assert abs(value - peak_signal_noise_ratio(y[i:i + 1], x[i:i + 1], data_range=1.0)) < 1e-4


def test_to_unit_clamps():
    assert to_unit(torch.tensor([-1.5, -1, 0, 1, 3])).tolist() == [0, 0, 0.5, 1, 1]


def test_absolute_error_by_hand():
    x = torch.zeros(2, 1, 1, 2)
    assert absolute_error(x, torch.tensor([[1.0, 3.0], [0.0, -0.5]]).view(2, 1, 1, 2)).tolist() == [2.0, 0.25]


def test_ssim_agrees_with_skimage():
    from skimage.metrics import structural_similarity
    x, y = pictures(2, 30)
    for i, value in enumerate(ssim(x, y)):
        _, full = structural_similarity(x[i].numpy(), y[i].numpy(), gaussian_weights=True, sigma=1.5,
                                        use_sample_covariance=False, data_range=1.0, channel_axis=0, full=True)
        assert abs(value - full[:, 5:-5, 5:-5].mean()) < 1e-4


def test_ssim_agrees_with_torchmetrics():
    from torchmetrics.functional.image import structural_similarity_index_measure
    x, y = pictures(3, 40, 1)
    mean, full = structural_similarity_index_measure(x.double(), y.double(), gaussian_kernel=True, sigma=1.5,
                                                     kernel_size=11, data_range=1.0, reduction='none',
                                                     return_full_image=True)
    # it averages over reflected borders too: crop to the valid windows
    assert mean.shape == (3,) and full.shape == x.shape
    assert torch.allclose(ssim(x, y), full[..., 5:-5, 5:-5].mean(dim=(1, 2, 3)), atol=1e-4)


def test_ssim_limits():
    x, y = pictures()
    assert torch.allclose(ssim(x, x), torch.ones(3, dtype=torch.float64))
    flat = ssim(torch.zeros(1, 1, 11, 11), torch.ones(1, 1, 11, 11))
    assert flat.item() == pytest.approx(1e-4 / (1 + 1e-4), rel=1e-6)
    with pytest.raises(InputError, match='at least 11 x 11'):
        ssim(x[..., :10], y[..., :10])
    with pytest.raises(InputError, match='one shape'):
        psnr(x, y[:, :1])


def test_ssim_in_blocks_is_the_same(monkeypatch):
    x, y = pictures()
    whole = ssim(x, y)
    monkeypatch.setattr('dtbox.evaluation.functional.image_quality._BLOCK', 1)
    assert torch.equal(ssim(x, y), whole)


@pytest.mark.parametrize('n', [200, 6])
def test_frechet_against_scipy(n):
    from scipy.linalg import sqrtm
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(n, 8)) @ rng.normal(size=(8, 8)), rng.normal(size=(n, 8)) + 0.3
    moments = [(v.mean(0), np.cov(v, rowvar=False)) for v in (a, b)]
    (m1, c1), (m2, c2) = moments
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    found = frechet_distance(*(torch.from_numpy(v) for pair in moments for v in pair))
    assert found == pytest.approx(expected, abs=1e-8 if n > 8 else 1e-4)  # the reference is poor on singular matrices


def test_frechet_by_hand():
    eye = torch.eye(2)
    assert frechet_distance(torch.zeros(2), eye, torch.tensor([3.0, 4.0]), eye) == pytest.approx(25)
    assert frechet_distance(torch.zeros(2), 4 * eye, torch.zeros(2),
                            torch.diag(torch.tensor([1.0, 9.0]))) == pytest.approx(1 + 1)
    cov = torch.tensor([[2.0, 1.0], [1.0, 0.5]])  # singular
    assert frechet_distance(torch.zeros(2), cov, torch.zeros(2), cov) == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError, match='one width'):
        frechet_distance(torch.zeros(2), eye, torch.zeros(3), eye)
    with pytest.raises(InputError, match='NaN'):
        frechet_distance(torch.zeros(2), eye * math.nan, torch.zeros(2), eye)


def test_places_by_hand():
    gallery = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]])
    queries = torch.tensor([[2.0, 0.0], [0.0, 5.0], [0.0, 1.0]])
    pairs = torch.tensor([[0, 0], [1, 1], [2, 3], [2, 1]])
    assert places(queries, gallery, pairs).tolist() == [0, 1, 1]
    assert recall_at(places(queries, gallery, pairs), 1) == pytest.approx(1 / 3)
    assert recall_at(places(queries, gallery, pairs), 2) == 1
    assert places(queries, gallery, torch.tensor([[0, 3], [1, 3], [2, 3]])).tolist() == [3, 3, 3]


def test_ties_and_nan_count_against():
    same = torch.ones(3, 2)
    pairs = torch.tensor([[0, 0], [1, 1], [2, 2]])
    assert places(same, same, pairs).tolist() == [2, 2, 2]
    near = torch.tensor([[1.0, 0.0], [1.0, 1e-4], [0.0, 1.0]])
    assert places(near[:1], near, pairs[:1]).tolist() == [0]
    assert places(near[:1], near, pairs[:1], tie=1e-6).tolist() == [1]
    assert places(same * math.nan, same, pairs).tolist() == [2, 2, 2]
    assert topk_places(torch.tensor([[0.5, 0.5, math.nan]]), torch.tensor([1])).tolist() == [2]


def test_places_against_torchmetrics_and_a_loop():
    from torchmetrics.retrieval import RetrievalHitRate
    g = torch.Generator().manual_seed(3)
    queries, gallery = torch.randn(17, 4, generator=g), torch.randn(23, 4, generator=g)
    pairs = torch.unique(torch.cat([torch.stack([torch.arange(17), torch.randint(0, 23, (17,), generator=g)], 1)
                                    for _ in range(2)]), dim=0)
    found = places(queries, gallery, pairs, block=5)
    similarity = torch.nn.functional.normalize(queries.double(),
                                               dim=1) @ torch.nn.functional.normalize(gallery.double(), dim=1).T
    for q in range(17):
        right = set(pairs[pairs[:, 0] == q, 1].tolist())
        order = similarity[q].argsort(descending=True).tolist()
        assert found[q] == next(i for i, item in enumerate(order) if item in right)
    target = torch.zeros(17, 23, dtype=torch.bool)
    target[pairs[:, 0], pairs[:, 1]] = True
    for k in (1, 5, 10):
        hits = RetrievalHitRate(top_k=k)(similarity.flatten(), target.flatten(),
                                         indexes=torch.arange(17).repeat_interleave(23))
        assert recall_at(found, k) == pytest.approx(hits.item(), abs=1e-6)


def test_pairs_are_checked():
    x = torch.eye(2)
    with pytest.raises(InputError, match='no right item, such as query 1'):
        places(x, x, torch.tensor([[0, 0]]))
    with pytest.raises(InputError, match='0..1 items'):
        places(x, x, torch.tensor([[0, 0], [1, 2]]))
    with pytest.raises(InputError, match='one width'):
        places(x, torch.eye(3), torch.tensor([[0, 0], [1, 1]]))


def test_match_pairs():
    pictures, texts, pairs = match_pairs(['a', 'a', 'b', 'c'], ['cat', 'tabby', 'cat', 'dog'])
    assert pictures.tolist() == [0, 2, 3] and texts.tolist() == [0, 1, 3]
    assert pairs.tolist() == [[0, 0], [0, 1], [1, 0], [2, 2]]


def test_topk_against_torch():
    g = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(40, 9, generator=g), torch.randint(0, 9, (40,), generator=g)
    for k in (1, 5):
        expected = (scores.topk(k).indices == labels[:, None]).any(1).double().mean().item()
        assert recall_at(topk_places(scores, labels), k) == pytest.approx(expected)


def test_code_usage_by_hand():
    found = code_usage(torch.tensor([2, 2, 0, 0, 0, 4, 0, 0]))
    entropy = 0.25 * math.log(4) * 2 + 0.5 * math.log(2)
    assert found == dict(usage=3 / 8, perplexity=pytest.approx(math.exp(entropy)), dead=5)
    assert code_usage(torch.ones(7))['perplexity'] == pytest.approx(7)
    with pytest.raises(InputError, match='at least one code'):
        code_usage(torch.zeros(4))


def test_large_codebooks_are_counted_sparsely(monkeypatch):
    """The same numbers as a dense histogram, from what was seen alone."""
    from dtbox.evaluation.functional import codes
    from dtbox.evaluation.usage import pool
    dense = [codes.count_codes(torch.tensor([3, 1, 3, 7]), 9), codes.count_codes(torch.tensor([1, 1]), 9)]
    monkeypatch.setattr(codes, 'DENSE', 8)
    sparse = [codes.count_codes(torch.tensor([3, 1, 3, 7]), 9), codes.count_codes(torch.tensor([1, 1]), 9)]
    assert not dense[0].is_sparse and sparse[0].is_sparse and torch.equal(sparse[0].to_dense(), dense[0])
    assert code_usage(sparse[0]) == code_usage(dense[0]) and code_usage(pool(sparse)) == code_usage(pool(dense))
    assert sorted(codes.seen_counts(sparse[0] + sparse[1]).tolist()) == [1, 2, 3]
    assert codes.count_codes(torch.zeros(0, dtype=torch.int64), 2 ** 60).shape == (2 ** 60,)
