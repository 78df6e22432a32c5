"""A text that is on every machine, for demonstrations: the prose of Python's own language reference.

Guarantee: needs no network and no file. Cost: one import of the standard library.
"""

import re
from collections.abc import Iterator

__all__ = ["demo_documents", "demo_text"]


def demo_text() -> str:
    """Real English that is on every machine: the prose of the language reference that ships with Python, 0.2 MB."""
    return "\n\n".join(demo_documents())


def demo_documents() -> list[str]:
    """The text of ``demo_text`` as documents, one a topic, in the order of their names.

    A line is a paragraph; what is no sentence (tables, grammar, code, much of them in passing) is left out, and so is
    markup, so that a model learns to write.
    """
    from pydoc_data.topics import topics

    return [text for _, topic in sorted(topics.items()) if (text := "\n\n".join(_sentences(topic)))]


def _sentences(topic: str) -> Iterator[str]:
    for paragraph in topic.split("\n\n"):
        joined = " ".join(paragraph.split())
        if re.fullmatch(r"(?!.*__)[A-Za-z][^=<>\[\]{}\\|]{40,}[.:]", joined):
            yield re.sub(r'["*]', "", joined)
