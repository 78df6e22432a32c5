"""A small GPT, trained so that it can stop anywhere.

What enters: a folder and settings. What leaves: checkpoints, curves and samples. It may not know: flags.
"""
