"""Reconstructions from a part of the codes, against what the quantizer's own rows give."""

import numpy as np
import pytest
import torch

from dtbox.app.functions.partial import count_steps, decode_part, embed_codes
from dtbox.app.functions.reconstruct import count_bits, describe_streams, reconstruct
from dtbox.app.opened import Opened
from dtbox.drawing.sheets import to_uint8
from dtbox.errors import InputError
from dtbox.evaluation.functional import psnr, to_unit


def test_whole_codes(opened, shown):
    found = reconstruct(opened, shown[0])
    made = opened.tokenizer.decode(shown[0].codes)
    assert np.array_equal(found.made, to_uint8(made)[0]) and np.array_equal(found.image, shown[0].pixels)
    assert found.psnr == float(psnr(to_unit(shown[0].tensor), to_unit(made)))
    assert (found.bits, found.bits_per_pixel) == (16 * 2 * 6, 192 / 1024)
    assert found.table[:1] == [['PSNR [dB]', f'{found.psnr:.2f}']] and found.table[2] == ['bits', '192']


def test_the_first_depth_alone(opened, shown):
    """The decoder reads the row of the first code of a token, and nothing of the second."""
    model, codes = opened.tokenizer.model, shown[0].codes['pixel']
    vocabulary = model.vocabularies['pixel']
    with torch.no_grad():
        row = vocabulary.quantizer.book(0).lookup(codes[..., 0])
        expected = model.decoder(vocabulary.post_projection(row)).clamp(-1, 1)
    assert torch.allclose(decode_part(opened, shown[0].codes, dict(pixel=1)), expected, atol=1e-6)
    assert count_bits(opened, dict(pixel=1)) == 16 * 6
    assert count_steps(opened) == dict(pixel=('depths', 2))


def test_without_the_stream(opened, shown):
    """Zeros stand for what the quantizer decodes, so that the image no longer matters."""
    images = [decode_part(opened, one.codes, off=['pixel']) for one in shown]
    assert torch.equal(*images) and torch.equal(images[0], decode_part(opened, shown[0].codes, dict(pixel=0)))
    assert reconstruct(opened, shown[0], off=['pixel']).bits == 0


def test_what_the_head_reads(opened, shown):
    """Of codes that are those of the image: the embedding of the image."""
    own = embed_codes(opened, shown[0].tensor, shown[0].codes)
    assert torch.allclose(own, opened.tokenizer.embed_image(shown[0].tensor)[0], atol=1e-5)


def test_streams_in_words(opened):
    assert describe_streams(opened) == [['pixel', '4 x 4 token grid', '64 + 64', '192', 'yes'],
                                        ['semantic', '4 x 4 token grid', '64 + 64', '192', 'no']]


@pytest.mark.parametrize('part, call, says', [
    ('decoder', lambda one, shown: reconstruct(one, shown), 'tiny has no decoder, so its codes give no image'),
    ('head', lambda one, shown: embed_codes(one, shown.tensor, shown.codes), 'tiny has no head')])
def test_a_run_without_a_part(opened, shown, monkeypatch, part, call, says):
    own = Opened('tiny', opened.source, opened.model)
    monkeypatch.setitem(opened.tokenizer.model._modules, part, None)
    with pytest.raises(InputError, match=says):
        call(own, shown[0])


