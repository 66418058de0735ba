"""The Python API: images in every form, codes, flat ids, features, embeddings."""
import numpy as np
import pytest
import torch
from PIL import Image

import dtbox
from dtbox.layout import CodeLayout, CodeOrder


@pytest.fixture
def images(golden):
    return golden['inputs']['images']


@pytest.fixture
def image():
    """An image of 32 x 32 pixels, all colours different."""
    y, x = np.mgrid[:32, :32]
    return Image.fromarray(np.stack([x * 8, y * 8, 255 - x * 4 - y * 4], -1).astype(np.uint8))


# ---- images -------------------------------------------------------------------------------------------------

def test_range_and_crop(tok):
    wide = Image.new('RGB', (64, 32), (0, 127, 255))
    wide.paste((255, 0, 0), (0, 0, 16, 32))  # outside the middle
    x = tok.prepare(wide)
    assert x.shape == (1, 3, 32, 32) and x.dtype == torch.float32
    assert x[0, :, 5, 5].tolist() == pytest.approx([-1, 127 / 127.5 - 1, 1])
    assert torch.equal(x, x[..., 5:6, 5:6].expand_as(x))


def test_tensors_pictures_paths_and_lists(tok, image, tmp_path):
    image.save(tmp_path / 'a.png')
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1
    want = tok.encode(tensor)
    for given in (image, tmp_path / 'a.png', str(tmp_path / 'a.png'), [image], (tmp_path / 'a.png',),
                  tensor.double()):
        codes = tok.encode(given)
        assert codes.keys() == want.keys() and all(torch.equal(codes[n], want[n]) for n in want)
    both = tok.encode([image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), str(tmp_path / 'a.png')])
    assert torch.equal(both['pixel'][1:], want['pixel']) and both['pixel'].shape == (2, 25, 4)
    assert not torch.equal(both['pixel'][:1], want['pixel'])


@pytest.mark.parametrize('mode', ['L', 'P', 'CMYK', 'RGBA', 'LA', '1', 'I;16', 'YCbCr'])
def test_pictures_of_every_kind(tok, image, tmp_path, mode):
    """A gray (or gray behind a half transparent layer) of every mode reaches the model as that gray."""
    gray = Image.new('L', (40, 40), 64)
    if mode == 'RGBA':
        made = Image.new('RGBA', (40, 40), (0, 0, 0, 191))  # on white: 255 * 64 / 255
    elif mode == 'LA':
        made = Image.new('LA', (40, 40), (64, 255))
    elif mode == '1':
        made, gray = Image.new('1', (40, 40), 1), Image.new('L', (40, 40), 255)
    elif mode == 'I;16':
        made = Image.fromarray(np.full((40, 40), 64 * 257, np.uint16))
    else:
        made = gray.convert(mode) if mode in 'LP' else gray.convert('RGB').convert(mode)
    x = tok.prepare(made)
    want = np.array(gray)[0, 0] / 127.5 - 1
    assert (x - want).abs().max() <= 2 / 127.5 and x.shape == (1, 3, 32, 32)


def test_rotated_by_exif(tok, image, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    image.save(tmp_path / 'turned.png', exif=exif)
    assert torch.equal(tok.prepare(tmp_path / 'turned.png'), tok.prepare(image.transpose(Image.Transpose.ROTATE_270)))
    assert not torch.equal(tok.prepare(tmp_path / 'turned.png'), tok.prepare(image))


def test_files_that_are_no_pictures(tok, image, tmp_path):
    image.resize((400, 400)).save(tmp_path / 'cut.jpg')
    data = (tmp_path / 'cut.jpg').read_bytes()
    (tmp_path / 'cut.jpg').write_bytes(data[:len(data) // 2])
    (tmp_path / 'text.png').write_text('hello')
    for name, says in (('cut.jpg', r'cut\.jpg cannot be decoded .*truncated'), ('text.png',
                                                                                r'text\.png is in no image format'),
                       ('gone.png', r'gone\.png does not exist'), ('', r'is a folder')):
        with pytest.raises(dtbox.InputError, match=says):
            tok.encode([image, tmp_path / name])


@pytest.mark.parametrize('given, says', [
     ([], 'the batch is empty'), (torch.zeros(0, 3, 32, 32), 'the batch is empty'),
     (torch.zeros(1, 3, 32, 31), r'\[1, 3, 32, 31\]; expected .*32, 32'),
     (torch.zeros(2, 4, 3, 32, 32), r'\[2, 4, 3, 32, 32\]; .* together: images.flatten\(0, -4\)'),
     (torch.zeros(3, 32, 32), r'\[3, 32, 32\]; expected a float tensor \[B, 3, 32, 32\]'),
     (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), r'Divide uint8 by 127\.5'),
     (np.zeros((32, 32, 3)), r'got an array float64 \[32, 32, 3\]; expected an array uint8'),
     (None, 'images are None'),
     ([np.zeros((32, 32, 3))], r'got an array float64 \[32, 32, 3\]; expected an array uint8'),
     ([torch.zeros(3, 32, 32), 'x.png'], 'a list of images holds a float32 tensor'),
     ([torch.zeros(3, 32, 32), torch.zeros(3, 32, 31)], r'have the shapes .*expected \[3,H,W\] each'),
     (torch.rand(1, 3, 32, 32) * 255, r'from .* to 25.*expected them in \[-1, 1\]'),
     (torch.full((1, 3, 32, 32), float('nan')), 'NaN or infinite')])
def test_images_that_are_none(tok, given, says):
    for call in (tok.encode, tok.reconstruct):
        with pytest.raises(dtbox.InputError, match=says):
            call(given)
    if not (torch.is_tensor(given) and given.isnan().any()):
        with pytest.raises(dtbox.InputError, match=says):
            tok.embed_image(given)


# ---- codes and back -----------------------------------------------------------------------------------------

def test_encode_decode_features(tok, images, golden):
    codes = tok.encode(images)
    assert {n: c.shape for n, c in codes.items()} == dict(pixel=(2, 25, 4), semantic=(2, 25, 4))
    assert codes['pixel'].dtype == torch.int64
    assert list(tok.encode(images, ['semantic'])) == ['semantic']
    assert torch.equal(tok.encode(images, 'pixel')['pixel'], codes['pixel'])
    features = tok.features(codes)
    with torch.no_grad():
        whole = tok.model(images)
    assert all(torch.allclose(features[n], whole.features[n], atol=1e-5) for n in codes)
    assert features['pixel'].shape == (2, 25, 64)
    assert list(tok.features({'semantic': codes['semantic']})) == ['semantic']
    made = tok.decode({'pixel': codes['pixel']}, clamp=False)
    assert torch.allclose(made, whole.reconstructions, atol=1e-5) and torch.equal(tok.decode(codes), made.clamp(-1, 1))
    assert torch.equal(tok.reconstruct(images), tok.decode(codes)) and not made.requires_grad


def test_clamp(converted):
    bright = dtbox.load(converted)
    bright.model.decoder.last_layer.mul_(1000)
    codes = {'pixel': torch.arange(100).view(1, 25, 4) % 64}
    free = bright.decode(codes, clamp=False)
    assert free.abs().max() > 1
    assert bright.decode(codes).abs().max() == 1
    assert torch.equal(bright.decode(codes), free.clamp(-1, 1))


@pytest.mark.parametrize('convert', [lambda c: c.int(), lambda c: c.to(torch.uint8),
                                     lambda c: c.numpy().astype(np.uint16), lambda c: c.tolist()])
def test_codes_may_be_stored_small(tok, images, convert):
    codes = tok.encode(images)
    small = {n: convert(c) for n, c in codes.items()}
    assert torch.equal(tok.decode(small), tok.decode(codes)) and torch.equal(tok.flat_ids(small), tok.flat_ids(codes))


@pytest.mark.parametrize('codes, says', [
     (torch.zeros(1, 25, 4), r'codes: got a float32 tensor \[1, 25, 4\]; expected a dict'),
     ({'pixle': torch.zeros(1, 25, 4).long()}, 'missing: pixel. Got: pixle'), ({}, 'missing: pixel. Got: none'),
     ({'pixel': torch.zeros(1, 24, 4).long()}, r'\[1, 24, 4\]; expected \[B, 25, ' r'4\] for the 5 x 5'),
     ({'pixel': torch.zeros(25, 4).long()}, r'\[25, 4\]'),
     ({'pixel': torch.zeros(1, 25, 3).long()}, r'\[1, 25, 3\]; expected int64 \[B, N, 4\]'),
     ({'pixel': torch.zeros(1, 25, 4)}, r'codes\.pixel: got a float32 tensor .* whole numbers'),
     ({'pixel': torch.full((1, 25, 4), 64)}, 'codes at depth 0 reach from 64 to 64'),
     ({'pixel': torch.full((1, 25, 4), -1)}, 'reach from -1 to -1; its codebook has codes 0 to 63'),
     ({'pixel': torch.zeros(1, 25, 4).long(), 'semantic': torch.zeros(2, 25, 4).long()}, 'batches of different sizes'),
     ({'pixel': 3}, r'\[\]; expected')])
def test_codes_that_are_none(tok, codes, says):
    with pytest.raises(dtbox.InputError, match=says):
        tok.decode(codes)


def test_unknown_vocabulary(tok, images):
    for call in (lambda: tok.encode(images, ['pixle']), lambda: tok.features({'pixle': torch.zeros(1, 25, 4).long()}),
                 lambda: tok.flat_ids({'pixle': torch.zeros(1, 25, 4).long()}),
                 lambda: tok.from_flat_ids(torch.zeros(1, 100).long(), ['pixle'])):
        with pytest.raises(dtbox.InputError, match=r'there is no vocabulary `pixle`\. Did you mean `pixel`\?'):
            call()


# ---- one id space -------------------------------------------------------------------------------------------

def test_flat_ids_by_hand(tok):
    assert tok.offsets == dict(pixel=[0, 64, 128, 192], semantic=[256, 320, 384, 448]) and tok.flat_size == 512
    codes = {'semantic': torch.zeros(1, 25, 4).long(), 'pixel': torch.zeros(1, 25, 4).long()}
    codes['pixel'][0, 0] = torch.tensor([5, 6, 7, 8])
    codes['pixel'][0, 1] = torch.tensor([63, 0, 63, 0])
    codes['semantic'][0, 24] = torch.tensor([1, 2, 3, 63])
    ids = tok.flat_ids(codes)
    assert ids.shape == (1, 200) and ids.dtype == torch.int64
    assert ids[0, :8].tolist() == [5, 70, 135, 200, 63, 64, 191, 192] and ids[0, -4:].tolist() == [257, 322, 387, 511]
    back = tok.from_flat_ids(ids)
    assert list(back) == ['pixel', 'semantic'] and all(torch.equal(back[n], codes[n]) for n in codes)


def test_flat_ids_of_the_golden_codes(tok, images, golden):
    """Ids of the first three tokens of each vocabulary as they were when models were first trained on them."""
    ids = tok.flat_ids(tok.encode(images))
    assert ids[0, :12].tolist() == [24, 98, 129, 231, 56, 70, 182, 226, 4, 77, 182, 242]
    assert ids[0, 100:112].tolist() == [312, 378, 391, 507, 256, 355, 441, 510, 264, 354, 398, 483]
    assert ids.sum() == 102598
    codes = torch.cat([golden['outputs'][name].reshape(2, 25, 4) for name in ('code_pix', 'code_sem')], 1)
    offsets = torch.tensor([[0, 64, 128, 192]] * 25 + [[256, 320, 384, 448]] * 25)
    assert torch.equal(ids, (codes + offsets).flatten(1))


def test_layout(tok):
    """What a dataset of codes or a language model needs to know of a tokenizer, as JSON writes it."""
    grid = dict(type='Grid', rows=5, columns=5)
    assert tok.layout.to_dict() == dict(streams=[dict(name=name, token_layout=grid, codebooks=[64] * 4)
                                                 for name in ('pixel', 'semantic')])
    assert CodeLayout.from_dict(tok.layout.to_dict()) == tok.layout == tok.model.layout


def test_flat_ids_in_another_order(tok, images):
    """At each token semantic codes before pixel codes; the ids are the same, at other places."""
    codes = tok.encode(images)
    order = CodeOrder('token', ('semantic', 'pixel'))
    ids = tok.flat_ids(codes, order)
    plain = tok.flat_ids(codes)
    assert ids[0, :8].tolist() == [*plain[0, 100:104].tolist(), *plain[0, :4].tolist()]
    back = tok.from_flat_ids(ids, order=order)
    assert all(torch.equal(back[n], codes[n]) for n in codes)


@pytest.mark.parametrize('names', [None, ['pixel'], ['semantic'], ['semantic', 'pixel']])
def test_flat_ids_there_and_back(tok, images, names):
    codes = tok.encode(images, names)
    ids = tok.flat_ids(codes)
    assert ids.shape == (2, 100 * len(codes)) and 0 <= ids.min() and ids.max() < tok.flat_size
    back = tok.from_flat_ids(ids.tolist(), names)
    assert back.keys() == codes.keys() and all(torch.equal(back[n], codes[n]) for n in codes)
    assert tok.from_flat_ids(ids[:0], names)[next(iter(codes))].shape == (0, 25, 4)


@pytest.mark.parametrize('ids, names, says', [
     (torch.zeros(1, 100).long(), None, r'\[1, 100\]; expected \[B, 200\] for pixel, semantic'),
     (torch.zeros(200).long(), None, r'\[200\]; expected'),
     (torch.zeros(1, 101).long(), ['pixel'], r'expected \[B, 100\] for pixel'),
     (torch.zeros(1, 100).long(), ['pixel'],
      r'the id 0 at place 1 of sequence 0 .*\(pixel, depth 1\) there are 64 to 127'),
     (torch.full((1, 100), 512), ['pixel'], 'ids reach from 512 to 512, but this tokenizer has the ids 0 to 511'),
     (torch.zeros(1, 100), ['pixel'], 'float')])
def test_flat_ids_that_do_not_fit(tok, ids, names, says):
    with pytest.raises(dtbox.InputError, match=says):
        tok.from_flat_ids(ids, names)


@pytest.mark.parametrize('codes, says', [
    ({}, 'there are no codes'), ({'pixel': torch.zeros(25, 4).long()}, r'\[25, 4\]; expected \[B, 25, 4\]'),
    ({'pixel': torch.zeros(1, 24, 4).long()}, r'\[1, 24, 4\]'),
    ({'pixel': torch.full((1, 25, 4), 64)}, 'codes at depth 0'), ({'pixel': torch.zeros(1, 25, 4)}, 'float32')])
def test_codes_without_flat_ids(tok, codes, says):
    with pytest.raises(dtbox.InputError, match=says):
        tok.flat_ids(codes)


# ---- embeddings ---------------------------------------------------------------------------------------------

def test_embeddings_are_normalised(tok, images, golden):
    image, text = tok.embed_image(images), tok.embed_text(golden['inputs']['text'])
    assert image.shape == (2, 64) and text.shape == (len(golden['inputs']['text']), 64)
    assert torch.allclose(torch.cat([image, text]).norm(dim=1), torch.ones(2 + len(text)), atol=1e-5)
    with torch.no_grad():
        pooled = tok.model(images).pooled
    assert torch.allclose(image, pooled / pooled.norm(dim=1, keepdim=True), atol=1e-6)


def test_texts(reader):
    want = reader.embed_text(torch.tensor([[2, 3] + [0] * 6, [2] + [0] * 7]))
    assert torch.allclose(reader.embed_text(['Red fox!', 'red']), want, atol=1e-6)
    assert torch.allclose(reader.embed_text('red fox'), want[:1], atol=1e-6)
    assert torch.allclose(reader.embed_text(('red',)), want[1:], atol=1e-6)
    long = 'red ' * 9
    with pytest.warns(UserWarning, match='has 9 tokens, but the text tower reads at most 8'):
        assert torch.allclose(reader.embed_text(long, truncate=True), reader.embed_text('red ' * 8), atol=1e-6)


@pytest.mark.parametrize('texts, says', [
    ('', 'text 0 is empty'), (['red', ' '], 'text 1 is empty'), ([], 'there are no texts'),
    (['red ' * 9], r'has 9 tokens.*Shorten it, or pass truncate=True'),
    ([3], 'text 0 is int'), (['red', 'a\ud800'], r'text 1 is .*not Unicode'), ({'red': 1}, 'texts: got .*red'),
    (torch.zeros(1, 0).long(), 'there are no texts'), (torch.zeros(1, 8).bool(), 'texts: got a bool tensor'),
    (torch.full((1, 8), 48), 'token ids reach from 48 to 48; this tower has the ids 0 to 47'),
    (torch.zeros(1, 9).long(), r'expected int64 \[T, L\], L up to 8')])
def test_texts_that_are_none(reader, texts, says):
    with pytest.raises(dtbox.InputError, match=says):
        reader.embed_text(texts)


def test_strings_without_tokenizer(tok):
    with pytest.raises(dtbox.InputError, match='strings came, but this text tower has no tokenizer'):
        tok.embed_text('red fox')


def test_a_list_of_tensors_is_a_batch(tok):
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(tok.encode(list(images))['pixel'], tok.encode(images)['pixel'])


def test_repr(tok):
    assert repr(tok).startswith('Tokenizer(32 x 32 pixels; pixel: ') and 'cpu, float32' in repr(tok)
