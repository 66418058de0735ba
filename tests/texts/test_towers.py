"""Text towers: sizes, ids, and weights in every layout of keys."""
import json

import pytest
import torch

from dtbox.errors import InputError
from dtbox.registry import TEXTS
from dtbox.texts.towers import TextTower

CFG = dict(context_length=4, vocab_size=6, width=32, heads=2, layers=2)
SIGLIP = dict(no_causal_mask=True, pool_type='last', proj_bias=True, norm_kwargs=dict(eps=1e-6),
              act_kwargs=dict(approximate='tanh'))


def tower(**args):
    return TEXTS.build(dict(dict(type='OpenCLIPText', embed_dim=16, text_cfg=CFG), **args)).eval()


def file_tokenizer(words, length=4):
    return dict(type='FileTokenizer', file=words, context_length=length)


@pytest.mark.parametrize('cfg', [CFG, {**CFG, **SIGLIP}])
def test_by_sizes(cfg):
    text = tower(text_cfg=cfg)
    out = text(torch.tensor([[2, 3, 0, 0], [2, 3, 0, 0], [5, 0, 0, 0]]))
    assert out.shape == (3, 16) == (3, text.pooled_dim)
    assert torch.allclose(out[0], out[1], atol=1e-5)
    assert not torch.allclose(out[0], out[2])
    assert text.logit_scale.item() == pytest.approx(2.302585)
    assert text.logit_bias.item() == -10
    assert text.logit_scale.requires_grad


def test_scale_and_bias_begin_as_those_of_siglip(words):
    """exp(scale) = 10 and bias = -10 (SigLIP, arXiv 2303.15343, section 3.2), in a tower of one's own, too."""
    mean = dict(type='MeanPoolText', embed_dim=8, width=16, depth=1, heads=2, tokenizer=file_tokenizer(words))
    for text in (TextTower(), tower(), TEXTS.build(mean)):
        assert text.logit_scale.exp().item() == pytest.approx(10, rel=1e-6) and text.logit_bias.item() == -10


def test_sizes_follow_from_the_tokenizer(words):
    text = tower(text_cfg=dict(width=32, heads=2, layers=1), tokenizer=file_tokenizer(words, 5))
    assert (text.tower.vocab_size, text.tower.context_length) == (6, 5)
    assert torch.equal(text.ids(['red fox']), torch.tensor([[2, 3, 0, 0, 0]]))
    assert torch.equal(text.ids('red fox'), text.ids(['red fox']))
    assert text(text.ids(('red', 'fox'))).shape == (2, 16)


@pytest.mark.parametrize('cfg, says', [
     (dict(context_length=8), r'ids below 6 in texts of 4, the tower has 6 ids and texts of 8'),
     (dict(vocab_size=5), r'the tower has 5 ' r'ids')])
def test_sizes_that_disagree_with_the_tokenizer(words, cfg, says):
    with pytest.raises(InputError, match=says):
        tower(text_cfg={**CFG, **cfg}, tokenizer=file_tokenizer(words))


def test_spare_ids_are_fine(words):
    assert tower(text_cfg=dict(CFG, vocab_size=64),
                 tokenizer=file_tokenizer(words)).ids(['fox']).tolist() == [[3, 0, 0, 0]]


@pytest.mark.parametrize('ids, says', [
     (torch.tensor([[0, 6]]), 'reach from 0 to 6; this tower has the ids 0 to 5'),
     (torch.tensor([[-1, 0]]), 'reach from -1 to 0'),
     (torch.zeros(1, 5).long(), r'torch\.int64 \[1, 5\]; expected int64 \[T, L\], L up to 4'),
     (torch.zeros(4).long(), r'\[4\]; expected'), (torch.zeros(1, 4), r'token ids are torch\.float32')])
def test_ids_are_checked(ids, says):
    with pytest.raises(InputError, match=says):
        tower().ids(ids)


def test_ids_pass_through():
    ids = torch.tensor([[0, 5, 1, 2]])
    assert torch.equal(tower().ids(ids), ids) and tower()(torch.zeros(0, 4).long()).shape == (0, 16)


def test_strings_without_tokenizer():
    with pytest.raises(InputError, match=r'strings came, but this text tower has no tokenizer\. Hand in token ids'):
        tower().ids(['red'])


@pytest.mark.parametrize('args, says', [
    (dict(text_cfg=None), 'needs `name`, or `embed_dim` and `text_cfg`'), (dict(embed_dim=None), 'needs `name`'),
    (dict(text_cfg=dict(CFG, widht=3)), r'^text_cfg: open_clip\'s text config takes no `widht`\. Did you mean `width`'),
    (dict(name='ViT-B-33', text_cfg=None), r'open_clip does not have a model `ViT-B-33`\. Did you mean'),
    (dict(text_cfg=dict(CFG, hf_model_name='bert')), 'Hugging Face model, which is not supported')])
def test_what_cannot_be_built(args, says):
    with pytest.raises(InputError, match=says):
        tower(**args)


@pytest.fixture
def clip(tmp_path):
    """Name of a tiny open_clip model; its text tower has the sizes of CFG."""
    import open_clip
    path = tmp_path / 'dtbox-text.json'
    vision = dict(image_size=32, layers=1, width=32, head_width=16, patch_size=16)
    path.write_text(json.dumps(dict(embed_dim=16, quick_gelu=True, vision_cfg=vision, text_cfg=CFG)))
    open_clip.add_model_config(path)
    return path.stem


@pytest.mark.parametrize('custom', [False, True])
def test_weights_of_a_whole_open_clip_model(clip, tmp_path, custom):
    """CLIP keeps the text tower's names bare, CustomTextCLIP under `text.`; scale and bias come along."""
    import open_clip
    model = open_clip.create_model(clip, force_custom_text=custom, init_logit_bias=-7.0).eval()
    torch.save(model.state_dict(), tmp_path / 'w.pt')
    assert any(k.startswith('text.') for k in model.state_dict()) == custom
    text = tower(name=clip, embed_dim=None, text_cfg=None, weights=str(tmp_path / 'w.pt'))
    text.init_weights()
    ids = torch.tensor([[2, 3, 5, 0], [1, 5, 0, 0]])
    assert torch.allclose(text(ids), model.encode_text(ids), atol=1e-6)
    assert text.logit_scale.item() == pytest.approx(model.logit_scale.item()) and text.logit_bias.item() == -7


def test_bare_weights_of_the_tower(tmp_path):
    source = tower()
    torch.save(source.tower.state_dict(), tmp_path / 'w.pt')
    text = tower(weights=str(tmp_path / 'w.pt'), logit_scale=1.0)
    text.init_weights()
    assert torch.equal(text.tower.text_projection, source.tower.text_projection) and text.logit_scale.item() == 1


def test_weights_of_a_tokenizers_checkpoint(tmp_path):
    source = tower(logit_scale=3.0, logit_bias=-2.0)
    torch.save({f'text.{k}': v for k, v in source.state_dict().items()} | {'head.fc.weight': torch.ones(1)},
               tmp_path / 'w.pt')
    text = tower(weights=str(tmp_path / 'w.pt'), prefix='text.')
    text.init_weights()
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in text.state_dict().items())
    assert (text.logit_scale.item(), text.logit_bias.item()) == (3, -2)


def test_weights_of_a_deeper_tower(tmp_path):
    torch.save({**tower(text_cfg=dict(CFG, layers=3)).tower.state_dict(), 'visual.proj': torch.ones(1)},
               tmp_path / 'w.pt')
    with pytest.raises(InputError, match=r'12 left over: transformer\.resblocks\.2\.'):
        tower(weights=str(tmp_path / 'w.pt')).init_weights()


def test_weights_that_do_not_fit(tmp_path):
    torch.save(tower(text_cfg=dict(CFG, vocab_size=9)).tower.state_dict(), tmp_path / 'w.pt')
    with pytest.raises(InputError, match=r'wrong shape: token_embedding\.weight: \(9, 32\) in the file, \(6, 32\)'):
        tower(weights=str(tmp_path / 'w.pt')).init_weights()
    with pytest.raises(InputError, match=r'missing: positional_embedding'):
        tower(weights=str(tmp_path / 'w.pt'), prefix='text.').init_weights()


def test_a_tag_of_open_clip_needs_a_name():
    tower = TEXTS.build(dict(type='OpenCLIPText', embed_dim=8, weights='hub:webli', text_cfg=dict(
        context_length=4, vocab_size=6, width=8, heads=1, layers=1)))
    with pytest.raises(InputError, match="`weights` is 'hub:webli', a tag of open_clip, but the tower has no `name`"):
        tower.init_weights()
