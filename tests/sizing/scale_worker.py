"""What ranks do in the tests of the cost of scale, and ranks that only pretend. Imported by fresh processes, so nothing
of pytest here."""
import types

import torch
import torch.distributed as dist

from dtbox.sizing import scale_ranks
from dtbox.sizing.communication import Facts, Network, list_kinds


def train(rank, world, config, batch, steps):
    """Real steps, see `scale_ranks.train`."""
    return scale_ranks.train(rank, world, (config, [], []), batch, steps)


def strangers(rank, world):
    """A collective of a function that the table of messages does not name: what is booked."""
    module = types.ModuleType('dtbox.elsewhere')
    exec('def somebody(dist, values):\n    dist.all_reduce(values)', module.__dict__)
    with scale_ranks.Counted() as counted:
        module.somebody(dist, torch.zeros(5))
    dist.all_reduce(torch.zeros(5))  # outside: not counted
    return counted.sent


class Pretended:
    """Stands for `Ranks`: a step takes a second a process, an all-reduce what a ring of 1 GB/s and 100 us a hop
    takes."""

    def __init__(self, world, timeout):
        self.world = world

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def run(self, function, *args):
        """Answer for every rank."""
        if function is scale_ranks.time_transfers:
            return [[Network(self.world, 1e9, 1.0, 1e-4).seconds('all_reduce', size, self.world)
                     for size in args[0]]] * self.world
        has, steps = Facts(tokenizer=1000), args[2]
        sent = {k.name: (len(k.sizes(has)), sum(k.sizes(has))) for k in list_kinds() if k.sizes(has)}
        return [scale_ranks.Trained([float(self.world)] * steps, [sent] * steps, [0] * steps, has)] * self.world
