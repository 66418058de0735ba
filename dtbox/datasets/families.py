"""Families of emoji: which code point sequences show one concept, and how emoji are named in words.

A family is one concept with all its skin tones, genders, hair, directions and combinations of two people:

1. Skin tones, variation selectors, gender signs, hair and "facing right" are dropped from the sequence.
2. Man, woman and person count as person: "woman farmer" and "man farmer" are of the family "farmer".
3. Two people joined by a sign are the family of that sign (holding hands, kiss, couple with heart, bunny ears,
   wrestling), whoever they are; adults and children joined are the family "family".
4. What Unicode encodes apart although only the person or the direction differs is joined by the table `JOINED`:
   prince, princess and person with crown; man and woman dancing; a hand that points left, right, up or down; the flag
   of a country and of its territories that fly the same.

Not joined: colours of hearts, hours of clocks, phases of the moon, arrows, flags: there the difference is the concept.
"""
from __future__ import annotations

import re

TONES = frozenset(('1f3fb', '1f3fc', '1f3fd', '1f3fe', '1f3ff'))
HAIR = frozenset(('1f9b0', '1f9b1', '1f9b2', '1f9b3'))
SIGNS = frozenset(('2640', '2642'))
RIGHTWARDS = frozenset(('27a1',))
ADULTS = frozenset(('1f468', '1f469', '1f9d1'))
CHILDREN = frozenset(('1f466', '1f467', '1f9d2'))

# what joins two people -> family (holding hands, couple with heart, kiss, bunny ears, wrestling)
LINKS = {('1f91d',): '1f46b', ('2764',): '1f491', ('2764', '1f48b'): '1f48f', ('1f430',): '1f46f', ('1faef',): '1f93c'}

# family -> (its name in words, members that rules 1 to 3 leave apart)
JOINED = {
    '1f9d1': ('person', ('1f471', '1f9d4')),  # blond hair and beards are hair
    '1f9d2': ('child', ('1f466', '1f467')),
    '1f9d3': ('older person', ('1f474', '1f475')),
    '1f46b': ('people holding hands', ('1f46c', '1f46d')),
    '1f48f': ('kiss', ()),
    '1f491': ('couple with heart', ()),
    '1f46a': ('family', ()),
    '1f385': ('Santa Claus', ('1f936', '1f9d1-200d-1f384')),
    '1fac5': ('person with crown', ('1f934', '1f478')),
    '1fac4': ('pregnant person', ('1f930', '1fac3')),
    '1f483': ('person dancing', ('1f57a',)),
    '1f9d1-200d-1f37c': ('person feeding baby', ('1f931',)),
    '1f91d': ('handshake', ('1faf1-200d-1faf2',)),
    '1f446': ('backhand index pointing', ('1f447', '1f448', '1f449')),
    '1f91b': ('sideways fist', ('1f91c',)),
    '1faf1': ('sideways hand', ('1faf2',)),
    '1faf7': ('pushing hand', ('1faf8',)),
    '1f50d': ('magnifying glass', ('1f50e',)),
    '1f3fb': ('skin tone', tuple(sorted(TONES))),
    '1f9b0': ('hair', tuple(sorted(HAIR))),
    # territories that fly the flag of their country
    '1f1e6-1f1fa': ('flag of Australia', ('1f1ed-1f1f2',)),
    '1f1ea-1f1f8': ('flag of Spain', ('1f1ea-1f1e6',)),
    '1f1eb-1f1f7': ('flag of France', ('1f1e8-1f1f5', '1f1f2-1f1eb')),
    '1f1ee-1f1f4': ('flag of British Indian Ocean Territory', ('1f1e9-1f1ec',)),
    '1f1f3-1f1f4': ('flag of Norway', ('1f1e7-1f1fb', '1f1f8-1f1ef')),
    '1f1fa-1f1f8': ('flag of United States', ('1f1fa-1f1f2',)),
}
_FAMILY_OF_MEMBER = {member: family for family, (_, members) in JOINED.items() for member in members}

# Families of two or more people, or of every portrait: up to 126 emoji each. They stay in training, and give fewer
# variants, so that no single concept fills a held-out set. Named, not counted: counts grow when emoji are added.
GIANTS = frozenset(('1f9d1', '1f46b', '1f46f', '1f48f', '1f491', '1f91d', '1f93c'))

# Families in which one image stands for several emoji with different names (silhouettes of families, flags of
# territories). Retrieval cannot tell those apart, so they stay in training whole.
AMBIGUOUS = frozenset(('1f46a',)) | {family for family in JOINED if family.startswith('1f1')}


def find_family(key: str) -> str:
    """Return the family of an emoji as a sequence of code points.

    Args:
        key: code points in lower-case hex joined by '-', e.g. '1f469-1f3fd-200d-1f33e'.

    Returns:
        the family's own key, e.g. '1f9d1-200d-1f33e'.
    """
    parts = _components(key)
    head, last = parts[0], parts[-1]
    if len(parts) > 1 and all(p in ADULTS or p in CHILDREN for p in parts):
        return '1f46a'
    if len(parts) > 2 and head in ADULTS and last in ADULTS and tuple(parts[1:-1]) in LINKS:
        return LINKS[tuple(parts[1:-1])]
    base = '-200d-'.join(['1f9d1' if head in ADULTS else head] + parts[1:])
    return _FAMILY_OF_MEMBER.get(base, base)


def is_plain(key: str) -> bool:
    """Whether an emoji is a plain form of its family: no tone, gender, hair or direction chosen, no pair of people."""
    return '-200d-'.join(_components(key)) == key.replace('-fe0f', '') and not set(key.split('-200d-')) & {'1f468',
                                                                                                           '1f469'}


def _components(key):
    """Return what zero-width joiners join, without the marks that rule 1 drops. A mark that stands alone is kept."""
    parts = []
    for i, component in enumerate(key.split('-200d-')):
        points = [p for p in component.split('-') if p != 'fe0f']
        bare = [p for p in points if p not in TONES]
        if i and len(bare) == 1 and bare[0] in SIGNS | HAIR | RIGHTWARDS:
            continue
        parts.append('-'.join(bare or points))
    return parts


def format_name(name: str, key: str = '') -> str:
    """Return the name of an emoji in words: ':man_farmer:' -> 'man farmer', ':Madagascar:' -> 'flag of Madagascar'.

    Args:
        name: as the package `emoji` spells it.
        key: code points of the emoji; a flag is known by them.
    """
    words = re.sub(r'\s+', ' ', name.strip(':').replace('_', ' ')).strip()
    words = words.translate({0x2018: "'", 0x2019: "'", 0x201c: '"', 0x201d: '"'})
    points = key.split('-')
    nation = len(points) == 2 and all('1f1e6' <= p <= '1f1ff' for p in points)
    region = points[0] == '1f3f4' and len(points) > 1 and points[1].startswith('e00')
    if (nation or region) and not words.lower().startswith('flag'):
        return f'flag of {words}'
    return re.sub(r'^flag for ', 'flag of ', words) if nation or region else words
