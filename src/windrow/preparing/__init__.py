"""Text to stores: ``prepare.py`` tells the path.

What enters: text and a tokenizer. What leaves: stores, whole or not at all, the same bytes for any number of workers
and after any kill. It may not know: windows or loaders.
"""
