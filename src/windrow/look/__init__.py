"""What a step holds, when a text comes, a page of the whole run.

What enters: a loader. What leaves: explanations, for a terminal, a notebook or a browser. It moves no position.
"""
