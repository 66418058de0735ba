"""tools/teacher_check.py: the frozen encoder's own scores."""
import json
import re

import pytest

from dtbox.diagnostics.teacher_check import PUBLISHED, check_teacher, list_remarks, report
from dtbox.errors import InputError
from dtbox.evaluation import Results
from tests.format_data import imagenet
from tools.teacher_check import main

CONFIG = 'configs/dualtoken_cifar10.py'


def test_scores_are_those_of_the_evaluation(cifar_shards, tmp_path, capsys):
    out = str(tmp_path / 'teacher.json')
    main([CONFIG, '--out', out, '--cfg-options', f'data_root={cifar_shards}'])
    said, found = capsys.readouterr().out, json.load(open(out))
    assert 'vit_base_patch16_siglip_224, weights dtbox://siglip-tiny-cifar10' in said
    assert 'activation  gelu (tanh)' in said
    assert found['settings']['images'] == 10
    assert found['settings']['resize'] == 'short_side'
    assert found['published'] == []
    assert re.search(r'test +zeroshot_top1 +[0-9.]+ %', said) and 'Not measured' not in said
    from dtbox.config import load_config, resolve
    from dtbox.evaluation import SetEvaluator
    from dtbox.evaluation.loop import evaluate
    from dtbox.training.build import build_parts
    parts = build_parts(resolve(load_config(CONFIG, dict(data_root=str(cifar_shards)))), 0, training=False)
    parts['model'].init_weights()
    whole = evaluate(parts['model'], parts['val'], SetEvaluator([dict(type='ZeroShot', templates=['a photo of a {}'])]))
    assert found['scores']['test']['zeroshot_top1/teacher'] == whole.sets['test']['zeroshot_top1/teacher']


def test_published_values_stand_beside_imagenet_only(tmp_path):
    found = check_teacher('configs/dualtoken_rq.py', 'configs/_base_/datasets/imagenet.py', templates=['{}'],
                          options=dict(data_root=str(imagenet(tmp_path, 1)), num_workers=0, resize='squash'))
    assert found['published'] == [('SigLIP', 76.2), ('SigLIP 2', 78.2)]
    text = report(found)
    assert re.search(r'val +zeroshot_top1 .*published SigLIP: 76.2 %   published SigLIP 2: 78.2 %', text)
    assert found['settings']['resize'] == 'squash' and not any('squashes' in r for r in found['remarks'])
    assert all(v is None or 70 < v < 90 for pair in PUBLISHED.values() for v in pair)


def test_what_may_be_wrong_is_said(cifar_shards):
    exact = check_teacher(CONFIG, options={'data_root': str(cifar_shards), 'encoder.model_args.act_layer': 'gelu'},
                          limit=4)
    text = ' '.join(exact['remarks'])
    assert 'SigLIP was trained with the tanh form of GELU' in text
    assert 'SigLIP squashes' in text
    assert 'on the first ' in text
    settings = dict(model='x', activation='', resize='', images=9)
    assert 'at chance' in list_remarks(settings, None, Results(dict(val={'zeroshot_top1/teacher': 0.1})), 10)[0]
    assert list_remarks(settings, None, Results(dict(val={'zeroshot_top1/teacher': 0.3})), 10) == []


def test_configs_without_texts_or_teacher(tiny_config, cifar_shards):
    with pytest.raises(InputError, match='cannot be compared with texts: no semantics: the tokenizer has no text '
                                         'tower'):
        check_teacher(tiny_config)
    with pytest.raises(InputError, match='there is no encoder `techer`. Did you mean `teacher`'):
        check_teacher(CONFIG, encoder='techer', options=dict(data_root=str(cifar_shards)))
