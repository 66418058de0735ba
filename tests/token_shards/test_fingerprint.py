import json
import re
from dataclasses import replace

import pytest
import torch

from dtbox.errors import InputError
from dtbox.token_shards.fingerprint import Fingerprint, hash_json
from tests.token_data import FINGERPRINT, other_fingerprint

FIELDS = ('weights', 'config', 'pipeline', 'dtype', 'device', 'batch')


@pytest.mark.parametrize('field', FIELDS)
def test_every_field_counts(field):
    other = other_fingerprint(**{field: 'another'})
    assert FINGERPRINT.digest != other.digest
    assert FINGERPRINT.differences(other) == [field]
    assert f'`{field}` is another, not ' in other.explain(FINGERPRINT)


def test_digest_by_hand():
    """What sha256sum says of {"batch":"b","config":"c","device":"d","dtype":"t","pipeline":"p","weights":"w"}."""
    assert Fingerprint('w', 'c', 'p', 't', 'd', 'b').digest == '4bb99b6d26bb88a0'


def test_hash_does_not_depend_on_the_order_of_keys():
    assert hash_json(dict(a=1, b=[dict(c=2, d=3)])) == hash_json(json.loads('{"b": [{"d": 3, "c": 2}], "a": 1}'))
    assert hash_json(dict(a=1)) != hash_json(dict(a=1.5))


@pytest.mark.parametrize('value', [dict(a=float('nan')), dict(a={1, 2}), dict(a=torch.zeros(1))])
def test_what_json_cannot_write(value):
    with pytest.raises(InputError, match='has no JSON form'):
        hash_json(value)


def test_there_and_back():
    assert Fingerprint.from_dict(json.loads(json.dumps(FINGERPRINT.to_dict()))) == FINGERPRINT
    for odd in ({}, dict(FINGERPRINT.to_dict(), more='x'), dict(FINGERPRINT.to_dict(), dtype=3), None):
        with pytest.raises(InputError, match='a fingerprint is .* expected a dict of strings'):
            Fingerprint.from_dict(odd)



def test_what_a_pipeline_is_made_of_is_told():
    """Its hash says nothing to whoever changed an option."""
    one = Fingerprint('w', 'c', 'p', 'float32', 'cpu', 'batch=1')
    said = one.explain(replace(one, pipeline='q', dtype='float16'))
    assert re.search(r'`pipeline` is p, not q \(a hash of --views.*\), `dtype` is float32, not float16$', said)
