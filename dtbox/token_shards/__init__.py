"""Token shards: Parquet files of codes, each stamped with the fingerprint of the tokenizer that made it.

`fingerprint` says what codes depend on, `format` what a file holds, `writing` and `reading` do what they say, `packing`
turns codes into columns and back. `cache` maps codes of a folder into memory (`segments` are its files, `lookup`
finds them by keys).
"""
