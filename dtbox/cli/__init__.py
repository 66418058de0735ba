"""The command `dtbox VERB`: one module a verb, each with its `VERB`. A verb parses, calls and prints; the work is done in other rooms."""
