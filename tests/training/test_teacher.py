"""The teacher is a fixed reference: no mode of the model around it changes what it gives."""
from types import SimpleNamespace

import torch

from dtbox.registry import ENCODERS
from dtbox.training.teacher import Teacher
from dtbox.training.teacher.trunk_sharing import find_shared_trunk


def test_it_stays_in_evaluation_mode():
    """Dropout of its encoder stays off while the model trains, and its weights are frozen."""
    torch.manual_seed(0)
    encoder = dict(type='TimmViT', name='vit_base_patch16_siglip_224',
                   model_args=dict(embed_dim=32, depth=2, num_heads=2, patch_size=8, proj_drop_rate=0.5))
    model = torch.nn.ModuleDict(dict(teacher=Teacher(encoder, image_size=32, layer=1), student=torch.nn.Linear(2, 2)))
    model.train()
    assert model['student'].training and not any(m.training for m in model['teacher'].modules())
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(model['teacher'](images).tokens, model['teacher'](images).tokens)
    assert not any(p.requires_grad for p in model['teacher'].parameters())


def test_a_trunk_with_one_sharded_weight_is_not_shared():
    """FSDP2 shards what trains; the frozen rest of such a trunk is whole on every rank."""
    cfg = dict(type='TimmViT', name='vit_base_patch16_siglip_224', image_size=16,
               model_args=dict(embed_dim=32, depth=2, num_heads=2, patch_size=8))
    teacher = ENCODERS.build(cfg).requires_grad_(False).eval()
    trunk = ENCODERS.build(cfg).requires_grad_(False)
    trunk.load_state_dict(teacher.state_dict())
    student = SimpleNamespace(encoders=torch.nn.ModuleDict(dict(trunk=trunk)), reinjections={})
    images = torch.rand(1, 3, 16, 16)
    assert find_shared_trunk(teacher, student, images) == ('trunk', 2)
    list(trunk.parameters())[-1].full_tensor = None  # what `is_sharded` looks for
    assert find_shared_trunk(teacher, student, images) is None
