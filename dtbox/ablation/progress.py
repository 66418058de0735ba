"""How far a grid is: a line an event, and on a terminal a live table below."""
import os
import time

from dtbox.ablation.summary import best_so_far


class Progress:
    """Show a grid's progress.

    Args:
        grid: Grid.
        total: trials of this start.
        workers: trials at a time.
        console: rich.console.Console; None writes to stdout.
    """

    def __init__(self, grid, total, workers, console=None):
        from rich.console import Console
        self.grid, self.total, self.workers = grid, total, workers
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.live, self.running, self.ended, self.times, self.best = None, {}, {}, [], ''

    def __enter__(self):
        if self.console.is_terminal:
            from rich.live import Live
            self.live = Live(get_renderable=self.table, console=self.console, refresh_per_second=1, transient=True)
            self.live.__enter__()
        return self

    def __exit__(self, *error):
        if self.live:
            self.live.__exit__(*error)

    def say(self, text):
        """Write a line that stays."""
        self.console.print(text, markup=False)

    def started(self, trial, folder, what):
        """Note a trial that has begun."""
        self.running[trial.name] = (time.time(), folder)
        if not self.live:
            self.say(f'started  {trial.name}' + (' (goes on from its checkpoint)' if what == 'continue' else ''))

    def finished(self, trial, record, rows):
        """Note a trial that has ended, with its record and the table's rows."""
        begun, _ = self.running.pop(trial.name)
        self.ended[record['status']] = self.ended.get(record['status'], 0) + 1
        if record['status'] == 'done':
            self.times.append(time.time() - begun)
        self.best = best_so_far(self.grid, rows)
        left = self.left()
        why = f': {record["reason"]}' if record['reason'] else ''
        self.say(f'{record["status"]:<8} {trial.name}{why}  [{self.counts()}{f", {clock(left)} left" if left else ""}]'
                 + (f'  best so far: {self.best}' if self.best and not self.live else ''))

    def counts(self):
        """Return how many trials are done, running, failed, waiting."""
        done = self.ended.get('done', 0)
        bad = sum(self.ended.values()) - done
        waiting = self.total - done - bad - len(self.running)
        return f'{done} of {self.total} done, {len(self.running)} running, {bad} failed, {waiting} waiting'

    def left(self):
        """Return the seconds that the rest will take, judged by the trials so far, or None where none has finished."""
        if not self.times:
            return None
        mean, now = sum(self.times) / len(self.times), time.time()
        waiting = self.total - sum(self.ended.values()) - len(self.running)
        rest = sum(max(0.0, mean - (now - begun)) for begun, _ in self.running.values()) + waiting * mean
        return rest / self.workers

    def table(self):
        """Return the live table."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, (begun, folder) in self.running.items():
            table.add_row('running', name, clock(time.time() - begun), last_line(os.path.join(folder, 'log.txt')))
        left = self.left()
        foot = f'{self.counts()}{f", {clock(left)} left" if left is not None else ""}'
        return Group(table, Text(foot, style='bold'), *([Text(f'best so far: {self.best}')] if self.best else []))


def last_line(path, most=60):
    """Return the end of the last line of a log that tells an iteration, '' where there is none."""
    try:
        with open(path, 'rb') as f:
            f.seek(max(0, os.path.getsize(path) - 4000))
            lines = f.read().decode('utf-8', 'replace').splitlines()
    except OSError:
        return ''
    line = next((line for line in reversed(lines) if '] left' in line), '')
    return line[line.find('['):][:most] if line else 'starting'


def clock(seconds):
    """Return seconds as h:mm:ss."""
    seconds = int(seconds)
    return f'{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}'
