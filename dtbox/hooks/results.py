"""What a run leaves behind after an evaluation: metrics.json, samples.npz and the table."""
import os

from mmengine.hooks import Hook

from dtbox import distributed
from dtbox.evaluation.samples import FILE, write_samples
from dtbox.evaluation.table import format_table, to_json
from dtbox.registry import HOOKS


@HOOKS.register_module()
class Results(Hook):
    """Write metrics.json and samples.npz of the run folder after each evaluation, show the scores as a table, and hand them to the
    visualizer backends."""
    priority = 'NORMAL'

    def after_val(self, runner):
        """Write and show."""
        if distributed.get_rank() != 0:
            return
        results = dict(runner.val_loop.results, iteration=runner.iter_done)
        to_json(results, os.path.join(runner.work_dir, 'metrics.json'))
        write_samples(runner.val_loop.evaluator.samples(), os.path.join(runner.work_dir, FILE))
        numbers = {f'{part}/{name}': value for part, values in runner.val_loop.results.items() if isinstance(values, dict)
                   for name, value in values.items() if isinstance(value, (int, float))}
        runner.visualizer.add_scalars(numbers, step=runner.iter_done)
        table = format_table(runner.val_loop.results)
        runner.logger.info(f'Scores at iteration {runner.iter_done}:\n{table}')
