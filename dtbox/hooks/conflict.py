"""Do reconstruction and semantics pull the encoder apart? The gradients of the two sides, block by block, while a recipe trains.

The cosine of two tasks' gradients at the parameters they share is the usual measure of their conflict: below zero a step for one is, to
first order, a step against the other (Du et al., arXiv 1812.02224; Yu et al., "Gradient Surgery", arXiv 2001.06782, definition 1).

Legend: g_R, g_S gradients of the weighted reconstruction and semantic terms at the parameters of one block, joined to one vector.
"""
import contextlib
import json
import os
import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook

from dtbox.drawing.conflict import draw_conflict
from dtbox.errors import InputError, closest
from dtbox.evaluation import ranks, to_json
from dtbox.hooks.log import read_history
from dtbox.registry import HOOKS

FILE, SUMMARY, PICTURE = 'conflict.jsonl', 'conflict.json', 'conflict.png'
SIDES = ('reconstruction', 'semantics')
SEMANTIC = ('teacher.', 'text_pooled')
"""What a semantic term requires of the TokenizerOutput (beginnings of names)."""


@HOOKS.register_module()
class GradientConflict(Hook):
    """Measure the conflict of reconstruction and semantics in every block of the encoders.

    Every `interval` iterations, beginning with the first, the batch that is about to be trained on is run once more and both sides are
    differentiated. A line of `conflict.jsonl` holds `iteration` (steps done before), `layers` (0 is the embedding, l block l;
    `encoder:layer` where there are several encoders) and, in their order, `cosine` = <g_R, g_S> / (|g_R| |g_S|) and the norms
    `reconstruction` |g_R| and `semantics` |g_S|, with the weights of the criterion; null where a side does not reach the layer. `together` is
    the cosine over all layers that both reach. At the end conflict.png shows it, and conflict.json says which terms were taken, and the means.

    A term belongs to a side by what its loss requires: `reconstructions`, or else the teacher's output or `text_pooled`. Terms of the
    quantizers belong to neither; nor does the adversarial term, which the criterion does not hold.

    Training stays as it is, bit for bit: gradients are not accumulated, random states and buffers are put back, and quantizers run in
    evaluation mode, so that they collect nothing. Memory: as a training step, and two gradients of the encoders. Time: a forward and two
    backward passes each time. Autocast and activation checkpointing (`use_reentrant=False`) are the run's own. With several ranks
    the gradients are averaged, as DistributedDataParallel does, so that every line is about the global batch.

    Args:
        interval: iterations between two lines.
        reconstruction, semantics: names of the terms of a side instead of the rule above.
    """
    priority = 'NORMAL'

    def __init__(self, interval=20, reconstruction=None, semantics=None):
        if not isinstance(interval, int) or isinstance(interval, bool) or interval < 1:
            raise InputError(f'`interval` is {interval!r}; expected a whole number of at least 1.', 'interval')
        self.interval, self.sides = interval, Sides(reconstruction, semantics)

    def check(self, model):
        """Raise `InputError` where a model has nothing to compare; asked before the run folder is touched."""
        self.sides.check(model)

    def before_train(self, runner):
        """Find the blocks; forget lines that a resumed run will write again."""
        self.check(runner.core)
        self.path, self.blocks, self.terms = os.path.join(runner.work_dir, FILE), blocks_of(runner.core), {}
        if get_rank() == 0:
            rows = [r for r in read_history(self.path) if r['iteration'] < runner.iter_done]
            with open(self.path, 'w') as f:
                f.writelines(json.dumps(r) + '\n' for r in rows)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        """Measure where it is due."""
        if runner.iter_done % self.interval:
            return
        row, self.terms = measure(runner.core, data_batch, self.blocks, self.sides)
        if get_rank() != 0:
            return
        with open(self.path, 'a') as f:
            f.write(json.dumps(dict(iteration=runner.iter_done, **row)) + '\n')
        numbers = {f'{key}_{layer}': value for key in ('cosine', *SIDES) for layer, value in zip(row['layers'], row[key]) if value is not None}
        runner.visualizer.add_scalars({f'conflict/{k}': v for k, v in numbers.items()}, step=runner.iter_done)

    def after_train(self, runner):
        """Write the summary and draw."""
        rows = read_history(self.path) if get_rank() == 0 else []
        if rows:
            leave(rows, self.terms, runner.work_dir, f'{os.path.basename(os.path.abspath(runner.work_dir))}: gradients while it trains')
            runner.logger.info(f'Conflict of the gradients, means over {len(rows)} iterations:\n{format_summary(summarise(rows, self.terms))}')


class Sides:
    """Which terms belong to which side.

    Args:
        reconstruction, semantics: names of terms, or None for those whose losses require what that side reads.
    """

    def __init__(self, reconstruction=None, semantics=None):
        self.named = {side: [names] if isinstance(names, str) else None if names is None else list(names)
                      for side, names in zip(SIDES, (reconstruction, semantics))}
        both = set(self.named[SIDES[0]] or ()) & set(self.named[SIDES[1]] or ())
        if both:
            raise InputError(f'the term `{sorted(both)[0]}` is named for both sides; it can be of one only.')

    def of(self, term, loss):
        """Return the side of a term of a Loss, or None."""
        for side, names in self.named.items():
            if term in (names or ()):
                return side
        natural = natural_side(loss)
        return natural if natural and self.named[natural] is None else None

    def check(self, model):
        """Raise `InputError` where a TokenizerTraining cannot have both sides, or none of its encoders is trained."""
        criterion, tokenizer = model.criterion, model.tokenizer
        if tokenizer.decoder is None:
            raise InputError('the recipe has no decoder, so nothing that reconstruction could pull at; its encoder serves one aim only.')
        if not any(p.requires_grad for p in tokenizer.encoders.parameters()):
            raise InputError('all parameters of the encoders are frozen; there are no gradients that could be in conflict.')
        weights = {name: w if isinstance(w, dict) else {None: w} for name, w in criterion.weights.items()}
        fixed = {term: loss for loss in criterion.losses.values() for term in loss.names or ()}
        open_ended = [loss for loss in criterion.losses.values() if loss.names is None]
        for side, names in self.named.items():
            wrong = [name for name in names or () if name not in fixed and not open_ended]
            if wrong:
                raise InputError(f'the criterion has no term `{wrong[0]}`.{closest(wrong[0], fixed)} It has: {", ".join(fixed)}.', side)
            active = {name: loss for name, loss in criterion.losses.items() if any(weights[name].values())}
            if names is None and not any(natural_side(loss) == side for loss in active.values()):
                listing = ', '.join(f'{name} ({type(loss).__name__})' for name, loss in active.items())
                raise InputError(f'the criterion has no term of {side}, so there is nothing to compare. It has: {listing or "none"}. Take a '
                                 f'recipe with both, or name terms of {side}.', side)

    def split(self, terms, losses):
        """Divide the criterion's Terms: dict side (or 'neither') -> dict term -> weighted scalar.

        Args:
            terms: Terms.
            losses: dict name -> Loss of the criterion.

        Raises:
            InputError: a named term is not there or has the weight 0; a side is empty.
        """
        found = {side: {} for side in (*SIDES, 'neither')}
        for term, value in terms.weighted.items():
            found[self.of(term, losses[terms.owners[term]]) or 'neither'][term] = value
        for side in SIDES:
            for name in self.named[side] or ():
                if name not in found[side]:
                    why = 'has the weight 0' if name in terms.raw else f'is no term of the criterion.{closest(name, terms.raw)}'
                    raise InputError(f'the term `{name}` {why}; terms with a weight: {", ".join(terms.weighted)}.', side)
            if not found[side]:
                raise InputError(f'no term of {side} has a weight; terms with one: {", ".join(terms.weighted) or "none"}.', side)
        return found


def natural_side(loss):
    """Return the side of a Loss by what it requires, or None. What reads reconstructions reaches the encoder through the decoder."""
    if 'reconstructions' in loss.requires:
        return SIDES[0]
    return SIDES[1] if any(name.startswith(SEMANTIC) for name in loss.requires) else None


@contextlib.contextmanager
def untouched(core):
    """Run a block with gradient on a TokenizerTraining and leave no trace of it.

    Modes, buffers and random states are put back; quantizers are in evaluation mode, in which they collect nothing; the tokenizer is called
    without DistributedDataParallel, which would wait for a backward pass.
    """
    tokenizer, entry = core.tokenizer, core.entry
    modes = [(module, module.training) for module in tokenizer.modules()]
    buffers = [(module, name, buffer, buffer.clone()) for module in tokenizer.modules() for name, buffer in module._buffers.items()
               if buffer is not None]
    python, numpy = random.getstate(), np.random.get_state()
    try:
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices), torch.enable_grad():
            object.__setattr__(core, 'entry', tokenizer)
            for vocabulary in tokenizer.vocabularies.values():
                vocabulary.quantizer.eval()
            yield
    finally:
        object.__setattr__(core, 'entry', entry)
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for module, name, buffer, kept in buffers:
                module._buffers[name] = buffer
                buffer.copy_(kept)
        random.setstate(python)
        np.random.set_state(numpy)


def blocks_of(core):
    """Return [(layer, its trainable parameters)] of a TokenizerTraining's encoders, the embedding first.

    A block consists of the parameters that a pass through it alone depends on, so no encoder needs to name them.
    """
    found, encoders = [], core.tokenizer.encoders
    with untouched(core):
        for name, encoder in encoders.items():
            encoder.eval()
            own = [p for p in encoder.parameters() if p.requires_grad]
            tokens = encoder.embed(torch.zeros(1, 3, *encoder.image_size, device=core.iteration.device))
            for layer in range(encoder.depth + 1):
                if layer:
                    tokens, _ = encoder.run(tokens.detach(), layer - 1, layer)
                reached = torch.autograd.grad(tokens.sum(), own, allow_unused=True) if own and tokens.requires_grad else [None] * len(own)
                found.append((f'{name}:{layer}' if len(encoders) > 1 else str(layer), [p for p, g in zip(own, reached) if g is not None]))
    return found


def measure(core, batch, blocks, sides):
    """Measure the conflict on one batch, at the weights as they are.

    Args:
        core: TokenizerTraining in training mode.
        batch: Batch as the data loader gives it.
        blocks: as `blocks_of` returns them.
        sides: Sides.

    Returns:
        (dict of `layers`, `cosine`, `reconstruction`, `semantics`, `together`, see GradientConflict; dict side or 'neither' -> names of terms).
    """
    parameters = list({id(p): p for _, group in blocks for p in group}.values())
    with untouched(core):
        batch = core.prepare(batch)
        with core.autocast():
            terms = core.criterion(core.losses_inputs(batch), batch)
        parts = sides.split(terms, core.criterion.losses)
        found = {}
        for side in SIDES:
            found[side] = dict(zip(map(id, parameters), gradients(sum(parts[side].values()), parameters)))
        row = dict(layers=[name for name, _ in blocks], cosine=[], **{side: [] for side in SIDES})
        sums = torch.zeros(3, dtype=torch.float64)
        for _, group in blocks:
            r, s = (joined(group, found[side]) for side in SIDES)
            row[SIDES[0]].append(norm(r)), row[SIDES[1]].append(norm(s))
            products = None if r is None or s is None else torch.stack([r @ s, r @ r, s @ s]).cpu()
            row['cosine'].append(None if products is None else cosine(products))
            sums = sums if products is None else sums + products
    return dict(row, together=cosine(sums)), {side: list(values) for side, values in parts.items()}


def gradients(total, parameters):
    """Return the gradient of a scalar at each parameter, None where it does not depend on it; the graph is kept."""
    if not total.requires_grad:
        return [None] * len(parameters)
    try:
        return torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    except RuntimeError as e:
        if 'use_reentrant' in str(e) or 'Checkpointing' in str(e):
            raise InputError('a part of this recipe recomputes its activations with use_reentrant=True, which allows no gradient of single '
                             'terms. Let it use use_reentrant=False, or switch its checkpointing off.') from e
        raise


def joined(group, found):
    """Join the gradients of a block to one float64 vector, averaged over ranks; None where none of them is there."""
    if all(found[id(p)] is None for p in group):
        return None
    parts = [torch.zeros_like(p) if found[id(p)] is None else found[id(p)] for p in group]
    return ranks.sum_tensor(torch.cat([p.detach().flatten().double() for p in parts])) / len(ranks.gather_objects(None))


def norm(vector):
    """Return the length of a vector as a float; None for None or where it is not finite."""
    length = float('nan') if vector is None else float(torch.linalg.vector_norm(vector))
    return length if np.isfinite(length) else None


def cosine(products):
    """Return <r,s> / (|r| |s|) of the products [<r,s>, <r,r>, <s,s>]; None where a vector is zero or not finite."""
    both, r, s = products.tolist()
    return both / (r * s) ** 0.5 if r * s > 0 and np.isfinite([both, r, s]).all() else None


# ---- what is left of it -------------------------------------------------------------------------------------------


def leave(rows, terms, folder, title, unit='iteration'):
    """Write conflict.json and conflict.png of the rows of a conflict.jsonl into a folder; `unit` is what the rows count."""
    summary = summarise(rows, terms)
    to_json(summary, os.path.join(folder, SUMMARY))
    draw_conflict(rows, os.path.join(folder, PICTURE), title, terms, unit)
    return summary


def summarise(rows, terms):
    """Return dict of `terms`, `rows` (their number), `together` (mean cosine) and `layers`: for each the means over the rows.

    A layer has `cosine` (mean), `deviation` (its standard deviation over the rows), `opposed` (share of rows below zero), the mean norms, and
    `blank`: why it has no cosine, or ''.
    """
    layers = {}
    for i, name in enumerate(rows[0]['layers']):
        columns = {key: [row[key][i] for row in rows if row[key][i] is not None] for key in ('cosine', *SIDES)}
        missing = [side for side in SIDES if not columns[side]]
        blank = 'reached by neither side, or frozen' if len(missing) == 2 else f'not reached by {missing[0]}' if missing else ''
        values = columns['cosine']
        layers[name] = dict(
            cosine=mean(values), deviation=float(np.std(values)) if values else None, opposed=mean([v < 0 for v in values]),
            **{side: mean(columns[side]) for side in SIDES}, blank=blank or ('' if values else 'a gradient is zero'))
    return dict(terms=terms, rows=len(rows), together=mean([r['together'] for r in rows if r['together'] is not None]), layers=layers)


def mean(values):
    """Return the mean as a float, or None of nothing."""
    return float(np.mean(values)) if len(values) else None


def format_summary(summary):
    """Return a summary as a Markdown table, and the terms below it."""
    def shown(value, spec):
        return '' if value is None else format(value, spec)
    lines = ['| layer | cosine | below 0 | norm of reconstruction | norm of semantics | |', '|---|---|---|---|---|---|']
    for name, found in summary['layers'].items():
        spread = f' +- {found["deviation"]:.3f}' if found['cosine'] is not None else ''
        lines.append(f'| {name} | {shown(found["cosine"], "+.3f")}{spread} | {shown(found["opposed"], ".0%")} | '
                     f'{shown(found["reconstruction"], ".3g")} | {shown(found["semantics"], ".3g")} | {found["blank"]} |')
    lines += ['', f'all layers that both reach: cosine {shown(summary["together"], "+.3f") or "none"}']
    lines += [f'{side}: {", ".join(names) or "-"}' for side, names in summary['terms'].items()]
    return '\n'.join(lines)
