"""Published state dicts to ours: rules that name their sources, so that every key is accounted for."""
import torch

from dtbox.errors import InputError


class Renaming:
    """Collects target tensors from a source state dict; `finish` reports what is missing and what is left over.

    Args:
        state: published name -> tensor.
        source: what to call it in messages.
    """

    def __init__(self, state, source):
        self.state, self.source = state, source
        self.target, self.missing, self.used = {}, [], set()

    def take(self, *names):
        """Return the source tensors of those names in float32; None, and a note, where one is missing."""
        self.used.update(names)
        gone = [n for n in names if n not in self.state]
        self.missing += [n for n in gone if n not in self.missing]
        return None if gone else [self.state[n].float() for n in names]

    def copy(self, target, source, view=None):
        """target <- source, reshaped by `view` (a function) where given."""
        found = self.take(source)
        if found:
            self.target[target] = view(found[0]) if view else found[0]

    def both(self, target, source):
        """Copy `.weight` and `.bias`."""
        for part in ('weight', 'bias'):
            self.copy(f'{target}.{part}', f'{source}.{part}')

    def stack(self, target, sources):
        """target.weight and .bias <- the sources' rows one below the other."""
        for part in ('weight', 'bias'):
            found = self.take(*(f'{s}.{part}' for s in sources))
            if found:
                self.target[f'{target}.{part}'] = torch.cat(found)

    def tree(self, target, source):
        """Copy everything under a prefix, name for name."""
        for name in [n for n in self.state if n.startswith(source)]:
            self.copy(target + name[len(source):], name)

    def finish(self, ignore=()):
        """Return the target state dict.

        Args:
            ignore: endings of source names that mean nothing (non-persistent buffers of older versions).

        Raises:
            InputError: listing the keys that are missing or left over.
        """
        left = [n for n in self.state if n not in self.used and not n.endswith(tuple(ignore) or '\0')]
        if self.missing or left:
            parts = [f' {len(keys)} {what}: {", ".join(keys[:20])}{", ..." if len(keys) > 20 else ""}.'
                     for what, keys in (('missing', self.missing), ('left over', left)) if keys]
            raise InputError(f'{self.source} does not have the keys that its config promises.{"".join(parts)} '
                             'Check that config, SigLIP folder and weights belong together.')
        return self.target
