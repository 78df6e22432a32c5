"""The program ``windrow``.

What enters: the words of a command line. What leaves: a few calls of the other rooms, text on a screen, and an exit
code. It computes nothing.
"""
