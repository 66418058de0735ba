"""What a run leaves after an evaluation: metrics.json, samples.npz and the table."""
from __future__ import annotations

from dataclasses import replace

from mmengine.hooks import Hook
from mmengine.runner import Runner

from dtbox import distributed
from dtbox.evaluation.samples import write_samples
from dtbox.evaluation.table import format_table
from dtbox.registry import HOOKS
from dtbox.runs import RunFolder


@HOOKS.register_module()
class Results(Hook):
    """Write metrics.json and samples.npz of the run folder after each evaluation, log the scores as a table, and pass
    them to the visualizer backends."""
    priority = 'NORMAL'

    def after_val(self, runner: Runner) -> None:
        """Write and log."""
        if distributed.get_rank() != 0:
            return
        run = RunFolder(runner.work_dir)
        results = replace(runner.val_loop.results, iteration=runner.iter_done)
        results.write(run.metrics)
        write_samples(runner.val_loop.evaluator.samples(), run.samples)
        runner.visualizer.add_scalars(results.flat(), step=runner.iter_done)
        runner.logger.info(f'Scores at iteration {runner.iter_done}:\n{format_table(results)}')
