"""Collectives as each rank of the tests calls them. Imported by fresh processes, so nothing of pytest here."""
import torch

from dtbox import distributed
from dtbox.errors import InputError
from dtbox.losses.gather_embeddings import gather_embeddings

ROWS = ([[1., 2.], [3., 4.]], [], [[5., 6.]])
"""Rows that rank 0, 1 and 2 bring to `gather_rows`."""


def call_all(rank, world):
    """Call every function of dtbox.distributed; return what this rank gets, as plain types."""
    values = dict(initialized=distributed.is_initialized(), rank=distributed.get_rank(),
                  world=distributed.get_world_size())
    distributed.barrier()
    values['objects'] = distributed.gather_objects(f'rank {rank}')
    values['first'] = distributed.broadcast_object(f'rank {rank}')
    values['sum'] = distributed.sum_tensor(torch.tensor([1. + rank, 10.])).tolist()
    sparse = torch.sparse_coo_tensor([[rank]], [2.], (3,), check_invariants=True)
    values['sparse sum'] = distributed.sum_tensor(sparse).to_dense().tolist()
    values['tensors'] = [t.tolist() for t in distributed.gather_tensor(torch.tensor([rank, 7]))]
    values['rows'] = distributed.gather_rows(torch.tensor(ROWS[rank]).reshape(-1, 2)).tolist()
    one, two, mean, first = (torch.tensor([float(n + rank)]) for n in (1, 10, 4, 8))
    distributed.sum_in_place(one, two)
    distributed.average_in_place(mean)
    distributed.broadcast_in_place(first)
    values['in place'] = [t.item() for t in (one, two, mean, first)]
    values['flags'] = [distributed.is_set_anywhere(flag) for flag in (False, rank == world - 1, True)]
    values['samples'] = distributed.count_samples(3 - 2 * rank, flag=rank == 1)
    values['no samples'] = distributed.count_samples(0)
    values['many samples'] = distributed.count_samples(2 ** 24 + 1)  # float32 has no such number
    return values


def run_first(rank, world):
    """Let rank 0 return a value, then raise; return what this rank gets, and how often it called the function."""
    calls = []

    def give():
        calls.append(rank)
        return 'made'

    def refuse():
        calls.append(rank)
        raise InputError('the folder is a file.')

    value, error = distributed.run_on_first_rank(give), None
    try:
        distributed.run_on_first_rank(refuse)
    except InputError as e:
        error = str(e)
    return value, error, len(calls)


def join(rank, world):
    """Rank 0 brings two pairs, rank 1 one: what each gets, and the gradient of its own images."""
    image = torch.tensor([[1., 0.], [0., 1.]] if rank == 0 else [[2., 2.]], requires_grad=True)
    images, texts, words, first = gather_embeddings(image, -image.detach(), ['a', 'b'] if rank == 0 else ['c'])
    ((rank + 1) * images * torch.tensor([[1.], [10.], [100.]])).sum().backward()
    return images.tolist(), texts.tolist(), words, first, image.grad.tolist()
