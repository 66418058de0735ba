"""Codes of whole data sets: encode them into token shards, check these, export and search them."""
