"""Plugins: Python that registers parts, loaded once per process and before anything is built.

A plugin is a folder, a .py file or a module, named by `plugins` of a config or by `--plugin`; or an installed package
with an entry point in the group `dtbox.plugins`. `find` says where a plugin is, `watch` sees what it registers and
takes it back when it fails, `load` loads, `record` keeps what a run was trained with and compares.
"""
from dtbox.extend.load import as_list, load_installed, load_named, load_plugins
from dtbox.extend.plugin import LOADED, Plugin, find_origin

__all__ = ['LOADED', 'Plugin', 'as_list', 'find_origin', 'load_installed', 'load_named', 'load_plugins']
