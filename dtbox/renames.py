"""The one table of old and new names: old configs, plugins and imports get an error that names the new one.

Whoever renames something public adds one entry here and one row to `dtbox/CHANGELOG.md`; `python -m dtbox.renames` prints the rows, and
`tests/test_renames.py` compares the two. A value is the new name, of version `FIRST`, or a pair (new name, version). Where a thing is gone, the
value is a sentence that says what to do instead.
"""
from __future__ import annotations

from typing import NamedTuple

FIRST = '0.2.0'
"""Version of the entries that name none."""

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
    'dtbox.testing.gradients': 'dtbox.testing.gradient_checks',
    'dtbox.testing.inputs': 'dtbox.testing.input_checks',
    'dtbox.testing.outputs': 'dtbox.testing.output_checks',
    'dtbox.testing.training': 'dtbox.testing.state_checks',
    'dtbox.report.names': 'dtbox.report.metric_names',
    'dtbox.report.scores': 'dtbox.report.score_tables',
    'dtbox.report.disk': 'dtbox.report.run_files',
    'dtbox.report.make': 'dtbox.report.assembly',
    'dtbox.training.model': 'dtbox.training.tokenizer_task',
    'dtbox.training.agreement': 'dtbox.distributed',
    'dtbox.evaluation.ranks': 'dtbox.distributed',
    'dtbox.quantizers.codebooks.sum_over_ranks': 'dtbox.distributed.sum_in_place',
}
"""Old dotted module, or function of one, -> new one. Modules below a package that moved follow it."""

NAMES = {
    'models': {'TokenizerTraining': 'TokenizerTask'},
    'datasets': {'Pictures': 'EmojiOrFolder'},
    'hooks': {'Pictures': 'Images'},
}
"""Registry -> old registered name -> new one."""

OPTIONS = {'--pictures': '--images'}
"""Old option of a command line -> new one."""
