"""Weight files: state dicts from a file, the zoo or a hub (`state_dicts.py`), model folders and shards
(`model_folders.py`), folders of `save_pretrained` and packaged models (`exported_folders.py`), published names under
ours (`renaming.py`, `siglip_names.py`)."""
