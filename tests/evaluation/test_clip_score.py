"""CLIPScore by the towers of open_clip, beside torchmetrics on open_clip's own features."""
import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.evaluation import CLIPScore, EvalContext
from dtbox.evaluation.folders import read_levels
from dtbox.mllm_output import MLLMOutput
from dtbox.structures import Batch, TokenizerOutput
from tests.clip_kit import NAME, WORDS, make_files
from tests.clip_kit import tiny_clip as tiny_clip  # noqa: F401


def measured(metric, *pairs):
    metric.setup(EvalContext())
    for pair in pairs:
        metric.process(*pair)
    return metric


def drawn(images, prompts, **drawings):
    """(Batch, MLLMOutput) of images [B,3,H,W] that are the real ones, too."""
    return (Batch(images=images, keys=[str(i) for i in range(len(images))]),
            MLLMOutput(images, drawings=drawings, prompts=prompts))


def open_images(paths):
    """Images of files as [B,3,H,W] in [-1,1]."""
    return torch.stack([torch.from_numpy(read_levels(path)).permute(2, 0, 1) for path in paths]).float() / 127.5 - 1


class Features:
    """open_clip's model and transforms in the form that torchmetrics calls."""
    config = None

    def __init__(self, clip):
        _, self.model, self.preprocess, self.tokenizer = clip

    def to(self, device):
        return self

    def __call__(self, text=None, images=None, **options):
        if text is not None:
            ids = self.tokenizer(text)
            return dict(input_ids=ids, attention_mask=torch.ones_like(ids))
        shown = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        return dict(pixel_values=torch.stack([self.preprocess(image) for image in shown]))

    @torch.no_grad()
    def get_image_features(self, pixels):
        return self.model.encode_image(pixels)

    @torch.no_grad()
    def get_text_features(self, ids, mask):
        return self.model.encode_text(ids)


def score_by_torchmetrics(clip, paths, texts):
    from torchmetrics.multimodal.clip_score import CLIPScore as Reference
    features = Features(clip)
    reference = Reference(model_name_or_path=lambda: (features, features))
    reference.update([torch.from_numpy(read_levels(path)).permute(2, 0, 1) for path in paths], list(texts))
    return float(reference.compute())


def test_equals_torchmetrics_on_features_of_open_clip(tiny_clip, tmp_path):
    """Resize, crop, normalisation and both towers are open_clip's; sums and clamp are torchmetrics'."""
    paths = make_files(tmp_path)
    wanted = score_by_torchmetrics(tiny_clip, paths, WORDS)
    metric = measured(CLIPScore(NAME, tiny_clip[0]))
    metric.update_files([read_levels(path) for path in paths], WORDS, 'drawn')
    found = metric.compute()
    assert found[f'clip_score/{NAME}/drawn'] == pytest.approx(wanted, abs=2e-4) and abs(wanted) > 0.01
    images = open_images(paths)
    pair = drawn(images, WORDS, **{'s=1': images[:, None]})
    found = measured(CLIPScore(NAME, tiny_clip[0]), pair).compute()
    assert found[f'clip_score/{NAME}/s=1'] == found[f'clip_score/{NAME}/real'] == pytest.approx(wanted, abs=2e-4)


class Signs:
    """Towers whose embeddings are given: images by their first pixel, texts by name."""

    def __init__(self, texts):
        self.texts = texts

    def to(self, device):
        return self

    def embed_levels(self, images):
        angle = torch.tensor([float(image[0, 0, 0]) for image in images]).deg2rad()
        return 3 * torch.stack([angle.cos(), angle.sin()], 1)

    def embed_texts(self, texts):
        angle = torch.tensor([self.texts[text] for text in texts]).deg2rad()
        return torch.stack([angle.cos(), angle.sin()], 1)


def by_hand(*pairs, texts=dict(a=0.0, b=90.0)):
    metric = CLIPScore('hand')
    signs = Signs(texts)
    metric.towers.open = lambda device='cpu': signs
    return measured(metric, *pairs)


def pixels(*degrees):
    return torch.tensor(degrees).div(127.5).sub(1)[:, None, None, None].expand(-1, 3, 2, 2)


def test_by_hand():
    """Cosines of 60, 0 and 120 degrees, and of a second seed of 0 degrees: means over seeds, then over images."""
    seeds = torch.stack([pixels(60.0, 90.0, 120.0), pixels(0.0, 90.0, 0.0)], 1)
    metric = by_hand(drawn(pixels(0.0, 0.0, 0.0), ['a', 'b', 'a'], s=seeds))
    found = metric.compute()
    assert found['clip_score/hand/s'] == pytest.approx((75 + 100 + 25) / 3, abs=1e-3)
    assert found['clip_score/hand/real'] == pytest.approx((100 + 0 + 100) / 3, abs=1e-3)
    assert metric.samples()['clip_score/hand/s'].tolist() == pytest.approx([75, 100, 25], abs=1e-3)


def test_the_mean_is_clamped_and_not_each_image():
    """As torchmetrics: of 50 and -50 the mean is 0, of -50 alone it is 0 instead of -50."""
    both = by_hand(drawn(pixels(0.0, 0.0), ['a', 'a'], s=pixels(60.0, 120.0)[:, None])).compute()
    below = by_hand(drawn(pixels(0.0), ['a'], s=pixels(120.0)[:, None]))
    assert both['clip_score/hand/s'] == pytest.approx(0, abs=1e-3)
    assert below.compute()['clip_score/hand/s'] == 0
    assert below.samples()['clip_score/hand/s'].tolist() == pytest.approx([-50], abs=1e-3)


def test_samples_without_a_prompt_are_left_out():
    """A sample that was asked about, not drawn, has NaN in the place of its drawing."""
    drawings = pixels(60.0, 0.0)[:, None].clone()
    drawings[1] = float('nan')
    metric = by_hand(drawn(pixels(0.0, 0.0), ['a', ''], s=drawings))
    assert metric.compute()['clip_score/hand/s'] == pytest.approx(50, abs=1e-3)
    assert 'samples that are not drawn (1 image)' in metric.skipped and metric.count == 1


def test_of_a_tokenizer_reconstructions_and_texts_count():
    images = pixels(0.0, 90.0)
    pair = Batch(images=images, texts=['a', 'a']), TokenizerOutput(images=images, reconstructions=pixels(60.0, 60.0))
    found = by_hand(pair).compute()
    assert found['clip_score/hand/reconstruction'] == pytest.approx(50, abs=1e-3)
    assert found['clip_score/hand/real'] == pytest.approx(50, abs=1e-3)
    without = by_hand((Batch(images=images), TokenizerOutput(images=images, reconstructions=images)))
    assert without.compute() == {} and without.skipped == 'the data has no texts'


def test_without_weights_the_value_is_absent(tmp_path):
    images = pixels(0.0)
    metric = measured(CLIPScore(), drawn(images, ['a'], s=images[:, None]))
    assert metric.compute() == {} and 'the weights of `ViT-L-14-quickgelu` are not given' in metric.skipped
    CLIPScore().check_files()
    with pytest.raises(InputError, match='none.pt does not exist'):
        CLIPScore(NAME, str(tmp_path / 'none.pt')).check_files()


@pytest.mark.parametrize('settings, says', [
    (dict(tower='a b', weights='x'), "`tower` is 'a b'"),
    (dict(tower='ViT-L-41', weights='x'), 'does not have a model `ViT-L-41`. Did you mean'),
    (dict(tower='mine', encoder=dict(type='TimmViT'), weights='x'), 'encoder: the weights of `mine` are not given'),
    (dict(tower='ViT-B-16-SigLIP', weights='x'), 'text: `ViT-B-16-SigLIP` reads texts with the tokenizer timm/')])
def test_towers_that_are_refused(settings, says):
    with pytest.raises(InputError, match=says):
        CLIPScore(**settings).check_files()


def test_a_tag_that_cannot_be_fetched(tiny_clip, monkeypatch):
    """Before anything is measured, as one sentence."""
    def fail(*args, **options):
        raise OSError('no route to host')
    monkeypatch.setattr('open_clip.create_model', fail)
    with pytest.raises(InputError, match='weights of the towers cannot be read: OSError: no route to host'):
        CLIPScore(NAME, 'hub:openai').check_files()


def test_towers_of_other_parts(tmp_path):
    """The packaged pair of emoji."""
    cfg = resolve(load_config('configs/_base_/siglip_tiny.py'))
    metric = measured(CLIPScore('tiny', encoder=dict(cfg['encoder'], image_size=64), text=dict(cfg['text_tower'])))
    levels = [np.full((64, 64, 3), value, np.uint8) for value in (255, 0)]
    metric.update_files(levels, ['red apple', 'red apple'], 'drawn')
    assert 0 <= metric.compute()['clip_score/tiny/drawn'] <= 100


def test_protocol(tiny_clip):
    from dtbox.protocols import load_protocol
    protocol = load_protocol('configs/protocols/clip_score.py', dict(tower=NAME, tower_weights=tiny_clip[0]))
    metric, = protocol.evaluator().prototypes
    metric.check_files()
    other = load_protocol('configs/protocols/clip_score.py')
    assert metric.tower == NAME and protocol.hash != other.hash
