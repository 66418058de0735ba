"""What the tests of broken parts share: a part with one fault for every check, and the assertion that the check finds
it."""
from dtbox.testing import CONTRACTS, run_checks


class Faults:
    """Parts with one fault each, by the check that finds it.

    Args:
        kind: of the parts, such as 'encoder'.
        args: constructor arguments of all of them.
    """

    def __init__(self, kind, **args):
        self.kind = kind
        self.args = args
        self.parts = {}
        self.checks = list(CONTRACTS[kind].checks)

    def breaks(self, check):
        """Decorate a class that fails a check."""
        return lambda cls: self.parts.setdefault(check, cls)

    def require_found(self, check):
        """Assert that the check fails on its part, by what it asks and not by an exception."""
        result = self.run(self.parts[check], check)
        assert result.status == 'fails', result
        assert not result.detail.startswith('raised'), result.detail

    def run(self, part, check):
        """Return the CheckResult of one check on a class."""
        result, = run_checks(dict(type=part, **self.args), only=[check], kind=self.kind)
        return result
