"""Doors for the frameworks that people train with, one file a framework.

What enters: a loader, or a function that makes one once its rank is known. What leaves: what that framework takes as
data, which gives it the loader's batches at every step, also after a stop. It may not know: how a batch is made; and
nothing of a framework is imported before its file is.
"""
