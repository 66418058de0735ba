"""What a first step says of parameters that nothing trains."""
from dtbox.training.step_checks import find_patterns


def test_patterns_are_as_short_as_they_may_be():
    """A part of idle parameters alone is one pattern; a name beside trained ones stays whole."""
    idle = ['text.a.weight', 'text.b.bias', 'trunk.blocks.5.norm.weight', 'trunk.blocks.5.norm.bias', 'trunk.token',
            'head.scale']
    trained = ['trunk.blocks.4.norm.weight', 'trunk.tokens', 'head.scale_2', 'text_2.a']
    assert find_patterns(idle, trained) == ['text.*', 'trunk.blocks.5.*', 'trunk.token', 'head.scale']
