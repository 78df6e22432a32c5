"""The certificate: sixteen bugs that real projects shipped in silence, each looked for in this store and this recipe.

Guarantee: every check looks at the real data or at real batches and says what it saw; one that cannot be made says
why. Cost: a reading of all files; seconds for a gigabyte. It does not do: repairs. Writes nothing.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from windrow.audit import check_batches as check_stream
from windrow.audit import check_store
from windrow.audit.check_subject import Failed, NotApplicable, Subject, open_subject
from windrow.audit.sizes import RunSizes, recipe_line
from windrow.distribution import __version__
from windrow.errors import WindrowError
from windrow.shown import visible
from windrow.store.store import TokenStore

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["CHECKS", "Certificate", "Finding", "certify", "print_certificate"]

CHECKS: dict[str, Callable[[Subject], str]] = {
    "targets shifted twice or not at all": check_stream.targets_shifted,
    "train and valid share a document": check_store.shared_documents,
    "every rank reads the same data": check_stream.ranks_alike,
    "every worker reads the same data": check_stream.workers_alike,
    "ids wrapped in a narrow dtype": check_store.ids_wrapped,
    "eos missing or doubled": check_store.eos,
    "resume repeats or skips": check_stream.resume,
    "no reshuffle per epoch": check_stream.reshuffled,
    "tokens dropped without a count": check_stream.tokens_dropped,
    "loss on padding, or eos masked": check_stream.padding_counts,
    "ids differ at cut points": check_store.cut_points,
    "positions and attention leak across documents": check_stream.documents_leak,
    "stale or half-written files": check_store.stale_files,
    "truncated shard read as zeros": check_store.truncated,
    "control tokens forged by text": check_store.control_tokens,
    "evaluation depends on sizes": check_stream.evaluation,
}


@dataclass(frozen=True)
class Finding:
    """What one check saw."""

    name: str
    status: Literal["ok", "failed", "not applicable"]
    evidence: str


@dataclass(frozen=True)
class Certificate:
    """All findings, of what, and under which recipe."""

    version: str
    subject: str
    fingerprint: str
    num_tokens: int
    recipe: dict[str, Any]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.status != "failed" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def certify(
    path: Path,
    sizes: RunSizes | None = None,
    *,
    tokenizer: str | None = None,
    stores: dict[str, TokenStore] | None = None,
) -> Certificate:
    """Look for all sixteen in what lies at ``path``; of a run in its own ``stores`` by name, train first.

    A store that cannot be opened has a certificate too: it says so, and fails. Raises ``NotEnoughTokensError`` when
    the train part is too short for ``sizes``.
    """
    sizes = sizes or RunSizes()
    try:
        subject = open_subject(path, sizes, tokenizer, stores)
    except WindrowError as error:
        found = Finding("stale or half-written files", "failed", str(error))
        return Certificate(__version__, str(path), "", 0, {}, (found,))
    recipe, train = json.loads(subject.loader().recipe), subject.train
    findings = tuple(_finding(name, check, subject) for name, check in CHECKS.items())
    return Certificate(__version__, str(path), train.fingerprint, train.num_tokens, recipe, findings)


def _finding(name: str, check: Callable[[Subject], str], subject: Subject) -> Finding:
    try:
        return Finding(name, "ok", check(subject))
    except NotApplicable as reason:
        return Finding(name, "not applicable", str(reason))
    except Failed as fault:
        return Finding(name, "failed", str(fault))
    except (ValueError, IndexError, OSError) as error:  # data so broken that the check itself stumbles
        return Finding(name, "failed", f"{type(error).__name__}: {error}")


def print_certificate(console: "Console", certificate: Certificate, batch_size: int) -> None:
    """A line for each check, its evidence below; and the recipe, with the ``batch_size`` that was checked."""
    marks = {"ok": "ok    ", "failed": "FAILED", "not applicable": "-     "}
    for number, finding in enumerate(certificate.findings, start=1):
        console.print(
            f"{number:>2} {marks[finding.status]} {finding.name}", style="bold" * (finding.status == "failed")
        )
        console.print(f"          {visible(finding.evidence)}", style="dim", soft_wrap=True)
    failed = sum(finding.status == "failed" for finding in certificate.findings)
    console.print(f"windrow {certificate.version}: {visible(certificate.subject)}, {certificate.num_tokens:,} tokens")
    console.print(f"fingerprint {certificate.fingerprint}", soft_wrap=True)
    if certificate.recipe:
        console.print(f"recipe: {recipe_line(certificate.recipe, batch_size)}", soft_wrap=True)
    console.print(f"{failed} of {len(certificate.findings)} checks failed" if failed else "no check failed")
