"""Floors and anchors of drawings and captions, by hand."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.evaluation import DrawingScore
from dtbox.evaluation.anchors import (
    find_nearest_codes,
    find_nearest_names,
    judge_images,
    measure_caption_floor,
    measure_drawing_anchors,
    score_captions,
)
from tests.mllm_outputs import JUDGE, drawings_of, images_of, run


def test_nearest_names_by_hand():
    known = ['red heart', 'woman farmer', 'Man farmer dark', 'man', 'heart']
    names = ['man farmer', 'blue heart', 'lemon', 'MAN']
    # man farmer: 1/3, 2/3, 1/2; blue heart: red heart 1/3, heart 1/2; lemon shares nothing: the first
    assert find_nearest_names(names, known) == [2, 4, 0, 3]
    assert find_nearest_names(['red man'], ['red heart', 'old man']) == [0]  # equal: the first
    with pytest.raises(InputError, match='no `known` names'):
        find_nearest_names(['a'], [])


def test_nearest_codes_by_hand():
    known = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [5.0, 5.0]], [[3.0, 3.0], [3.0, 3.0]]])
    rows = torch.tensor([[[1.0, 1.0], [4.0, 4.0]], [[2.0, 2.0], [3.0, 3.0]], [[0.0, 1.0], [1.0, 0.0]]])
    assert find_nearest_codes(rows, known, block=2).tolist() == [1, 2, 0]
    with pytest.raises(InputError, match='at least one training image'):
        find_nearest_codes(rows, known[:0])
    with pytest.raises(InputError, match=r'\[3, 2, 2\] and \[3, 1, 2\]'):
        find_nearest_codes(rows, known[:, :1])


def test_judged_as_drawings_are():
    """`judge_images` and `DrawingScore` agree on the same images."""
    drawn = [10, 100, 95, 260]
    pair = drawings_of([0, 90, 180, 270], **{'s=1': [drawn]})
    found = run(DrawingScore(), pair, context=JUDGE).compute()
    judged = judge_images(images_of(*drawn), images_of(0, 90, 180, 270), pair[1].prompts, JUDGE.teacher,
                          JUDGE.embed_text, block=3)
    assert judged == pytest.approx({name: found[f'drawing_{name}/s=1'] for name in judged}, abs=1e-6)
    assert judged['t2i_r1'] == 0.5  # 90 is nearer to 95, 180 to 100, both drawn for other prompts
    with pytest.raises(InputError, match='2 names, 1 image and 2 real images'):
        judge_images(images_of(0), images_of(0, 1), ['0', '1'], JUDGE.teacher, JUDGE.embed_text)


def test_drawing_anchors_by_hand():
    """The floor of the prompt '0' is the training image of the name '0 0 near', at 10 degrees."""
    real = images_of(0, 90, 180, 270)
    found = measure_drawing_anchors(real, ['0', '90', '180', '270'], images_of(90, 10), ['90 far', '0 0 near'],
                                    JUDGE.teacher, JUDGE.embed_text, reconstructions=images_of(1, 91, 181, 271))
    assert set(found) == {'real', 'nearest name', 'shuffled', 'reconstruction'}
    assert found['real']['t2i_r1'] == found['reconstruction']['t2i_r1'] == 1 == found['real']['cosine']
    assert found['real']['psnr'] == pytest.approx(80)
    assert found['shuffled']['cosine'] == pytest.approx(-1, abs=1e-6) and found['shuffled']['t2i_r1'] == 0
    # images 10, 90, 90, 90 (names that share nothing take the first): cosines cos 10, 1, 0, -1
    assert found['nearest name']['cosine'] == pytest.approx((0.984808 + 1 + 0 - 1) / 4, abs=1e-5)


def test_caption_floor_by_hand():
    known = torch.tensor([[[0.0]], [[10.0]]])
    found = measure_caption_floor(torch.tensor([[[1.0]], [[9.0]]]), ['red heart', 'big pear'], known,
                                  ['Red heart', 'pear'])
    assert found['exact'] == 0.5 and found['f1'] == pytest.approx((1 + 2 / 3) / 2)
    assert found['cider'] == pytest.approx(score_captions(['red heart', 'pear'], ['red heart', 'big pear'])['cider'])
    with pytest.raises(InputError, match='1 caption of 2 names'):
        score_captions(['a'], ['a', 'b'])
