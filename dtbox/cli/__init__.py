"""The command `dtbox VERB`: one module a verb, each with its `VERB`.

A verb parses, calls and prints; other rooms do the work.
"""
