"""The commands on token files of other tools: what they are, whether they can be trusted, trained on, written."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from token_file_helpers import EOS, documents, flat, write_llmc, write_megatron
from windrow import open_store
from windrow.cli.main import app
from windrow.store import token_file

SIZES = ["--max-length", "16", "--batch-size", "2"]


@pytest.fixture(autouse=True)
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shards of llm.c, files of Megatron with wide ids, and tokens without a header, in the working folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    tokens = [token for each in documents(60) for token in (EOS, *each[:-1])]
    for number, part in enumerate((tokens[:300], tokens[300:])):
        write_llmc(tmp_path / f"a_train_{number}.bin", part)
    write_megatron(tmp_path / "wide", documents(dtype="int32"), "int32")
    flat(documents()).tofile(tmp_path / "flat.dat")


def ran(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


def test_info_says_what_token_files_are() -> None:
    found = json.loads(ran("info", "a_train_*.bin", "--json"))["a_train_*.bin"]
    wanted = {"format": "llmc", "dtype": "uint16", "num_documents": 60, "num_shards": 2, "tokenizer": "gpt2"}
    assert {name: found[name] for name in wanted} == wanted
    assert (found["eos_id"], found["boundary"], found["max_token_id"]) == (EOS, "bos", EOS)
    wide = json.loads(ran("info", "wide", "--json", "--eos-id", str(EOS)))["wide"]
    assert (wide["format"], wide["dtype"], wide["boundary"], wide["tokenizer"]) == ("megatron", "uint32", "eos", None)
    assert wide["max_token_id"] == max(token for each in documents(dtype="int32") for token in each)
    printed = ran("info", "flat.dat", "--dtype", "uint16", "--eos-id", str(EOS))
    assert f"{EOS}, ends documents" in printed
    assert "not known: the files do not say" in printed


def test_info_names_the_tokenizer_that_it_is_told() -> None:
    printed = ran("info", "flat.dat", "--dtype", "uint16", "--tokenizer", "gpt2")
    assert f"{EOS}, ends documents" in printed
    assert [line.split()[1:] for line in printed.splitlines() if "tokenizer" in line] == [["gpt2"]]
    assert json.loads(ran("info", "a_train_*.bin", "--tokenizer", "r50k_base", "--json"))["a_train_*.bin"]["tokenizer"]
    unknown = ran("info", "flat.dat", "--dtype", "uint16", "--eos-id", str(EOS), "--tokenizer", "gpt-2", code=1)
    assert "'gpt-2'" in unknown


def test_what_is_missing_is_asked_for_by_its_flags() -> None:
    asked = ran("info", "flat.dat", "--dtype", "uint16", code=1)
    assert "Give --dtype uint16 and --eos-id 50256, or what they are" in " ".join(asked.split())
    misspelt = ran("info", "flat.dat", "--dtype", "u16", code=1)
    assert "--dtype is 'u16', and tokens of uint16, uint32, int32 can be mapped" in " ".join(misspelt.split())


def test_all_commands_work_on_files_that_say_what_they_are(tmp_path: Path) -> None:
    assert json.loads(ran("show", "a_train_*.bin", *SIZES, "--json"))["rows"]
    assert json.loads(ran("when", "a_train_*.bin", "--document", "3", *SIZES, "--json"))["sightings"]
    assert json.loads(ran("plan", "a_train_*.bin", *SIZES, "--json"))["plan"]
    assert json.loads(ran("bench", "a_train_*.bin", *SIZES, "--seconds", "0.1", "--json"))["num_windows"]
    ran("report", "a_train_*.bin", *SIZES)
    findings = json.loads(ran("check", "a_train_*.bin", *SIZES, "--json", code=1))["findings"]
    failed = [finding["name"] for finding in findings if finding["status"] == "failed"]
    assert failed == ["text has the same ids wherever it is cut"]  # they are random


def test_all_commands_are_told_what_a_file_without_a_header_is(tmp_path: Path) -> None:
    kind = [*SIZES, "--dtype", "uint16", "--eos-id", str(EOS)]
    assert json.loads(ran("show", "flat.dat", *kind, "--tokenizer", "gpt2", "--json"))["rows"]
    assert json.loads(ran("when", "flat.dat", "--document", "3", *kind, "--json"))["sightings"]
    assert json.loads(ran("plan", "flat.dat", *kind, "--json"))["plan"]
    assert json.loads(ran("bench", "flat.dat", *kind, "--seconds", "0.1", "--json"))["num_windows"]
    ran("report", "flat.dat", *kind, "--tokenizer", "gpt2")
    small = [*kind, "--width", "16", "--num-heads", "2", "--valid-fraction", "0.2"]
    ran("train", "flat.dat", *small, "--steps", "2", "--out", "run")
    ran("train", "--out", "run", "--resume", "--steps", "3")
    ran(
        "train",
        "flat.dat",
        "--dtype",
        "uint16",
        "--eos-id",
        str(EOS),
        *small[-2:],
        "--out",
        "run",
        "--resume",
        "--steps",
        "4",
    )
    assert len((tmp_path / "run/log.jsonl").read_text().splitlines()) == 4
    refused = ran("plan", "--run", "run", "--dtype", "uint16", code=2)
    assert "--dtype: --run PATH says that already" in " ".join(refused.split())


def test_a_run_over_token_files_resumes(tmp_path: Path) -> None:
    sizes = [*SIZES, "--width", "16", "--num-heads", "2"]
    ran("train", "a_train_*.bin", *sizes, "--steps", "2", "--valid-fraction", "0.2", "--out", "run")
    ran("train", "--out", "run", "--resume", "--steps", "4")
    assert len((tmp_path / "run/log.jsonl").read_text().splitlines()) == 4


def test_export_writes_what_can_be_opened(tmp_path: Path) -> None:
    assert "out/x.ds" in ran("export", "a_train_*.bin", "out/x", "--format", "datatrove")
    printed = ran("export", "a_train_*.bin", "x", "--format", "datatrove")
    assert printed.split() == ["x.json", "x.ds", "x.ds.metadata", "x.ds.index"]
    assert open_store("x.ds").tokens().tolist() == open_store("a_train_*.bin").tokens().tolist()


def test_a_long_pass_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_file, "_NEWS", 500)
    done = CliRunner().invoke(app, ["info", "flat.dat", "--dtype", "uint16", "--eos-id", "1"])
    assert "flat.dat: 0 of 0 GB read" in done.stderr
