"""Writes `checkpoint.pth` every so many iterations and at the end."""
from mmengine.hooks import Hook

from dtbox.registry import HOOKS


@HOOKS.register_module()
class Checkpoint(Hook):
    """Keep `checkpoint.pth` of the run folder up to date; each write replaces the last one only when it is whole.

    Args:
        interval: iterations between two writes.
        keep_every: also keep a copy `checkpoint_ITERATION.pth` every so many iterations; 0 keeps none.
    """
    priority = 'LOWEST'

    def __init__(self, interval, keep_every=0):
        self.interval, self.keep_every = interval, keep_every

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Write where one is due."""
        if outputs == {}:  # a skipped iteration: what it left is not known to be good
            return
        done = runner.iter_done
        if self.keep_every and done % self.keep_every == 0:
            runner.save(f'checkpoint_{done}.pth')
        if done % self.interval == 0 or done == runner.max_iters:
            runner.save()
