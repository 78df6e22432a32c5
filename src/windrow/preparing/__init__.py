"""The rooms of ``prepare``: inputs -> documents -> items of work -> ids -> stores. ``prepare.py`` tells the path."""
