"""Runs on disk.

What enters: a file that says what a run is made of, written by ``Loader.write_run`` or by hand, and a state. What
leaves: the loader of that run, where the state stood. It may not know: training, screens, or who is looking.
"""
