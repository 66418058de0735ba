"""The teacher is a fixed reference: no mode of the model around it changes what it gives."""
import torch

from dtbox.training.teacher import Teacher


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
