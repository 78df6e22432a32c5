"""The certificate: eighteen bugs that real projects shipped in silence, each looked for in stores and a recipe.

A check is named for what it finds where all is well.

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
from windrow.audit.check_subject import Advice, Failed, NotApplicable, Subject, open_subject, subject_of
from windrow.audit.sizes import RunSizes, recipe_line
from windrow.distribution import __version__
from windrow.errors import NotEnoughTokensError, WindrowError
from windrow.loader.loader import Loader
from windrow.shown import counted, visible
from windrow.store.store import TokenStore

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["CHECKS", "Certificate", "Finding", "certify", "certify_loader", "print_certificate"]

CHECKS: dict[str, Callable[[Subject], str]] = {
    "targets are the inputs, moved on by one token": check_stream.targets_shifted,
    "train and valid share no document": check_store.shared_documents,
    "each rank reads its own part": check_stream.ranks_alike,
    "each worker reads its own part": check_stream.workers_alike,
    "each id is one of the tokenizer's": check_store.ids_wrapped,
    "each document ends with one eos": check_store.eos,
    "a resume goes on with the next batch": check_stream.resume,
    "each epoch has an order of its own": check_stream.reshuffled,
    "each token that is dropped is counted": check_stream.tokens_dropped,
    "padding does not count, and each eos does": check_stream.padding_counts,
    "text has the same ids wherever it is cut": check_store.cut_points,
    "positions and attention stay within documents": check_stream.documents_leak,
    "files are those that were written": check_store.stale_files,
    "no file is cut short": check_store.truncated,
    "no text became a control token": check_store.control_tokens,
    "an evaluation is the same for all sizes": check_stream.evaluation,
    "documents have other neighbours in each epoch": check_stream.neighbours,
    "documents are text, and no other form": check_store.form,
}


@dataclass(frozen=True)
class Finding:
    """What one check saw, and what to do about it where it failed."""

    name: str
    status: Literal["ok", "advice", "failed", "not applicable"]
    evidence: str
    remedy: str = ""


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
    stores: dict[str, TokenStore] | None = None,
    **given: Any,
) -> Certificate:
    """Look for all eighteen in what lies at ``path``, which is opened as ``given``; or in ``stores``, train first.

    A store that cannot be opened has a certificate too: it says so, and fails. Raises ``NotEnoughTokensError`` when
    the train part is too short for ``sizes``.
    """
    try:
        subject = open_subject(path, sizes or RunSizes(), stores, **given)
    except NotEnoughTokensError:
        raise
    except WindrowError as error:
        found = Finding("files are those that were written", "failed", str(error))
        return Certificate(__version__, str(path), "", 0, {}, (found,))
    return _certificate(str(path), subject)


def certify_loader(
    loader: Loader, valid: Loader | None = None, *, subject: str = "a loader", tokenizer: str | None = None
) -> Certificate:
    """Look for all eighteen in a run: in what ``loader`` draws from, and under its recipe, from the run's beginning.

    Any policy, mixture, mask and number of ranks; ``valid`` is the run's evaluation, ``subject`` what the certificate
    says that it is of. Nothing moves. Raises ``StoreError`` for a store in memory without a tokenizer.
    """
    return _certificate(subject, subject_of(loader, valid, tokenizer))


def _certificate(name: str, subject: Subject) -> Certificate:
    recipe, train = json.loads(subject.loader().recipe), subject.train
    findings = tuple(_finding(name, check, subject) for name, check in CHECKS.items())
    prints = [store.fingerprint if len(train) == 1 else f"{part} {store.fingerprint}" for part, store in train.items()]
    num_tokens = sum(store.num_tokens for store in train.values())
    return Certificate(__version__, name, ", ".join(prints), num_tokens, recipe, findings)


def _finding(name: str, check: Callable[[Subject], str], subject: Subject) -> Finding:
    try:
        return Finding(name, "ok", check(subject))
    except (Advice, NotApplicable) as found:
        return Finding(name, "advice" if isinstance(found, Advice) else "not applicable", str(found))
    except (Failed, ValueError, IndexError, OSError) as fault:  # or data so broken that the check itself stumbles
        what = "" if isinstance(fault, Failed) else f"{type(fault).__name__}: "
        return Finding(name, "failed", f"{what}{fault}", _remedy(check, subject))


def _remedy(check: Callable[[Subject], str], subject: Subject) -> str:
    """What to do when ``check`` fails."""
    if check.__module__ == check_stream.__name__:
        return "Where the checks of the store pass, this is a defect of windrow. Please report it."
    if any(store.foreign for store in subject.train.values()):
        return "Give the --tokenizer that made these files, or make them again."
    return "Prepare the text again into a new folder, or restore the store from a copy."


_MARKS = {
    "ok": ("ok", "green"),
    "advice": ("advice", "yellow"),
    "failed": ("FAILED", "bold red"),
    "not applicable": ("-", "dim"),
}


def print_certificate(console: "Console", certificate: Certificate, batch_size: int, *, verbose: bool = False) -> None:
    """A line for each check, and the recipe, with the ``batch_size`` that was checked.

    What failed has what was seen and what to do below it; ``verbose`` says of every check what was seen.
    """
    for number, finding in enumerate(certificate.findings, start=1):
        mark, style = _MARKS[finding.status]
        reason = f": {visible(finding.evidence)}" if finding.status in ("advice", "not applicable") else ""
        console.print(f"{number:>2} ", end="")
        console.print(f"{mark:<6}", style=style, end=" ")
        console.print(f"{finding.name}{reason}", soft_wrap=True)
        if finding.status == "failed" or (verbose and not reason):
            console.print(f"          {visible(finding.evidence)}", style="dim" * verbose, soft_wrap=True)
        if finding.remedy:
            console.print(f"          {finding.remedy}", soft_wrap=True)
    _print_verdict(console, certificate, batch_size)


def _print_verdict(console: "Console", certificate: Certificate, batch_size: int) -> None:
    subject = f"{visible(certificate.subject)}, {counted(certificate.num_tokens, 'token')}"
    console.print(f"windrow {certificate.version}: {subject}", soft_wrap=True)
    if certificate.fingerprint:  # of what could be opened
        console.print(f"fingerprint {visible(certificate.fingerprint)}", soft_wrap=True)
    if recipe := certificate.recipe:
        console.print(f"recipe: {visible(recipe_line(recipe, batch_size))}", soft_wrap=True)
    failed = sum(finding.status == "failed" for finding in certificate.findings)
    verdict = f"{failed} of {counted(len(certificate.findings), 'check')} failed" if failed else "no check failed"
    console.print(verdict, style="bold red" if failed else "bold green")
