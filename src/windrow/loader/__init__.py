"""Batches by position.

What enters: data, a recipe and sizes. What leaves: batches, by position; a state is a few numbers. The only room that
moves a position. It may not know: formats, screens, or who is looking.
"""
