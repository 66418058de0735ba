"""Retrieval between pictures and captions, by the teacher's embeddings and by the tokens', side by side.

The one metric that keeps embeddings: it gathers them once, at the end, from ranks that hold different numbers.
"""
import itertools

import torch
import torch.nn.functional as F

from dtbox import distributed
from dtbox.errors import InputError
from dtbox.evaluation.base import REASONS, Metric
from dtbox.evaluation.functional import match_pairs, places, recall_at
from dtbox.evaluation.functional.ranking import TIE
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.names import SIDES
from dtbox.registry import METRICS

_nameless = itertools.count()  # of the process, so that merged metrics never mistake two pictures for one


def side_embeddings(outputs):
    """Return side -> pooled embedding [B, E] of the pictures or None: the teacher's, and the tokens' from the head."""
    return dict(teacher=outputs.teacher.pooled if outputs.teacher is not None else None, tokens=outputs.pooled)


@METRICS.register_module()
class Retrieval(Metric):
    """`t2i_rK/SIDE` and `i2t_rK/SIDE`, SIDE being `teacher` or `tokens`; `kept`, the tokens' mean R@1 over the teacher's.

    The mean R@1 is that of both directions. A picture has the captions that the batch lists (`captions`, five each in COCO and Flickr),
    or else its `texts`; samples of one key are one picture, equal captions one text; with several right answers the best one
    counts, and each caption is a query of its own. Ties count against. Pictures without a caption are left out. Texts are embedded by the
    outputs' `text_pooled`, where the batch has one text a picture, or else by the context's `embed_text`.

    Args:
        ks: the K of R@K.
        most: captions of a picture that are used, the first ones; None for all (COCO has a few pictures with six or seven, of which
            CLIP's protocol takes five).
        block: texts embedded at a time.
        prefix: see Metric.
    """
    info = [MetricInfo('t2i_r{k}', 'text to image R@{k}', '', '.1%', 'higher', 'semantics', order=8, headline=5, samples='t2i/{side}<{k}'),
            MetricInfo('i2t_r{k}', 'image to text R@{k}', '', '.1%', 'higher', 'semantics', order=9, headline=6, samples='i2t/{side}<{k}'),
            MetricInfo('kept', 'mean R@1 kept by tokens', '', '.1%', 'higher', 'semantics', order=10, side='tokens')]
    requires = ('batch.texts',)
    uses = ('pooled', 'teacher.pooled', 'text_pooled', 'context.embed_text', 'batch.captions')
    merges = False

    def __init__(self, ks=(1, 5, 10), most=None, block=256, prefix=''):
        super().__init__(prefix)
        self.ks, self.most, self.block = tuple(ks), most, block

    def reset(self):
        super().reset()
        self.names, self.pictures, self.rows, self.found = [], [], {name: [] for name in ('text', *SIDES)}, None

    def available(self, outputs, batch):
        if all(v is None for v in side_embeddings(outputs).values()):
            return 'no pooled embedding, neither of the tokens nor of a teacher'
        if self.context.embed_text is None and (outputs.text_pooled is None or batch.captions is not None):
            return 'no text tower to embed the captions'
        return super().available(outputs, batch)

    def update(self, batch, outputs):
        size = len(outputs.images)
        captions = [[t] for t in batch.texts] if batch.captions is None else batch.captions
        if len(captions) != size:
            raise InputError(f'retrieval needs the captions of each of {size} pictures, got those of {len(captions)}.')
        captions = [[tidy for t in some if (tidy := t.strip())][:self.most] for some in captions]
        keys = batch.keys or [f'rank {distributed.get_rank()}, sample {next(_nameless)}' for _ in range(size)]
        told = [i for i, some in enumerate(captions) if some]
        if len(told) < size:
            self.leave_out('pictures without a caption', size - len(told))
        self.found = None
        self.pictures += [str(keys[i]) for i in told]
        self.names += [(str(keys[i]), text) for i in told for text in captions[i]]
        _append(self.rows['text'], self._embed(batch, outputs, captions, told))
        for name, value in side_embeddings(outputs).items():
            if value is None:
                self.leave_out(REASONS['pooled' if name == 'tokens' else 'teacher.pooled'], size)
            else:
                _append(self.rows[name], F.normalize(value.detach().float(), dim=1).cpu()[told])

    def _embed(self, batch, outputs, captions, told):
        """Embeddings of the captions of the pictures `told`, one after the other."""
        if batch.captions is None and outputs.text_pooled is not None:
            if len(outputs.text_pooled) != len(captions):
                raise InputError(f'retrieval needs one text embedding for each of {len(captions)} pictures, got {len(outputs.text_pooled)}.')
            return F.normalize(outputs.text_pooled.detach().float(), dim=1).cpu()[told]
        texts = [text for i in told for text in captions[i]]
        parts = [self.context.embed_text(texts[i:i + self.block]) for i in range(0, len(texts), self.block)]
        return F.normalize(_stack([p.detach().float().cpu() for p in parts]), dim=1)

    def merge(self, other):
        super().merge(other)
        self.found = None
        self.names, self.pictures = self.names + other.names, self.pictures + other.pictures
        self.rows = {name: self.rows[name] + other.rows[name] for name in self.rows}
        return self

    def sync(self):
        if self.synced:
            return
        super().sync()
        self.found = None
        gathered = distributed.gather_objects((self.names, self.pictures))
        self.names = [pair for names, _ in gathered for pair in names]
        self.pictures = [key for _, keys in gathered for key in keys]
        for name, rows in self.rows.items():  # in place: the parts go before the next side is put together
            whole = _stack(rows)
            rows.clear()
            rows.append(distributed.gather_rows(whole))

    def values(self):
        values, means = {}, {}
        for side in SIDES:
            found = {way: sides[side] for way, (_, sides) in self._places().items() if side in sides}
            if found:
                values.update({f'{way}_r{k}/{side}': recall_at(p, k) for way, p in found.items() for k in self.ks})
                means[side] = sum(recall_at(p, 1) for p in found.values()) / 2
        if means.get('teacher') and 'tokens' in means:
            values['kept'] = means['tokens'] / means['teacher']
        return values

    def queries(self):
        return {f'{self.prefix}/{way}' if self.prefix else way: (keys, {side: p.double().numpy() for side, p in sides.items()})
                for way, (keys, sides) in self._places().items() if sides}

    def _places(self):
        """way -> (names of its M queries, side -> place of the best right answer [M] int64); found once."""
        if self.found is not None or not self.names:
            return self.found or {}
        pictures, texts, pairs = match_pairs(*zip(*self.names))
        text, first = _taken(_stack(self.rows['text']), texts), {}
        for i, key in enumerate(self.pictures):
            first.setdefault(key, i)
        rows_of = torch.tensor([first[self.names[i][0]] for i in pictures])
        self.found = dict(t2i=([self.names[i][1] for i in texts], {}), i2t=([self.names[i][0] for i in pictures], {}))
        for side in SIDES:
            rows = _stack(self.rows[side])
            if len(rows) != len(self.pictures):  # absent, or absent in some batches
                continue
            if rows.shape[1] != text.shape[1]:
                self.reasons[f'{side} embeds to {rows.shape[1]} numbers, texts to {text.shape[1]}'] = len(rows)
                continue
            rows = _taken(rows, rows_of)
            self.found['t2i'][1][side] = places(text, rows, pairs.flip(1), TIE)
            self.found['i2t'][1][side] = places(rows, text, pairs, TIE)
        return self.found


def _append(rows, piece, block=4096):
    """Append a piece [M, E] to a list of them; small ones are joined to blocks, since thousands of them leave holes in the heap when they go."""
    rows.append(piece)
    small = sum(len(r) < block for r in rows)  # they are the last ones
    if small and sum(len(r) for r in rows[-small:]) >= block:
        rows[-small:] = [torch.cat(rows[-small:])]


def _stack(rows):
    rows = [r for r in rows if len(r)]
    return rows[0] if len(rows) == 1 else torch.cat(rows) if rows else torch.zeros(0, 0)


def _taken(rows, index):
    """rows[index], not copied where that is all of them in order."""
    return rows if len(index) == len(rows) and bool((index == torch.arange(len(rows))).all()) else rows[index]
