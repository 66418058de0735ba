"""Visual embeddings: values by hand, what sees what, refusals."""
import pytest
import torch

from dtbox.code_tables import EMPTY, CodeTables
from dtbox.errors import InputError
from dtbox.layers.projections import AttentionProjection
from dtbox.registry import VISUAL_EMBEDDINGS
from dtbox.testing.visual_subject import SIZES, WIDTH, make_codes, make_tables
from dtbox.visual_embeddings.base import VisualEmbedding

TABLES = make_tables(10)


def build(kind, tables=TABLES, **args):
    return VISUAL_EMBEDDINGS.build(dict(type=kind, **args), tables=tables, width=WIDTH).eval()


def project(causal):
    """Features of a tokenizer: summed rows through attention projections."""
    torch.manual_seed(0)
    ups = {name: AttentionProjection(TABLES.widths[name], 12, causal=causal).eval() for name in SIZES}
    return lambda codes: {name: ups[name](TABLES.rows(name, codes[name]).sum(-2)) for name in codes}


def test_codes_by_hand():
    """Rows summed, divided by their deviation, concatenated: what the MLP gets."""
    table = torch.tensor([[-3.0], [0.0], [3.0]])  # its deviation is sqrt(6)
    tables = CodeTables.from_tables(dict(y=[table, table / 3], z=[table]), 2)
    embedding = build('CodesEmbedding', tables)
    embedding.mlp = torch.nn.Identity()
    out = embedding(dict(y=torch.tensor([[[2, 0], [0, 2]]]), z=torch.tensor([[[2], [EMPTY]]])))
    # of y: -3, 0, 3, -1, 0, 1 has the deviation sqrt(20 / 6)
    y = 2 / (20 / 6) ** 0.5
    assert torch.allclose(out, torch.tensor([[[y, 3 / 6 ** 0.5], [-y, 0.0]]]))


def test_learned_by_hand():
    """The sum of one row for each depth and stream; an empty cell has a row of its own."""
    embedding = build('LearnedEmbedding')
    codes = make_codes(TABLES, 2, 10)
    codes['pixel'][1, 3, 1] = EMPTY
    pixel, semantic = embedding.rows
    # rows of pixel: empty 0, codes 1-5; empty 6, codes 7-13; empty 14, codes 15-20
    want = (pixel[1 + codes['pixel'][1, 3, 0]] + pixel[6] + pixel[15 + codes['pixel'][1, 3, 2]]
            + semantic[1 + codes['semantic'][1, 3, 0]] + semantic[10 + codes['semantic'][1, 3, 1]])
    assert len(pixel) == 21 and len(semantic) == 18
    assert torch.allclose(embedding(codes)[1, 3], want, atol=1e-6)


@pytest.mark.parametrize('kind', ['CodesEmbedding', 'LearnedEmbedding', 'FeaturesEmbedding'])
def test_no_place_sees_later_codes(kind):
    """Codes from place p on change no earlier place, bit for bit."""
    embedding = build(kind, **(dict(features=project(True)) if kind == 'FeaturesEmbedding' else {}))
    one, two = make_codes(TABLES, 2, 10), make_codes(TABLES, 2, 10, seed=1)
    out = embedding(one)
    for place in (1, 5, 9):
        mixed = {name: torch.cat([one[name][:, :place], two[name][:, place:]], 1) for name in SIZES}
        other = embedding(mixed)
        assert torch.equal(other[:, :place], out[:, :place])
        assert (other[:, place] != out[:, place]).any(-1).all()
    embedding.check_causal()


def test_a_projection_that_is_not_causal():
    embedding = build('FeaturesEmbedding', features=project(False))
    with pytest.raises(InputError, match='the post-projection of the tokenizer is not causal.*causal=True.*CodesEmb'):
        embedding.check_causal()
    assert embedding.train().training and not embedding.token_local


def test_features_by_steps():
    """Place after place, the features over the places so far: those of one pass. 1e-5 of values of about 1."""
    embedding, codes = build('FeaturesEmbedding', features=project(True)), make_codes(TABLES, 3, 10)
    cache = embedding.make_cache(3)
    out = torch.cat([embedding.step({name: value[:, p:p + 1] for name, value in codes.items()}, cache)
                     for p in range(10)], 1)
    assert torch.allclose(out, embedding(codes), atol=1e-5)


def test_each_stream_has_its_norm():
    """Features a thousand times larger change nothing."""
    codes, plain = make_codes(TABLES, 1, 10), project(True)
    one, two = build('FeaturesEmbedding', features=plain), build(
        'FeaturesEmbedding', features=lambda codes: {**plain(codes), 'pixel': 1000 * plain(codes)['pixel']})
    two.load_state_dict(one.state_dict())
    assert torch.allclose(one(codes), two(codes), atol=1e-4)


def test_the_tokenizer_stays_outside():
    """Its weights are neither in the state dict nor among the parameters."""
    up = torch.nn.Linear(4, 6)
    embedding = build('FeaturesEmbedding', streams=['pixel'],
                      features=lambda c: dict(pixel=up(TABLES.rows('pixel', c['pixel']).sum(2))))
    assert not {id(p) for p in embedding.parameters()} & {id(p) for p in up.parameters()}
    assert set(embedding.state_dict()) == {'norms.0.weight', 'norms.0.bias', 'mlp.0.weight', 'mlp.0.bias',
                                           'mlp.2.weight', 'mlp.2.bias'}


def test_one_stream_alone():
    """Codes of the other stream change nothing, and are not needed."""
    embedding, codes = build('CodesEmbedding', streams=['semantic']), make_codes(TABLES, 2, 10)
    other = dict(codes, pixel=make_codes(TABLES, 2, 10, seed=1)['pixel'])
    assert torch.equal(embedding(codes), embedding(other))
    assert torch.equal(embedding(codes), embedding(dict(semantic=codes['semantic'])))


@pytest.mark.parametrize('change, says', [
    (lambda c: dict(pixel=c['pixel']),
     r'codes are pixel \[2, 10, 3\]; expected pixel \[M, N, 3\], semantic \[M, N, 2\]'),
    (lambda c: dict(c, pixel=c['pixel'][:, 1:]), r'codes are pixel \[2, 9, 3\], semantic \[2, 10, 2\]'),
    (lambda c: {}, 'codes are of no stream')])
def test_codes_that_are_refused(change, says):
    with pytest.raises(InputError, match=says):
        build('CodesEmbedding')(change(make_codes(TABLES, 2, 10)))


@pytest.mark.parametrize('streams, says', [([], '`streams` is empty'), (['pixle'], 'Did you mean `pixel`')])
def test_streams_that_are_refused(streams, says):
    with pytest.raises(InputError, match=f'^streams: .*{says}'):
        build('CodesEmbedding', streams=streams)


BUILT_IN = ['CodesEmbedding', 'LearnedEmbedding', 'FeaturesEmbedding']


@pytest.mark.parametrize('kind', BUILT_IN)
def test_a_blanked_stream_is_not_read(kind):
    """Its codes change nothing while the constant stands for its part; the other stream counts as before, and after the
    context both do, bit for bit."""
    embedding = build(kind, **(dict(features=project(True)) if kind == 'FeaturesEmbedding' else {}))
    one, two = make_codes(TABLES, 2, 10), make_codes(TABLES, 2, 10, seed=1)
    before = embedding(one)
    constant = torch.full(embedding.read(one)['pixel'].shape[-1:], 0.5)
    with embedding.blank(dict(pixel=constant)):
        out = embedding(one)
        assert torch.equal(out, embedding(dict(two, semantic=one['semantic'])))
        assert not torch.equal(out, embedding(dict(one, semantic=two['semantic'])))
    parts = embedding.read(one)
    parts['pixel'] = torch.full_like(parts['pixel'], 0.5)
    assert torch.equal(out, embedding.join(parts))
    assert torch.equal(embedding(one), before)


def test_blanks_end_with_an_error():
    """What a failing evaluation had blanked is read again."""
    embedding, codes = build('CodesEmbedding'), make_codes(TABLES, 2, 10)
    before = embedding(codes)
    with pytest.raises(RuntimeError), embedding.blank(dict(pixel=torch.zeros(TABLES.widths['pixel']))):
        raise RuntimeError
    assert torch.equal(embedding(codes), before)


def test_streams_that_cannot_be_blanked():
    """One that is not read, and those of an embedding that does not read its streams apart."""
    class Whole(VisualEmbedding):
        def forward(self, codes):
            return codes['pixel']
    with pytest.raises(InputError, match='^streams: `pixle` is not read here. Did you mean `pixel`'):
        build('CodesEmbedding').blank(dict(pixle=torch.zeros(1))).__enter__()
    with pytest.raises(InputError, match='^streams: Whole has a `forward` of its own'):
        Whole(TABLES, WIDTH).blank({}).__enter__()
