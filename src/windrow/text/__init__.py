"""Where documents come from.

What enters: files, folders, standard input, iterables. What leaves: documents in a fixed order, each with its line and
its bytes. It may not know: ids, stores, workers; forms and compression are all it knows.
"""
