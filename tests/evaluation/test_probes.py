"""k-NN and linear probes against the reference on features of known classes; regions; frames; templates."""
import numpy as np
import pytest
import torch

from dtbox.errors import InputError
from dtbox.evaluation import KNN, Bank, EvalContext, FrameChange, LinearProbe, RegionError, RegionZeroShot
from dtbox.evaluation.functional import psnr
from dtbox.evaluation.zeroshot import read_templates
from dtbox.layers.region_pooling import find_tokens_inside, pool_regions
from dtbox.structures import Batch, Regions, TeacherOutput, TokenizerOutput


def clouds(n, seed):
    """Features of three classes that overlap a little, and their labels."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    centres = torch.tensor([[2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 2.0, 0]])
    return centres[labels] + torch.randn(n, 4, generator=rng), labels


def probed(metric, seed=2):
    bank, labels = clouds(120, 1)
    rows, truth = clouds(60, seed)
    metric.setup(EvalContext(bank=lambda: Bank(dict(tokens=bank, teacher=10 * bank), labels)))
    for part in (slice(0, 25), slice(25, 60)):
        outputs = TokenizerOutput(images=torch.zeros(len(truth[part]), 3, 2, 2), pooled=rows[part],
                                  teacher=TeacherOutput(pooled=rows[part]))
        metric.process(Batch(images=outputs.images, labels=truth[part]), outputs)
    return metric, bank, labels, rows, truth


def test_neighbours_are_those_of_sklearn():
    from sklearn.neighbors import KNeighborsClassifier
    metric, bank, labels, rows, truth = probed(KNN(k=7, temperature=0.07))
    metric.sync()
    found = metric.compute()
    unit = torch.nn.functional.normalize
    reference = KNeighborsClassifier(7, weights=lambda d: np.exp((1 - d) / 0.07),
                                     metric='cosine').fit(unit(bank).numpy(), labels.numpy())
    assert found['knn_top1/tokens'] == pytest.approx(reference.score(unit(rows).numpy(),
                                                                     truth.numpy())) == found['knn_top1/teacher']
    assert 0.6 < found['knn_top1/tokens'] < 1


def test_linear_probe_learns_from_the_bank_alone():
    from sklearn.linear_model import LogisticRegression
    metric, bank, labels, rows, truth = probed(LinearProbe(c=0.5))
    metric.sync()
    wanted = LogisticRegression(C=0.5, max_iter=1000).fit(bank.numpy(), labels.numpy()).score(rows.numpy(),
                                                                                              truth.numpy())
    assert metric.compute()['linear_top1/tokens'] == pytest.approx(wanted) and 0.6 < wanted < 1


def test_without_a_bank_or_labels():
    metric = KNN()
    metric.setup(EvalContext())
    outputs = TokenizerOutput(images=torch.zeros(2, 3, 2, 2), pooled=torch.ones(2, 4))
    metric.process(Batch(images=outputs.images, labels=torch.tensor([0, 1])), outputs)
    assert metric.compute() == {} and 'no training images' in metric.skipped
    with pytest.raises(InputError, match='`k` is 0'):
        KNN(k=0)


def test_templates_by_name():
    found = read_templates('imagenet80')
    assert len(found) == 80 and found[0] == 'a bad photo of a {}.' and all('{}' in t for t in found)
    assert read_templates('a {}') == ['a {}']


# ---- regions ---------------------------------------------------------------------------------------------------------

def region(masks, categories, sizes=None, frequencies=None):
    n = len(categories)
    return Regions(categories, sizes or ['small'] * n, frequencies or [''] * n, [str(i) for i in range(n)], masks)


def test_tokens_inside_a_mask():
    masks = torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[0, :4, :4] = True  # the first of four tokens
    masks[1, :, :3] = True  # three quarters of the left two
    masks[2, 5, 6] = True  # less than half of any token
    assert find_tokens_inside(masks, (2, 2)).tolist() == [
        [True, False, False, False],
        [True, False, True, False],
        [False, False, False, True],
    ]
    tokens = torch.arange(8.0).reshape(1, 4, 2)
    pooled = pool_regions(tokens, [masks], (2, 2), lambda part: part.mean(1))
    assert pooled[0].tolist() == [[0, 1], [2, 3], [6, 7]] and pool_regions(tokens, [masks[:0]], (2, 2),
                                                                           None)[0].shape == (0, 0)


def test_region_error_by_hand():
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :2], masks[1, 3, :1] = True, True
    images = torch.zeros(1, 3, 4, 4)
    made = images.clone()
    made[:, :, :2] += 0.2  # in [-1, 1]: 0.1 in [0, 1]
    made[:, :, 3, 0] += 1.0
    metric = RegionError()
    metric.setup(EvalContext())
    metric.process(Batch(images=images, regions=[region(masks, [0, 1], ['large', 'small'], ['rare', 'common'])],
                         keys=['a']),
                   TokenizerOutput(images=images, reconstructions=made))
    found = metric.compute()
    assert found['region_psnr/large'] == pytest.approx(20, abs=1e-4) == found['region_psnr/rare']
    assert found['region_psnr/small'] == pytest.approx(-10 * np.log10(0.25),
                                                       abs=1e-4) and found['region_l1/small'] == pytest.approx(1.0)
    assert found['region_psnr/objects'] == pytest.approx((found['region_psnr/large'] + found['region_psnr/small']) / 2)
    assert found['region_psnr/background'] == pytest.approx(80) and found['region_count/objects'] == 2
    assert [w['id'] for w in metric.worst] == ['1', '0']


def test_region_zero_shot_by_hand():
    vectors = dict(cat=[1.0, 0.0], dog=[0.0, 1.0])
    context = EvalContext(classes=['cat', 'dog'],
                          embed_text=lambda texts: torch.tensor([vectors[t.split()[-1]] for t in texts]),
                          pool_regions=dict(tokens=lambda last, masks: [last[i][:len(m)] for i, m in enumerate(masks)]))
    metric = RegionZeroShot()
    metric.setup(context)
    last = torch.tensor([[[3.0, 1.0], [1.0, 2.0], [1.0, 1.0]]])
    regions = region(torch.ones(3, 4, 4, dtype=torch.bool), [0, 0, 1], ['small', 'small', 'large'])
    metric.process(Batch(images=torch.zeros(1, 3, 4, 4), regions=[regions]),
                   TokenizerOutput(images=torch.zeros(1, 3, 4, 4), last=last))
    # the third is as near to both: a tie counts against
    assert metric.compute() == pytest.approx({'region_top1/objects/tokens': 1 / 3, 'region_top1/small/tokens': 1 / 2,
                                              'region_top1/large/tokens': 0})
    assert 'no tokens of the teacher to pool' in metric.skipped


# ---- frames ----------------------------------------------------------------------------------------------------------

def test_frames_by_hand():
    images = torch.zeros(4, 3, 2, 2)
    images[1:3] += 0.4  # in [0, 1]: 0.2
    made = images.clone()
    made[2] += 0.2
    codes = torch.tensor([[[0, 0]], [[0, 1]], [[0, 1]], [[5, 5]]])
    keys = ['a/000000', 'a/000001', 'a/000002', 'b/000000']

    def run(*parts):
        metric = FrameChange()
        metric.setup(EvalContext())
        for part in parts:
            metric.process(Batch(images=images[part], keys=keys[part]),
                           TokenizerOutput(images=images[part], reconstructions=made[part],
                                                                                        codes=dict(pixel=codes[part])))
        return metric
    found = run(slice(0, 4)).compute()
    assert found == pytest.approx(run(slice(0, 1), slice(1, 3), slice(3, 4)).compute())
    assert found['frame_pairs'] == 2 and found['change/source'] == pytest.approx(0.1, abs=1e-6)
    assert found['change/made'] == pytest.approx(0.15, abs=1e-6) and found['flicker'] == pytest.approx(0.05, abs=1e-6)
    assert found['churn/pixel'] == pytest.approx(0.25)
    assert found['video_psnr'] == pytest.approx(psnr((made + 1) / 2, (images + 1) / 2).mean().item())
    gap = FrameChange()
    gap.setup(EvalContext())
    some = [0, 1, 3]
    gap.process(Batch(images=images[some], keys=['a/000000', 'a/000001', 'a/000003']),
                TokenizerOutput(images=images[some], reconstructions=made[some]))
    assert gap.compute()['frame_pairs'] == 1 and 'after one that could not be read' in gap.skipped


def test_temperature_of_the_neighbours():
    """One neighbour at cosine 1 against two at 0.6: e^(1/T) is more than 2 e^(0.6/T) for a T below 0.4 / ln 2."""
    bank = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]])
    for temperature, wanted in ((0.5, 0), (0.7, 1)):
        classes = KNN(k=3, temperature=temperature).classify(bank, torch.tensor([0, 1, 1]), torch.tensor([[2.0, 0.0]]))
        assert classes.tolist() == [wanted]


def test_frames_of_two_clips_make_no_pair():
    """Also where the number of the next clip's first frame would continue that of the last one."""
    images = torch.zeros(3, 3, 2, 2)
    metric = FrameChange()
    metric.setup(EvalContext())
    metric.process(Batch(images=images, keys=['a/000000', 'a/000001', 'b/000002']),
                   TokenizerOutput(images=images, reconstructions=images))
    assert metric.compute()['frame_pairs'] == 1


@pytest.mark.parametrize('lost, stride, pairs', [
    ((1,), None, 9), ((6,), None, 9), ((0, 2), None, 9 - 1), ((1,), 1, 9), ((0, 11), None, 9),
    ((1, 3, 5, 7, 9, 11), 1, 0)])
def test_lost_frames_change_no_other_pair(lost, stride, pairs):
    """Whichever frame is lost, the change is that of the neighbours that are left."""
    metric = FrameChange()
    metric.setup(EvalContext(stride=stride))
    images = torch.linspace(-1, 1, 12).view(-1, 1, 1, 1).expand(12, 3, 4, 4)
    some = [i for i in range(12) if i not in lost]
    for part in (some[:4], some[4:]):
        metric.process(Batch(images=images[part], keys=[f'a/{i:06d}' for i in part]),
                       TokenizerOutput(images=images[part], reconstructions=images[part]))
    found = metric.compute()
    assert found.get('frame_pairs', 0) == pairs
    assert not pairs or found['change/source'] == pytest.approx(1 / 11, abs=1e-6)
