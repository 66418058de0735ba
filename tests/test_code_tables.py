"""Rows of codebooks: those of the quantizer, its vectors as their sum, refusals."""
import pytest
import torch

from dtbox.code_tables import EMPTY, CodeTables
from dtbox.errors import InputError
from dtbox.quantizers.rq import RQ


def test_rows_of_a_residual_quantizer():
    """The sum over the depths is what the quantizer decodes the codes to."""
    quantizer = RQ(**RQ.example).eval()
    depths, dim = len(quantizer.codebook_sizes), quantizer.dim
    numbers = [torch.arange(size) for size in quantizer.codebook_sizes]
    every = torch.stack([n[:min(quantizer.codebook_sizes)] for n in numbers], -1)
    rows = quantizer.decode_depths(every[None])[0].detach()
    tables = CodeTables.from_tables(dict(pixel=list(rows.unbind(1))), 4)
    codes = torch.randint(len(every), (2, 4, depths))
    assert tables.rows('pixel', codes).shape == (2, 4, depths, dim)
    assert torch.allclose(tables.rows('pixel', codes).sum(-2), quantizer.decode(codes), atol=1e-6)
    assert torch.equal(tables.depth_rows('pixel', 1, codes[..., 1]), tables.rows('pixel', codes)[..., 1, :])


def test_empty_cells_are_zero():
    tables = CodeTables.from_tables(dict(a=[torch.ones(3, 2) * torch.arange(1, 4)[:, None], torch.ones(2, 2)]), 1)
    assert tables.rows('a', torch.tensor([[EMPTY, 1], [2, EMPTY]])).tolist() == [[[0, 0], [1, 1]], [[3, 3], [0, 0]]]


def test_scale():
    """Of -3, 0, 3 the deviation is sqrt(6)."""
    tables = CodeTables.from_tables(dict(a=[[[-3.0], [0.0], [3.0]]]), 1)
    assert tables.scale('a') == pytest.approx(6 ** -0.5)


def test_a_shared_table_is_stored_once():
    table = torch.randn(50, 4)
    shared, apart = (CodeTables.from_tables(dict(a=rows), 1) for rows in ([table] * 3, [table.clone() for _ in '123']))
    assert shared.rows0.shape == (51, 4) and apart.rows0.shape == (153, 4)
    codes = torch.randint(50, (7, 3))
    assert torch.equal(shared.rows('a', codes), apart.rows('a', codes))


def test_nothing_is_saved_or_trained():
    tables = CodeTables.from_tables({'a.b': [torch.randn(3, 2, requires_grad=True)]}, 1)
    assert not tables.state_dict() and not list(tables.parameters())
    assert not tables.rows('a.b', torch.zeros(1, 1, dtype=torch.long)).requires_grad


def test_layout():
    tables = CodeTables.from_tables(dict(a=[torch.randn(3, 2)] * 2, b=[torch.randn(5, 4)]), 6)
    assert tables.layout.offsets == dict(a=[0, 3], b=[6]) and tables.layout.count_ids() == 18
    assert tables.pick(['b', 'a']) == ['a', 'b'] and tables.pick(None) == ['a', 'b']


@pytest.mark.parametrize('tables, places, says', [
    ({}, 4, '^tables: there are no streams'), (dict(a=[]), 4, '^a: the tables are none'),
    (dict(a=[torch.zeros(3, 2), torch.zeros(3, 4)]), 4, '^a: .*all of one width'),
    (dict(a=[torch.zeros(3, 2)]), 4, '^a: the rows have the standard deviation 0; .*Train the tokenizer first'),
    (dict(a=[torch.full((3, 2), float('nan'))]), 4, '^a: the rows have the standard deviation nan'),
    (dict(a=[torch.zeros(3, 2, dtype=torch.long)]), 4, 'tables.a: .*expected a tensor of floats'),
    (dict(a=[torch.randn(3, 2)]), 0, '^places: got 0')])
def test_tables_that_are_refused(tables, places, says):
    with pytest.raises(InputError, match=says):
        CodeTables.from_tables(tables, places)


def test_a_stream_that_there_is_not():
    with pytest.raises(InputError, match='there is no stream `pixle`. Did you mean `pixel`'):
        CodeTables.from_tables(dict(pixel=[torch.randn(3, 2)]), 1).scale('pixle')
