"""The teacher is a fixed reference: no mode of the model around it changes what it gives."""
from types import SimpleNamespace

import pytest
import torch

from dtbox.registry import ENCODERS
from dtbox.training.teacher import Teacher
from dtbox.training.teacher.trunk_sharing import find_shared_trunk

TRUNK = dict(type='TimmViT', name='vit_base_patch16_siglip_224',
             model_args=dict(embed_dim=32, depth=2, num_heads=2, patch_size=8))


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


def make_pair(trunk_sharing):
    """Return a teacher and a student whose trunk is frozen and equal to the teacher's."""
    teacher = Teacher(TRUNK, image_size=16, layer=1, trunk_sharing=trunk_sharing)
    trunk = ENCODERS.build(dict(TRUNK, image_size=16)).requires_grad_(False)
    trunk.load_state_dict(teacher.encoder.state_dict())
    return teacher, SimpleNamespace(encoders=torch.nn.ModuleDict(dict(trunk=trunk)), reinjections={})


@pytest.mark.parametrize('sharing, exact, want', [
    ('auto', True, ('trunk', 2)), ('auto', False, None), (True, True, ('trunk', 2)), (True, False, ('trunk', 2)),
    (False, True, None), (False, False, None)])
def test_when_a_trunk_is_shared(sharing, exact, want):
    """'auto' shares in float32 (`exact`) alone, True always."""
    teacher, tokenizer = make_pair(sharing)
    student = SimpleNamespace(tokenizer=tokenizer, exact=exact)
    assert teacher._find_shared_trunk(torch.rand(1, 3, 16, 16), student) == want


def test_a_trunk_with_one_sharded_weight_is_not_shared():
    """FSDP2 shards what trains; the frozen rest of such a trunk is whole on every rank."""
    teacher, tokenizer = make_pair('auto')
    list(tokenizer.encoders.parameters())[-1].full_tensor = None  # what `is_sharded` looks for
    assert find_shared_trunk(teacher.encoder, tokenizer, torch.rand(1, 3, 16, 16)) is None
