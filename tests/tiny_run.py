"""A recipe so small that a test trains it in a second or two: DualToken in shape, on generated photographs of 32
pixels."""
import numpy as np
import pytest
import torch
from PIL import Image

CONFIG = '''
image_size = 32
data_root = {photos!r}
encoder = dict(type='TimmViT', name='vit_base_patch16_siglip_224', weights={weights!r},
               model_args=dict(embed_dim=32, depth=3, num_heads=2, patch_size=8))
quantizer = dict(type='RQ', size=64, dim=8, depth=2)
model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${{image_size}}', encoders=dict(trunk='${{encoder}}'),
        vocabularies=dict(pixel=dict(taps=1, quantizer='${{quantizer}}'),
                          semantic=dict(taps=2, reinject=2, quantizer='${{quantizer}}')),
        decoder=dict(type='LightCNNDecoder', reads=['pixel'], width=32, blocks=1), head=dict(type='TrunkPool')),
    teacher=dict(encoder='${{encoder}}', layer=2),
    losses=dict(semantic=dict(type='SemanticLoss'), pooled=dict(type='PooledLoss'),
                commitment=dict(type='CommitmentLoss'),
                pixels=dict(type='L2Loss', weight=5.0)),
    gan='${{gan}}')
gan = dict(discriminator=dict(type='PatchDiscriminator', width=32),
           adversarial=dict(type='AdversarialLoss', start=2, against=('l2',)))
train_dataloader = dict(batch_size=4, dataset=dict(
    type='ImageFolder', data_root='${{data_root}}', split='train',
    pipeline=[dict(type='RandomResizedCrop', size='${{image_size}}'), dict(type='PackImage')]))
val_dataloader = dict(batch_size=4, dataset=dict(
    type='ImageFolder', data_root='${{data_root}}', split='heldout',
    pipeline=[dict(type='ResizeCrop', size='${{image_size}}'), dict(type='PackImage')]))
val_evaluator = dict(
    psnr=dict(type='PSNR'), ssim=dict(type='SSIM'), frechet=dict(type='FrechetDistance'),
    token_cosine=dict(type='TokenCosine'),
    retrieval=dict(type='Retrieval'), code_usage=dict(type='CodeUsage'))
optim_wrapper = dict(generator=dict(optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=1.0)),
                     discriminator=dict(optimizer=dict(type='Adam', lr=2e-4)))
param_scheduler = dict(generator=dict(type='WarmupCosineLR', total=6))
train_cfg = dict(max_iters=6)
hooks = dict(
    log=dict(type='Log', interval=2), checkpoint=dict(type='Checkpoint', interval=6), results=dict(type='Results'),
    images=dict(type='Images', interval=3, count=4, per_set=6))
seed = 0
'''


def write_photos(folder, train=16, heldout=8):
    """Write generated photographs of 40 x 48 pixels: smooth colours with a disc."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48] / 40
    for part, count in (('train', train), ('val', heldout)):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            a, b, c = generator.uniform(0, 200, (3, 3))
            pixels = a + b * x[..., None] * 0.5 + c * y[..., None] * 0.5
            pixels[(x - generator.uniform(.2, 1)) ** 2
                   + (y - generator.uniform(.2, .8)) ** 2 < 0.06] = generator.uniform(0, 255, 3)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / part / f'photo_{i:02d}.png')


def write_config(folder, weights_seed=0):
    """Write photographs, encoder weights and config.py into a folder; returns the path of the config."""
    from dtbox.registry import ENCODERS
    if not (folder / 'photos').exists():
        write_photos(folder / 'photos')
    torch.manual_seed(weights_seed)
    encoder = ENCODERS.build(dict(type='TimmViT', name='vit_base_patch16_siglip_224', image_size=32,
                                  model_args=dict(embed_dim=32, depth=3, num_heads=2, patch_size=8)))
    weights = folder / f'encoder_{weights_seed}.pt'
    torch.save(encoder.trunk.state_dict(), weights)
    path = folder / f'recipe_{weights_seed}.py'
    path.write_text(CONFIG.format(photos=str(folder / 'photos'), weights=str(weights)))
    return path


def train(config, folder, **options):
    """Train a config file; returns the Runner."""
    from dtbox.config import load_config
    from dtbox.training.runner import Runner
    runner = Runner.from_config(load_config(config, {k.replace('__', '.'): v for k, v in options.items()}),
                                work_dir=str(folder))
    runner.train()
    return runner


@pytest.fixture(scope='session')
def tiny_config(tmp_path_factory):
    """The tiny recipe: path of its config file, beside its photographs."""
    return write_config(tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='session')
def tiny_run(tiny_config):
    """The run folder of the tiny recipe, trained; not to be changed."""
    folder = tiny_config.parent / 'run'
    train(tiny_config, folder)
    return folder
