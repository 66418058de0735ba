"""The one table of old and new names: old configs, plugins and imports get an error that names the new one.

Whoever renames something public adds one entry here and one row to `dtbox/CHANGELOG.md`; `python -m dtbox.renames`
prints the rows, and `tests/test_renames.py` compares the two. A value is the new name, of version `FIRST`, or a pair
(new name, version). Where a thing is gone, the value is a sentence that says what to do instead.
"""
from __future__ import annotations

from typing import NamedTuple

FIRST = '0.2.0'
"""Version of the entries that name none."""

BENCHMARKS = 'Benchmarks are scripts in tools/benchmarks/.'

MODULES = {
    'dtbox.config_text': 'dtbox.config.text',
    'dtbox.plugins': 'dtbox.extend',
    'dtbox.layers.weights': 'dtbox.weights.state_dicts',
    'dtbox.layers.folders': 'dtbox.weights.model_folders',
    'dtbox.layers.renaming': 'dtbox.weights.renaming',
    'dtbox.layers.siglip': 'dtbox.weights.siglip_names',
    'dtbox.layers.regions': 'dtbox.layers.region_pooling',
    'dtbox.layers.lpips': 'dtbox.layers.lpips_network',
    'dtbox.losses.discriminator': 'dtbox.discriminators.patch',
    'dtbox.losses.gather': 'dtbox.losses.gather_embeddings',
    'dtbox.apis.protocols': 'dtbox.protocols',
    'dtbox.diagnostics.describe': 'dtbox.sizing.describe',
    'dtbox.diagnostics.fit': 'dtbox.sizing.fit',
    'dtbox.diagnostics.scale': 'dtbox.sizing.scale',
    'dtbox.diagnostics.communication': 'dtbox.sizing.communication',
    'dtbox.diagnostics.scale_check': 'dtbox.sizing.scale_check',
    'dtbox.diagnostics.scale_ranks': 'dtbox.sizing.scale_ranks',
    'dtbox.evaluation.regions': 'dtbox.evaluation.region_metrics',
    'dtbox.evaluation.video': 'dtbox.evaluation.frame_change',
    'dtbox.evaluation.frechet': 'dtbox.evaluation.frechet_distance',
    'dtbox.evaluation.functional.images': 'dtbox.evaluation.functional.image_quality',
    'dtbox.drawing.regions': 'dtbox.drawing.region_sheet',
    'dtbox.drawing.video': 'dtbox.drawing.video_curves',
    'dtbox.drawing.resolution': 'dtbox.drawing.resolution_plot',
    'dtbox.drawing.benchmark': 'dtbox.drawing.benchmark_plot',
    'dtbox.drawing.conflict': 'dtbox.drawing.conflict_plot',
    'dtbox.drawing.layers': 'dtbox.drawing.layers_plot',
    'dtbox.drawing.scale': 'dtbox.drawing.scale_plot',
    'dtbox.drawing.atlas': 'dtbox.drawing.atlas_sheet',
    'dtbox.drawing.codebooks': 'dtbox.drawing.codebook_usage',
    'dtbox.drawing.samples': 'dtbox.drawing.sample_sheet',
    'dtbox.drawing.along': 'dtbox.drawing.axis_plot',
    'dtbox.drawing.looks': 'dtbox.drawing.variant_style',
    'dtbox.drawing.runs': 'dtbox.drawing.run_curves',
    'dtbox.hooks.pictures': 'dtbox.hooks.images',
    'dtbox.hooks.codebooks': 'dtbox.hooks.codebook_health',
    'dtbox.hooks.discriminator': 'dtbox.hooks.discriminator_health',
    'dtbox.hooks.gradients': 'dtbox.hooks.gradient_meter',
    'dtbox.datasets.files': 'dtbox.datasets.image_files',
    'dtbox.datasets.folders': 'dtbox.datasets.folder_listing',
    'dtbox.datasets.images': 'dtbox.datasets.read',
    'dtbox.datasets.pictures': 'dtbox.datasets.embedded',
    'dtbox.diagnostics.folders': 'dtbox.diagnostics.output_folder',
    'dtbox.diagnostics.conflict': 'dtbox.diagnostics.gradient_conflict',
    'dtbox.diagnostics.teacher': 'dtbox.diagnostics.teacher_check',
    'dtbox.diagnostics.probes': 'dtbox.diagnostics.layer_probes',
    'dtbox.diagnostics.scores': 'dtbox.diagnostics.layer_scores',
    'dtbox.diagnostics.layers': 'dtbox.diagnostics.layer_finder',
    'dtbox.diagnostics.atlas': 'dtbox.diagnostics.code_atlas',
    'dtbox.diagnostics.data': 'dtbox.diagnostics.data_check',
    'dtbox.diagnostics.choice': 'dtbox.diagnostics.layer_choice',
    'dtbox.diagnostics.pages': 'dtbox.diagnostics.atlas_page',
    'dtbox.testing.ranks': 'dtbox.testing.rank_group',
    'dtbox.testing.gradients': 'dtbox.testing.quantizer_gradients',
    'dtbox.testing.inputs': 'dtbox.testing.quantizer_inputs',
    'dtbox.testing.outputs': 'dtbox.testing.quantizer_outputs',
    'dtbox.testing.training': 'dtbox.testing.quantizer_state',
    'dtbox.report.names': 'dtbox.report.metric_names',
    'dtbox.report.scores': 'dtbox.report.score_tables',
    'dtbox.report.disk': 'dtbox.report.run_files',
    'dtbox.report.make': 'dtbox.report.assembly',
    'dtbox.training.model': 'dtbox.training.tokenizer_task',
    'dtbox.training.teacher_cache': 'dtbox.training.teacher.cache',
    'dtbox.training.sharing': 'dtbox.training.teacher.trunk_sharing',
    'dtbox.training.objective': 'dtbox.training.tokenizer_objective',
    'dtbox.training.start': 'dtbox.training.startup',
    'dtbox.training.ready': 'dtbox.training.startup',
    'dtbox.training.agreement': 'dtbox.distributed',
    'dtbox.evaluation.ranks': 'dtbox.distributed',
    'dtbox.quantizers.codebooks.sum_over_ranks': 'dtbox.distributed.sum_in_place',
    'dtbox.diagnostics.data_benchmark': BENCHMARKS,
    'dtbox.diagnostics.evaluation_benchmark': BENCHMARKS,
    'dtbox.diagnostics.inference_benchmark': BENCHMARKS,
    'dtbox.diagnostics.quantizer_benchmark': BENCHMARKS,
    'dtbox.diagnostics.step_benchmark': BENCHMARKS,
    'dtbox.training.benchmark': BENCHMARKS,
    'dtbox.cli.main_guard': 'dtbox.cli.guard.main_guard',
    'dtbox.cli.read_config': 'dtbox.cli.options.read_config',
    'dtbox.cli.add_config_options': 'dtbox.cli.options.add_config_options',
    'dtbox.cli.add_plugin_option': 'dtbox.cli.options.add_plugin_option',
    'dtbox.cli.add_tiny_option': 'dtbox.cli.options.add_tiny_option',
    'dtbox.config.known_keys': 'dtbox.config.list_known_keys',
    'dtbox.extend.origin': 'dtbox.extend.find_origin',
    'dtbox.testing.examples': 'dtbox.testing.list_examples',
}
"""Old dotted module, or function of one -> new one, or a sentence where there is none. Modules below a package that
moved follow it."""

GAN = ('The GAN is one switch: gan=dict(discriminator=..., adversarial=...) at the top and model=dict(gan=\'${gan}\'); '
       'gan=None trains without.')

NAMES = {
    'models': {'TokenizerTraining': 'TokenizerTask'},
    'datasets': {'Pictures': 'EmojiOrFolder'},
    'hooks': {'Pictures': 'Images'},
}
"""Registry, by its own name -> old registered name -> new one."""

ARGUMENTS = {
    'Teacher': {'share': 'trunk_sharing'},
    **{name: {'checkpoint': 'recompute'} for name in ('TimmViT', 'SigLIP', 'OpenCLIPTower')},
    'CNNEncoder': {'checkpointing': 'recompute'},
    **{name: {'checkpointing': 'recompute', 'grid': 'layout'}
       for name in ('CNNDecoder', 'ViTDecoder', 'LightCNNDecoder')},
}
"""Registered name, or the name of the class -> old constructor argument -> new one."""

KEYS = {
    'model.discriminator': GAN,
    'model.adversarial': GAN,
    'model.teacher.share': 'model.teacher.trunk_sharing',
}
"""Old dotted path of a config key -> new one."""

BUILT_IN_PLUGINS = {'lfq': 'quantizers/LFQ', 'bsq': 'quantizers/BSQ', 'ibq': 'quantizers/IBQ',
                    'simvq': 'quantizers/SimVQ', 'mcq': 'quantizers/MCQ', 'product_rq': 'quantizers/ProductRQ'}
"""Plugin that came with dtbox -> registry and name of its part, which is built in now."""

OPTIONS = {
    '--pictures': '--images',
}
"""Old option of a command line -> new one."""


class Renamed(NamedTuple):
    """What has become of an old name.

    Attributes:
        new: new name, or a sentence where there is none.
        since: version of dtbox.
    """
    new: str
    since: str

    def tell(self, old: str, room: str = '') -> str:
        """Return one sentence that names the new name; `room` says where the old one was looked up."""
        if ' ' in self.new:
            return f'`{old}` is gone since dtbox {self.since}. {self.new}'
        place = f' of {room}' if room else ''
        return f'`{old}`{place} is now called `{self.new}` (since dtbox {self.since}).'


def find_module(name: str) -> Renamed | None:
    """Return what has become of a module; modules below a package that has moved follow it."""
    parts = name.split('.')
    for count in range(len(parts), 0, -1):
        moved = _read(MODULES, '.'.join(parts[:count]))
        if moved is not None:
            return Renamed('.'.join([moved.new, *parts[count:]]), moved.since)
    return None


def find_name(registry: str, name: str) -> Renamed | None:
    """Return what has become of a registered name; `registry` is the registry's own name."""
    return _read(NAMES.get(registry, {}), name)


def find_argument(owner: str, name: str) -> Renamed | None:
    """Return what has become of a constructor argument; `owner` is the name of the class."""
    return _read(ARGUMENTS.get(owner, {}), name)


def find_option(name: str) -> Renamed | None:
    """Return what has become of an option of a command line, such as `--pictures`."""
    return _read(OPTIONS, name)


def find_key(path: str) -> Renamed | None:
    """Return what has become of a config key, by its dotted path; keys below one that has moved follow it."""
    parts = path.split('.')
    for count in range(len(parts), 0, -1):
        moved = _read(KEYS, '.'.join(parts[:count]))
        if moved is not None:
            return moved if ' ' in moved.new else Renamed('.'.join([moved.new, *parts[count:]]), moved.since)
    return None


def _read(table: dict, old: str) -> Renamed | None:
    value = table.get(old)
    if value is None:
        return None
    return Renamed(value, FIRST) if isinstance(value, str) else Renamed(*value)


def list_rows() -> dict[str, list[str]]:
    """Return the rows of the tables in `dtbox/CHANGELOG.md`: heading -> lines of Markdown."""
    names = [(f'{registry}: ', table) for registry, table in NAMES.items()]
    arguments = [(f'`{owner}`: ', table) for owner, table in ARGUMENTS.items()]
    tables = {'Modules': [('', MODULES)], 'Registered names': names, 'Constructor arguments': arguments,
              'Config keys': [('', KEYS)], 'Options of commands': [('', OPTIONS)],
              'Plugins that are built in': [('', BUILT_IN_PLUGINS)]}
    return {heading: [_row(owner, old, table) for owner, table in parts for old in table]
            for heading, parts in tables.items()}


def _row(owner: str, old: str, table: dict) -> str:
    moved = _read(table, old)
    assert moved is not None  # `old` is a key of the table
    new = moved.new if ' ' in moved.new else f'`{moved.new}`'
    return f'| {owner}`{old}` | {new} | {moved.since} |'


if __name__ == '__main__':
    for title, lines in list_rows().items():
        print('\n'.join([f'### {title}', '', '| old | new | since |', '|---|---|---|', *lines, '']))
