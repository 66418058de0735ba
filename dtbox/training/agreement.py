"""What the processes of a run tell one another in every step: how many samples each has, and whether something is wrong."""
import torch
from mmengine.dist import all_reduce, get_world_size


def any_rank(flag):
    """Whether `flag` is set on any process; every one of them has to ask."""
    if get_world_size() == 1:
        return flag
    told = _number(float(flag))
    all_reduce(told, op='max')
    return bool(told)


def count_and_share(count, flag=False):
    """Return the samples of all processes, and the weight of this one's mean so that the mean over processes is that over samples.

    Args:
        count: samples of this process.
        flag: something that this process wants all to know.

    Returns:
        (total, count * processes / total, whether `flag` is set anywhere); the second is 0.0 where there are no samples. Every process has to ask.
    """
    world = get_world_size()
    if world == 1:
        return count, 1.0 if count else 0.0, flag
    told = _number([float(count), float(flag)])
    all_reduce(told)
    total, flags = (round(v) for v in told.tolist())
    return total, count * world / total if total else 0.0, flags > 0


def _number(value):
    return torch.tensor(value, dtype=torch.float64, device='cuda' if torch.cuda.is_available() else 'cpu')
