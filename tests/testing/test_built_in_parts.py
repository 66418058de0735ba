"""Every built-in encoder, decoder, loss, metric, dataset, head, language model, visual embedding and visual head keeps
the contract of its kind."""
import json

import pytest
import torch

from dtbox.evaluation import towers
from dtbox.layout import Grid
from dtbox.registry import ALL
from dtbox.testing import CONTRACTS, check_part, run_checks
from tests import format_data, shard_data
from tests.benchmark_data import WRITERS, write_mmbench
from tests.conversation_data import llava, write_rows
from tests.tiny_run import write_photos
from tests.token_kit import write_tokens

TIMM = dict(embed_dim=32, depth=2, num_heads=2)
ENCODERS = {
    'TimmViT': dict(type='TimmViT'), 'SigLIP': dict(type='SigLIP'), 'CNNEncoder': dict(type='CNNEncoder'),
    'MAGVIT2Encoder': dict(type='MAGVIT2Encoder'), 'MaskGITEncoder': dict(type='MaskGITEncoder'),
    'CNNEncoder without attention': dict(type='CNNEncoder', image_size=16, channels=32, multipliers=(1, 1), blocks=1,
                                         latent_channels=8, attention_resolutions=(), middle_attention=False),
    'TimmViT with a class token': dict(type='TimmViT', name='vit_tiny_patch16_224', image_size=48, model_args=TIMM),
    'TimmViT with registers': dict(type='TimmViT', name='vit_small_patch14_reg4_dinov2', image_size=42,
                                   model_args=TIMM),
    'TimmViT with rotary positions': dict(type='TimmViT', name='vit_small_patch16_dinov3', image_size=48,
                                          model_args=TIMM),
    'TimmViT of wide images': dict(type='TimmViT', name='vit_tiny_patch16_224', image_size=(32, 64), model_args=TIMM),
    'CNNEncoder of wide images': dict(type='CNNEncoder', image_size=(16, 32), channels=32, multipliers=(1, 1),
                                      blocks=1, latent_channels=8),
    'LatentViT': dict(type='LatentViT'),
    'TimmViT of resized images': dict(type='TimmViT', name='vit_tiny_patch16_224', image_size=40, input_size=32,
                                      norm_eps=1e-5, model_args=TIMM),
    'ATokenEncoder': dict(type='ATokenEncoder'),
    'CNNEncoder of a working size': dict(type='CNNEncoder', image_size=12, working_size=16, channels=32,
                                         multipliers=(1, 1), blocks=1, latent_channels=8),
    'OpenCLIPTower': dict(type='OpenCLIPTower', name='dtbox-contract'),
    'StagedClassifier': dict(type='StagedClassifier'),
    'StagedClassifier that pools to logits': dict(type='StagedClassifier', name='test_efficientnet',
                                                  image_size=(48, 64), input_size=(24, 32), pooled='logits')}
DECODERS = {
    'ATokenDecoder': dict(type='ATokenDecoder'),
    'RAEDecoder': dict(type='RAEDecoder'),
    'CNNDecoder': dict(type='CNNDecoder'), 'ViTDecoder': dict(type='ViTDecoder'),
    'LightCNNDecoder': dict(type='LightCNNDecoder'), 'ViTaminDecoder': dict(type='ViTaminDecoder'),
    'MoVQDecoder': dict(type='MoVQDecoder'), 'TimmDecoder': dict(type='TimmDecoder'),
    'TimmDecoder with rotary positions': dict(type='TimmDecoder', name='vit_small_patch16_dinov3',
                                              head=dict(type='ConvPixels', channels=4),
                                              model_args=dict(embed_dim=32, depth=2, num_heads=2)),
    'MAGVIT2Decoder': dict(type='MAGVIT2Decoder'), 'MaskGITDecoder': dict(type='MaskGITDecoder'),
    'MaskTokenDecoder': dict(type='MaskTokenDecoder'), 'MaskTokenCodeDecoder': dict(type='MaskTokenCodeDecoder'),
    'CNNDecoder of a latent size': dict(type='CNNDecoder', in_dim=32, layout=Grid(3, 3), image_size=16, channels=32,
                                        multipliers=(1, 1, 1), blocks=1, latent_channels=32, attention_resolutions=(),
                                        latent_size=4),
    'CNNDecoder of a working size': dict(type='CNNDecoder', in_dim=32, image_size=12, working_size=16, channels=32,
                                         multipliers=(1, 1, 1), blocks=1, latent_channels=32,
                                         attention_resolutions=()),
    'CNNDecoder with a plain convolution': dict(type='CNNDecoder', in_dim=8, image_size=16, channels=32,
                                                multipliers=(1, 1, 1), blocks=1,
                                                latent_channels=32, post_quant=False)}
LOSSES = {name: dict(type=name) for name in ('L1Loss', 'L2Loss', 'SemanticLoss', 'PooledLoss', 'CommitmentLoss',
                                             'QuantizerLoss',
                                             'SigmoidContrastiveLoss', 'SoftmaxContrastiveLoss',
                                             'FeaturePerceptualLoss')}
LOSSES.update({'CommitmentLoss of one vocabulary': dict(type='CommitmentLoss', vocabularies='pixel', kind='entropy'),
               'QuantizerLoss of one vocabulary': dict(type='QuantizerLoss', vocabularies=['semantic']),
               'LPIPSLoss': dict(type='LPIPSLoss', net='squeeze', weights='SQUEEZE'),
               'GramLoss': dict(type='GramLoss', net='squeeze', weights='SQUEEZE'),
               'FeatureGramLoss': dict(type='FeatureGramLoss'),
               'ClassifierPerceptualLoss': dict(type='ClassifierPerceptualLoss', name='test_efficientnet')})
METRICS = {name: dict(type=name) for name in ('PSNR', 'SSIM', 'L1', 'TokenCosine', 'FrechetDistance', 'Retrieval',
                                              'ZeroShot', 'CodeUsage',
                                              'KNN', 'LinearProbe', 'RegionError', 'RegionZeroShot', 'FrameChange',
                                              'FID', 'AnswerAccuracy', 'CaptionScore', 'ClosedLoop',
                                              'CodeLikelihood', 'DrawingFrechet', 'DrawingScore')}
METRICS.update({name: dict(type=name) for name in ('CIDErD', 'GQAAccuracy', 'MME', 'POPE', 'VQAAccuracy')})
METRICS['MultipleChoice'] = dict(type='MultipleChoice', rule='vlmevalkit', circular=True)
METRICS['POPE of lmms-eval'] = dict(type='POPE', rule='lmms_eval')
METRICS['ClassKept'] = dict(type='ClassKept', encoder=dict(type='StagedClassifier', name='test_efficientnet',
                                                           image_size=32, pooled='logits'))
METRICS['DrawingClass'] = dict(type='DrawingClass', prompt='{}', each=2, photographs='PHOTOGRAPHS', encoder=dict(
    type='StagedClassifier', name='test_efficientnet', image_size=32))
METRICS['LPIPS'] = dict(type='LPIPS', net='squeeze', weights='SQUEEZE')
TOWER = dict(encoder=dict(type='TimmViT', name='vit_base_patch16_siglip_224', image_size=32,
                          model_args=dict(embed_dim=16, depth=1, num_heads=2, patch_size=8)))
METRICS['TowerFrechet'] = dict(type='TowerFrechet', tower='tiny', **TOWER)
METRICS['CLIPScore'] = dict(type='CLIPScore', tower='tiny', **TOWER, text=dict(
    type='MeanPoolText', embed_dim=16, width=16, depth=1, heads=2,
    tokenizer=dict(type='FileTokenizer', file='dtbox://siglip-tiny-twemoji/tokenizer.json', context_length=8)))
HEADS = {'TrunkPool': dict(type='TrunkPool'), 'MeanPool': dict(type='MeanPool'),
         'MeanPool of a vocabulary': dict(type='MeanPool', out_dim=8, reads='a')}
VISUAL_EMBEDDINGS = {name: dict(type=name) for name in ('CodesEmbedding', 'FeaturesEmbedding', 'LearnedEmbedding')}
VISUAL_EMBEDDINGS['CodesEmbedding of one stream'] = dict(type='CodesEmbedding', streams=['pixel'])
VISUAL_HEADS = {name: dict(type=name) for name in ('DepthHead', 'ParallelHead', 'DelayHead', 'FlattenHead')}
SMALL = dict(type='DepthHead', inner=16, blocks=1, heads=2)
VISUAL_HEADS.update({
    'DepthHead, semantic first': dict(SMALL, order='semantic_first'),
    'DepthHead, pixel first': dict(SMALL, order='pixel_first', depth_input='concat', recompute=True),
    'DepthHead, joint': dict(SMALL, order='joint', chunk=5),
    'DepthHead of one stream': dict(SMALL, streams=['semantic']),
    'FlattenHead, stream by stream': dict(type='FlattenHead', by='stream', stream_order=['semantic', 'pixel'])})
LM = dict(vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
          num_key_value_heads=2, max_position_embeddings=64)
LMS = {'HFCausalLM': dict(type='HFCausalLM'),
       'HFCausalLM with adapters': dict(type='HFCausalLM', config=dict(model_type='llama', **LM),
                                        lora=dict(r=2, init_lora_weights=False)),
       'HFCausalLM, eager, recomputed': dict(type='HFCausalLM', config=dict(model_type='qwen3', head_dim=16, **LM),
                                             attention='eager', recompute=True)}
AUGMENT = [dict(type='RandomResizedCrop', size=16), dict(type='RandomFlip'), dict(type='PackImage')]
DATASETS = {
    'Twemoji': dict(type='Twemoji', pipeline=[dict(type='EmojiAugment', size=32), dict(type='PackImage')]),
    'CIFAR10': dict(type='CIFAR10', pipeline=AUGMENT), 'ImageFolder': dict(type='ImageFolder', pipeline=AUGMENT),
    'ImageNet': dict(type='ImageNet', split='val'), 'CocoCaptions': dict(type='CocoCaptions', split='val'),
    'CocoObjects': dict(type='CocoObjects', split='val'), 'LVIS': dict(type='LVIS', split='val'),
    'Captions': dict(type='Captions', split='all'), 'Caltech101': dict(type='Caltech101', pipeline=AUGMENT),
    'Photographs': dict(type='Photographs', pipeline=AUGMENT),
    'Shards': dict(type='Shards'), 'Video': dict(type='Video'), 'ConversationFiles': dict(type='ConversationFiles'),
    'TokenShards': dict(type='TokenShards'),
    'ClassDraw': dict(type='ClassDraw'), 'ClassTalk': dict(type='ClassTalk'), 'CaptionTalk': dict(type='CaptionTalk'),
    'TwemojiDraw': dict(type='TwemojiDraw'), 'TwemojiTalk': dict(type='TwemojiTalk', questions=3),
    **{name: dict(type=name) for name in WRITERS},
    'VLMEvalKitTSV': dict(type='VLMEvalKitTSV', prompt='{hint}{question} {options}', rotations='make'),
    'SEEDQuestions': dict(type='SEEDQuestions', prompt='{question} {options}'),
    'AskedCaptions': dict(type='AskedCaptions', data=dict(type='Twemoji', split='variants', limit=4),
                          pipeline=[dict(type='EmojiPlace', size=32), dict(type='PackImage')]),
    'EmojiOrFolder': dict(type='EmojiOrFolder',
                          twemoji=dict(pipeline=[dict(type='EmojiPlace', size=32), dict(type='PackImage')]))}
ELSEWHERE = {'losses': {'AdversarialLoss'}, 'datasets': {'Mixture'}}
"""What is registered but is not such a part."""


@pytest.fixture(scope='module', autouse=True)
def small_clip(tmp_path_factory):
    """A tiny open_clip model called `dtbox-contract`."""
    import open_clip
    folder = tmp_path_factory.mktemp('open_clip')
    vision = dict(image_size=32, layers=2, width=32, head_width=16, patch_size=8)
    text = dict(context_length=8, vocab_size=40, width=32, heads=2, layers=1)
    (folder / 'dtbox-contract.json').write_text(json.dumps(dict(embed_dim=16, vision_cfg=vision, text_cfg=text)))
    open_clip.add_model_config(folder)


@pytest.fixture(scope='module')
def squeeze(tmp_path_factory):
    """Random weights of LPIPS's smallest trunk, in torchvision's layout."""
    from torchvision.models import squeezenet1_1
    path = tmp_path_factory.mktemp('squeeze') / 'squeezenet.pth'
    torch.save(squeezenet1_1(weights=None).state_dict(), path)
    return str(path)


@pytest.fixture(scope='module')
def classifier(tmp_path_factory):
    """Random weights of timm's smallest EfficientNet."""
    import timm
    path = tmp_path_factory.mktemp('classifier') / 'classifier.pth'
    torch.save(timm.create_model('test_efficientnet').state_dict(), path)
    return str(path)


@pytest.fixture(scope='module')
def with_weights(tmp_path_factory):
    """A function that gives the config of a tower random weights from a file, the same in every instance."""
    folder = tmp_path_factory.mktemp('towers')

    def write(kind, cfg):
        path = folder / f'{kind}_{cfg["type"]}.pth'
        if not path.exists():
            tower = ALL[dict(encoder='encoders', text='texts')[kind]].build(cfg)
            torch.save(getattr(tower, 'trunk', tower).state_dict(), path)
        return dict(cfg, weights=str(path))
    return write


@pytest.mark.parametrize('room, table', [('encoders', ENCODERS), ('decoders', DECODERS), ('losses', LOSSES),
                                         ('metrics', METRICS),
                                         ('datasets', DATASETS), ('heads', HEADS), ('lms', LMS),
                                         ('visual_embeddings', VISUAL_EMBEDDINGS), ('visual_heads', VISUAL_HEADS)])
def test_every_part_is_here(room, table):
    """A new built-in part comes into the table of its kind."""
    ALL[room].import_from_location()
    registered = {name for name, part in ALL[room].module_dict.items() if part.__module__.startswith('dtbox.')}
    assert registered - ELSEWHERE.get(room, set()) == {cfg['type'] for cfg in table.values()}


@pytest.mark.parametrize('name', ENCODERS)
def test_encoders(name):
    check_part(ENCODERS[name])


@pytest.mark.parametrize('name', DECODERS)
def test_decoders(name):
    check_part(DECODERS[name])


@pytest.mark.parametrize('name', HEADS)
def test_heads(name):
    check_part(HEADS[name])


@pytest.mark.parametrize('name', VISUAL_EMBEDDINGS)
def test_visual_embeddings(name):
    check_part(VISUAL_EMBEDDINGS[name])


@pytest.mark.parametrize('name', VISUAL_HEADS)
def test_visual_heads(name):
    check_part(VISUAL_HEADS[name])


@pytest.mark.parametrize('name', LMS)
def test_language_models(name):
    pytest.importorskip('transformers'), pytest.importorskip('peft')
    check_part(LMS[name])


@pytest.mark.parametrize('name', LOSSES)
def test_losses(name, request):
    cfg = LOSSES[name]
    if 'name' in cfg:
        cfg = dict(cfg, weights=request.getfixturevalue('classifier'))
    check_part(cfg if cfg.get('weights') != 'SQUEEZE' else {**cfg, 'weights': request.getfixturevalue('squeeze')})


class FewFeatures:
    """A network of few features in the place of Inception."""

    def __call__(self, images):
        features = torch.nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1)
        return features @ torch.randn(12, 5, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize('name', METRICS)
def test_metrics(name, request, tmp_path, monkeypatch, with_weights):
    cfg, skip = METRICS[name], []
    cfg = {key: with_weights(key, value) if key in ('encoder', 'text') else value for key, value in cfg.items()}
    if name == 'DrawingClass':
        format_data.class_folders(tmp_path, [f'text {i}' for i in range(0, 12, 2)])
        cfg['photographs'] = dict(type='ImageFolder', data_root=str(tmp_path), split='all', min_size=8)
    if name in ('ClassKept', 'DrawingClass'):  # built once for all checks
        opened, real = [], towers.open_towers
        monkeypatch.setattr(towers, 'open_towers', lambda *args: (opened or opened.append(real(*args)) or opened)[0])
    # slow to start in ranks; they sum like FrechetDistance, PSNR and KNN
    if name in ('ClassKept', 'DrawingClass', 'FID', 'LPIPS', 'LinearProbe'):
        skip = ['two_ranks']
    monkeypatch.setattr('dtbox.evaluation.fid.open_inception', lambda *args: FewFeatures())
    check_part(cfg if cfg.get('weights') is None else {**cfg, 'weights': request.getfixturevalue('squeeze')}, skip=skip)


def write_data(name, folder, request):
    """Write data for a dataset; returns the arguments that name it."""
    if name == 'CIFAR10':
        return dict(data_root=str(request.getfixturevalue('cifar_shards')))
    if name in ('ImageFolder', 'Photographs'):
        write_photos(folder, train=6, heldout=2)
    elif name == 'Caltech101':
        format_data.caltech101(folder)
    elif name == 'ImageNet':
        format_data.imagenet(folder)
    elif name == 'CocoCaptions':
        format_data.coco_captions(folder)
    elif name in ('CocoObjects', 'LVIS'):
        format_data.coco_objects(folder, lvis=name == 'LVIS')
    elif name == 'Captions':
        format_data.karpathy(folder)
    elif name in ('ClassDraw', 'ClassTalk'):
        return dict(photographs=dict(type='Caltech101', data_root=str(format_data.caltech101(folder))))
    elif name == 'CaptionTalk':
        return dict(photographs=dict(type='Captions', data_root=str(format_data.karpathy(folder)), split='all'))
    elif name == 'Shards':
        return dict(urls=f'{shard_data.write_set(folder, [3, 2])}/s-{{0..1}}.tar')
    elif name == 'ConversationFiles':
        write_rows(folder, [llava(str(i), 'a.png', ('<image> what?', f'a cat {i}')) for i in range(4)])
        return dict(data_root=str(folder), file='data.jsonl')
    elif name == 'TokenShards':
        pytest.importorskip('pyarrow')
        write_tokens(folder, views=2)
    elif name == 'VLMEvalKitTSV':
        write_mmbench(folder, rotations=False)
    elif name in WRITERS:
        WRITERS[name](folder)
    elif name == 'Video':
        format_data.frame_folder(folder / 'clip')
    return {} if 'moji' in name or name == 'AskedCaptions' else dict(data_root=str(folder))


@pytest.mark.parametrize('name', DATASETS)
def test_datasets(name, tmp_path, request):
    check_part({**DATASETS[name], **write_data(name, tmp_path, request)})


def test_every_check_says_what_it_asks():
    """The docstring of a check is part of the report where it fails."""
    assert all(check.__doc__ for contract in CONTRACTS.values() for check in contract.checks.values())


def test_what_applies():
    """Only these checks leave these parts out."""
    def left_out(cfg):
        return {r.name for r in run_checks(cfg, skip=['two_ranks'] if cfg['type'] in METRICS else [])
                if r.status == 'does not apply'}
    sound = [ENCODERS['TimmViT'], DECODERS['ViTDecoder'], HEADS['MeanPool'], LOSSES['L1Loss'], METRICS['PSNR'],
             LMS['HFCausalLM']]
    assert [left_out(cfg) for cfg in sound] == [set()] * len(sound)
    assert left_out(ENCODERS['CNNEncoder']) == {'norms', 'pools', 'pools_regions'}
    assert left_out(ENCODERS['TimmViT with a class token']) == {'pools_regions'}
    assert left_out(METRICS['Retrieval']) == {'merge'}
