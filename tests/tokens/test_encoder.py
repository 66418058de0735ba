"""The rule of batches: codes depend on the image alone, and on what the fingerprint names."""
import numpy as np
import pytest
import torch

from dtbox.errors import InputError
from dtbox.structures import Batch
from dtbox.tokens import encoder as encoders
from dtbox.tokens.encoder import ALIGNMENT, align_tensors, make_aligned
from dtbox.tokens.views import View, ViewRule
from dtbox.training.preprocess import prepare
from tests.tokens.kit import make_encoder


def draw(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8))


def misalign(tensor):
    """A copy whose storage begins one element after a multiple of 64 bytes."""
    room = make_aligned(torch.zeros(tensor.numel() + 16, dtype=tensor.dtype))
    return room[1:1 + tensor.numel()].view(tensor.shape).copy_(tensor)


def equal(found, expected):
    return all(np.array_equal(a[0][name], b[0][name]) for a, b in zip(found, expected, strict=True) for name in b[0])


def test_codes_are_those_of_the_tokenizer(encoder):
    images = draw(4)
    batch = prepare(Batch(images=torch.stack(images)), 'cpu').images
    found, expected = encoder.finish(encoder.start(images)), encoder.tokenizer.encode(batch)
    assert set(found[0][0]) == {'pixel', 'semantic'} and len(found) == 4
    for i, (codes, embedding) in enumerate(found):
        assert embedding is None
        for name, value in codes.items():
            assert value.shape == (16, 2) and np.array_equal(value, expected[name][i].numpy())


def test_neighbours_change_nothing(encoder):
    """An image at the same place of a batch has the same codes, whether others are there, or zeros."""
    images, others = draw(4), draw(4, seed=2)
    alone = encoder.finish(encoder.start(images[:1]))
    for more in (images[1:], others[1:], others[1:2]):
        assert equal(encoder.finish(encoder.start([images[0], *more]))[:1], alone)


def test_all_batches_have_one_shape(encoder, monkeypatch):
    shapes, encode = [], encoder.model.encode
    monkeypatch.setattr(encoder.model, 'encode', lambda images, names: shapes.append(images.shape)
                        or encode(images, names))
    for count in (1, 3, 4):
        assert len(encoder.finish(encoder.start(draw(count)))) == count
    assert shapes == [(4, 3, 32, 32)] * 3


def test_one_thread_whoever_calls(encoder):
    torch.set_num_threads(2)
    encoder.start(draw(1))
    assert torch.get_num_threads() == 1


def test_weights_that_lie_anywhere_give_the_same_codes(tiny_run, encoder, monkeypatch):
    """Weights of a file that is mapped, or of a larger tensor, begin at any multiple of four bytes."""
    load = encoders.load

    def load_misaligned(*args, **kwargs):
        tokenizer = load(*args, **kwargs)
        for tensor in (*tokenizer.model.parameters(), *tokenizer.model.buffers()):
            if tensor.is_floating_point():
                tensor.data = misalign(tensor.data)
        assert any(p.data_ptr() % ALIGNMENT for p in tokenizer.model.parameters())
        return tokenizer
    monkeypatch.setattr(encoders, 'load', load_misaligned)
    other = make_encoder(tiny_run)
    assert not any(t.data_ptr() % ALIGNMENT for t in (*other.model.parameters(), *other.model.buffers()) if t.numel())
    assert other.fingerprint == encoder.fingerprint
    images = draw(4)
    assert equal(other.finish(other.start(images)), encoder.finish(encoder.start(images)))


def test_align_keeps_values_and_ties():
    model = torch.nn.ModuleList([torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)])
    model[1].weight = model[0].weight
    before = model[0].weight.detach().clone()
    model[0].weight.data = misalign(model[0].weight.data)
    align_tensors(model)
    assert model[0].weight.data_ptr() % ALIGNMENT == 0 and model[1].weight is model[0].weight
    assert torch.equal(model[0].weight, before)


def test_fingerprint_names_what_codes_depend_on(tiny_run, encoder):
    def differences(**more):
        return make_encoder(tiny_run, **more).fingerprint.differences(encoder.fingerprint)
    assert encoder.fingerprint.batch == 'batch=4,padded,threads=1,aligned=64'
    assert encoder.fingerprint.device.startswith('cpu:')
    assert differences() == [] and differences(decoders=3) == []
    assert differences(batch=8) == ['batch'] and differences(dtype='bfloat16') == ['dtype']
    for more in (dict(views=ViewRule(2)), dict(embedding=True), dict(vocabularies=('pixel',))):
        assert differences(**more) == ['pipeline']


def test_what_a_shard_says_of_itself(encoder):
    meta = encoder.meta
    assert [(s.name, s.positions, s.depth, s.size) for s in meta.streams] == [
        ('pixel', 16, 2, 64), ('semantic', 16, 2, 64)]
    assert meta.layout == encoder.tokenizer.layout.to_dict() and set(meta.versions) >= {'torch', 'pyarrow'}


def test_embeddings(tiny_run, encoder):
    """They are those of the tokenizer, in float16, and the codes beside them stay the same."""
    other, images = make_encoder(tiny_run, embedding=True), draw(4)
    found = other.finish(other.start(images))
    assert equal(found, encoder.finish(encoder.start(images)))
    batch = prepare(Batch(images=torch.stack(images)), 'cpu').images
    with torch.no_grad():
        expected = encoder.tokenizer.embed_image(batch).numpy()
    assert found[1][1].dtype == np.float16 and other.meta.embedding == len(found[1][1]) == expected.shape[1]
    np.testing.assert_allclose(np.stack([e for _, e in found]), expected, atol=1e-3)  # float16 has 11 bits


def test_one_vocabulary(tiny_run, encoder):
    other, images = make_encoder(tiny_run, vocabularies=('pixel',)), draw(2)
    codes = other.finish(other.start(images))[0][0]
    assert list(codes) == ['pixel'] and [s.name for s in other.meta.streams] == ['pixel']
    assert np.array_equal(codes['pixel'], encoder.finish(encoder.start(images))[0][0]['pixel'])


@pytest.mark.parametrize('more, says', [
    (dict(batch=0), '--batch: got 0'), (dict(vocabularies=('pixl',)), '--vocabularies.*Did you mean `pixel`'),
    (dict(device='cuda:77'), 'cuda'), (dict(run='gone'), 'gone does not exist')])
def test_what_cannot_be(tiny_run, more, says):
    with pytest.raises(InputError, match=says):
        make_encoder(**{'run': tiny_run, **more})


def test_a_run_without_vocabularies(tiny_run, monkeypatch):
    load = encoders.load

    def load_without(*args, **kwargs):
        tokenizer = load(*args, **kwargs)
        tokenizer.model.streams.clear()
        return tokenizer
    monkeypatch.setattr(encoders, 'load', load_without)
    with pytest.raises(InputError, match='RUN: .* has no vocabularies with codes'):
        make_encoder(tiny_run)


def test_transform_is_that_of_evaluation(encoder):
    from PIL import Image
    image = Image.fromarray(np.arange(40 * 48 * 3, dtype=np.uint8).reshape(40, 48, 3))
    expected = encoder.tokenizer.prepare(image)[0]
    found = prepare(Batch(images=encoder.transform(View(0, image))[None]), 'cpu').images[0]
    assert torch.equal(found, expected)
