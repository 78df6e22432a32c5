"""What a run will do, and whether it can be trusted.

What enters: a loader or a store. What leaves: figures. It moves no position and writes no file.
"""
