"""The certificate of a run: any policy, mixture, masks and ranks, and the eighteen faults found through its loader."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from fault_helpers import FAULTS, prepare_two
from windrow import Loader, Mixture, TokenStore, Windows, open_store
from windrow.audit.check import CHECKS, Certificate, certify, certify_loader, print_certificate
from windrow.errors import StoreError
from windrow.order.exchange import Exchange
from windrow.windows.windows import POLICIES

Patch = pytest.MonkeyPatch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare_two(tmp_path)
    return tmp_path


def mixture(folder: Path, web: dict[str, Any], code: dict[str, Any], **options: Any) -> Mixture:
    stores = {name: open_store(folder / name / "train") for name in ("web", "code")}
    members = {name: Windows(stores[name], 32, **given) for name, given in (("web", web), ("code", code))}
    return Mixture({"web": (members["web"], 2.0), "code": (members["code"], 1.0)}, **options)


def certified(folder: Path, **options: Any) -> Certificate:
    """Of a mixture of pack and fresh windows on 4 ranks, as rank 1 sees it."""
    data = mixture(folder, {"policy": "pack", "documents": "epoch"}, {"stride": 16, "documents": "epoch"})
    ranks = {"dp_rank": 1, "dp_world_size": 4, "mask_targets": "document_edges"}
    loader = Loader(data, 3, seed=7, **ranks | options)
    return certify_loader(loader, Loader.evaluation(Windows(open_store(folder / "web/valid"), 32), 2))


def wrong(made: Certificate) -> list[tuple[str, str, str]]:
    return [(f.name, f.status, f.evidence) for f in made.findings if f.status != "ok"]


def test_a_mixture_with_pack_on_four_ranks_passes_all_eighteen(folder: Path) -> None:
    made = certified(folder)
    assert wrong(made) == []
    assert [finding.name for finding in made.findings] == list(CHECKS)
    assert made.findings[2].evidence == "4 ranks of 3 samples read disjoint parts of one step of 12"
    assert set(made.recipe["members"]) == {"web", "code"}
    assert made.fingerprint.startswith("code ")
    console = Console(file=io.StringIO(), width=200)
    print_certificate(console, made, 3)
    assert isinstance(console.file, io.StringIO)
    assert "fingerprint code " in console.file.getvalue()


@pytest.mark.parametrize("name", CHECKS)
def test_each_of_eighteen_faults_is_found_through_the_loader_of_a_mixture(
    folder: Path, monkeypatch: Patch, name: str
) -> None:
    FAULTS[name](folder, monkeypatch)
    assert name in {finding.name for finding in certified(folder).findings if finding.status == "failed"}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("options", [{}, {"epochs": None}, {"mask_targets": "document_edges"}, {"drop_last": False}])
def test_every_policy_has_a_certificate(folder: Path, policy: Any, options: dict[str, Any]) -> None:
    loader = Loader(Windows(open_store(folder / "web/train"), 32, policy=policy), 4, **options)
    state = loader.state_dict()
    assert {status for _, status, _ in wrong(certify_loader(loader))} <= {"advice", "not applicable"}
    assert loader.state_dict() == state


@pytest.mark.parametrize(
    "options",
    [
        {"web": {"phase": "epoch"}, "code": {"tail": "pad"}},
        {"web": {"policy": "pad"}, "code": {"policy": "bos"}, "max_repeats": 1, "epoch_samples": 60},
        {"web": {}, "code": {"policy": "pack"}, "stages": {65_536: {"web": 0, "code": 1}}},
    ],
)
def test_mixtures_with_caps_stages_phases_and_tails_have_one_too(folder: Path, options: dict[str, Any]) -> None:
    loader = Loader(mixture(folder, **options), 4)
    assert {status for _, status, _ in wrong(certify_loader(loader))} <= {"advice", "not applicable"}


def test_an_order_as_stored_and_tokens_in_memory_are_certified_as_far_as_they_can_be() -> None:
    ids = np.tile([*b"The hay was cut.", 256], 60)
    store = TokenStore.from_ids(ids, tokenizer="bytes", document_ends=np.flatnonzero(ids == 256) + 1)
    made = certify_loader(Loader(Windows(store, 16), 4, shuffle=False))
    reasons = {name: evidence for name, status, evidence in wrong(made) if status == "not applicable"}
    assert made.ok
    assert reasons["each epoch has an order of its own"] == "nothing is shuffled, as asked for"
    assert reasons["files are those that were written"] == "tokens in memory have no manifest to compare with"
    with pytest.raises(StoreError, match="what these ids mean"):
        certify_loader(Loader(Windows(TokenStore.from_ids([1, 2, 3]), 2), 1))


def test_pieces_of_a_packing_that_were_to_change_places_and_stay_are_found(tmp_path: Path, monkeypatch: Patch) -> None:
    ids = np.tile([*b"The hay was cut.", 256], 90)
    store = TokenStore.from_ids(ids, tokenizer="bytes", document_ends=np.flatnonzero(ids == 256) + 1)
    loader = Loader(Windows(store, 50, policy="pack", documents="epoch"), 4)
    assert certify_loader(loader).findings[16].status == "ok"
    stay = lambda self, values, nums, *tweaks: values  # noqa: E731
    monkeypatch.setattr(Exchange, "forward", stay)
    monkeypatch.setattr(Exchange, "inverse", stay)
    loader = Loader(Windows(store, 50, policy="pack", documents="epoch"), 4)
    assert certify_loader(loader).findings[16].status == "failed"


def test_what_cannot_be_opened_has_a_certificate_without_a_fingerprint(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    made = certify(tmp_path / "nothing")
    print_certificate(console, made, 3)
    assert isinstance(console.file, io.StringIO)
    assert not made.ok
    assert "fingerprint" not in console.file.getvalue()
