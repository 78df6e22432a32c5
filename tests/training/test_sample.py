"""What a trained model writes: only ids of its text, only whole characters, the same for the same seed."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from windrow.errors import ResumeError, StoreError
from windrow.runs.run_file import RUN
from windrow.training.run import Run, Settings, open_run, run_of_store, run_of_text, start_run
from windrow.training.sample import sample, trained
from windrow.training.trainer import CHECKPOINT, Trainer, train

TEXT = "干草 naïve 🐐 hay\n" * 40
SMALL = Settings(max_length=16, batch_size=2, width=16, num_heads=2, num_layers=1, steps=3, lr=0.01)


def run_over(folder: Path, text: str = TEXT, tokenizer: str = "bytes") -> Run:
    file = folder.with_suffix(".txt")
    file.write_text(text, encoding="utf-8")

    def build(temporary: Path) -> Run:
        return run_of_text(file, temporary, SMALL, valid_fraction=0.1, tokenizer=tokenizer)

    return start_run(folder, build)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "run"
    train(Trainer(run_over(folder)), on_step=lambda row: None, should_stop=lambda: False)
    return folder


def test_a_sample_is_the_prompt_and_what_the_model_draws_and_a_seed_gives_it_again(finished: Path) -> None:
    trainer = trained(finished)
    texts = ["".join(sample(trainer, "hay 干", seed=seed, temperature=1)) for seed in (3, 3, 4, -1, 2**70)]
    assert texts[0] == texts[1]
    assert len(set(texts[1:])) == 4
    assert all(text.startswith("hay 干") and len(text) > 20 for text in texts)


def test_only_bytes_of_the_text_are_drawn_by_a_model_that_likes_all_alike_and_only_whole_characters_told(
    finished: Path,
) -> None:
    trainer = trained(finished)
    torch.nn.init.zeros_(trainer.model.embedding.token.weight)  # every id is as likely
    pieces = list(sample(trainer, length=600, top_k=257))
    made = "".join(pieces[1:])
    assert set(made.encode()) <= set(TEXT.encode())
    assert made.isascii() or "\ufffd" not in made
    assert set(made.encode()) >= set(b"hay nve\n")


@pytest.mark.parametrize("tokenizer", ["bytes", "gpt2"])
def test_a_character_of_several_tokens_comes_out_when_its_last_one_is_drawn(tmp_path: Path, tokenizer: str) -> None:
    trainer = Trainer(run_over(tmp_path / "run", tokenizer=tokenizer))
    ids = [*trainer.run.train.tokenizer.encode("a🐐干b"), 0]
    drawn = iter(ids)

    def generate(row: torch.Tensor, num_new_tokens: int, *_: object) -> torch.Tensor:
        return torch.cat([row, torch.tensor([[next(drawn)]])], dim=1) if num_new_tokens else row

    trainer.model.generate = generate  # type: ignore[method-assign]
    pieces = list(sample(trainer, "x", length=len(ids) - 1))
    assert "".join(pieces) == "xa🐐干b"
    assert {"🐐", "干"} < set(pieces)
    drawn = iter(ids[:3])  # part of the goat
    assert "".join(sample(trainer, "x", length=3)) in ("xa", "xa🐐")


def test_a_sample_ends_with_the_end_of_the_text(finished: Path) -> None:
    trainer = trained(finished)
    drawn = iter([104, 256, 104])

    def generate(row: torch.Tensor, num_new_tokens: int, *_: object) -> torch.Tensor:
        return torch.cat([row, torch.tensor([[next(drawn)]])], dim=1) if num_new_tokens else row

    trainer.model.generate = generate  # type: ignore[method-assign]
    assert "".join(sample(trainer, "x", length=3)) == "xh"


def test_the_likeliest_tokens_are_those_of_greedy_generation(finished: Path) -> None:
    trainer = trained(finished)
    held = set(trainer.run.train.tokens().tolist())
    ids = [*b"hay"]
    with torch.no_grad():
        for _ in range(12):
            logits = trainer.model(torch.tensor([ids[-16:]]))[0, -1]
            ids.append(max(held, key=lambda token: float(logits[token])))
    expected = bytes(ids).decode("utf-8", errors="replace").replace("\ufffd", "")
    assert "".join(sample(trainer, "hay", length=12, temperature=0)) == expected


def test_without_a_prompt_it_begins_as_the_text_does_and_pieces_only_add(finished: Path) -> None:
    pieces = list(sample(trained(finished), length=20))
    assert pieces[0] == "干草"
    told = ["".join(pieces[:number]) for number in range(len(pieces) + 1)]
    assert all(later.startswith(earlier) for earlier, later in pairwise(told))


def test_a_sample_changes_neither_torchs_random_state_nor_the_model(finished: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trainer = trained(finished)
    weights = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    list(sample(trainer, length=3))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, trainer.model.state_dict()[name]) for name, value in weights.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": -1}, "length is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0"),
        ({"seed": 0.5}, "seed is 0.5"),
    ],
)
def test_numbers_out_of_range_are_errors(finished: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(sample(trained(finished), **options))  # type: ignore[arg-type]


def test_a_very_low_temperature_takes_the_likeliest(finished: Path) -> None:
    likeliest, almost = (list(sample(trained(finished), length=9, temperature=t)) for t in (0, 1e-320))
    assert likeliest == almost


def test_a_run_without_a_checkpoint_a_damaged_one_and_weights_that_are_no_numbers_are_errors(
    finished: Path, tmp_path: Path
) -> None:
    run = run_over(tmp_path / "new")
    with pytest.raises(ResumeError, match="has no checkpoint yet"):
        trained(run.folder)
    (run.folder / CHECKPOINT).write_bytes((finished / CHECKPOINT).read_bytes()[:-99])
    with pytest.raises(ResumeError, match="no whole checkpoint"):
        trained(run.folder)
    trainer = trained(finished)
    torch.nn.init.constant_(trainer.model.norm.bias, float("nan"))
    with pytest.raises(ValueError, match="not all finite"):
        list(sample(trainer))


def test_a_tokenizer_that_is_not_the_stores_is_an_error(finished: Path) -> None:
    with pytest.raises(StoreError, match="made with tokenizer 'bytes'"):
        list(sample(trained(finished), tokenizer="gpt2"))


def test_ids_are_looked_for_in_a_text_of_several_blocks(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(sample(trained(finished), length=30, top_k=257))
    monkeypatch.setattr("windrow.training.run._BLOCK", 7)
    assert list(sample(trained(finished), length=30, top_k=257)) == whole


def test_a_run_over_one_side_of_a_store_draws_what_that_side_holds(finished: Path) -> None:
    run = open_run(finished)
    other = run_of_store(run.train.path, finished, run.settings, valid_fraction=0.95)  # its first lines
    trainer = Trainer(other)
    torch.nn.init.zeros_(trainer.model.embedding.token.weight)
    held = set(other.train.tokens().tolist())
    made = "".join([*sample(trainer, length=200, top_k=257)][1:])
    assert set(made.encode()) <= held


# -- a model that knows the ids of its text only ------------------------------------------------------------------


def test_a_model_of_the_texts_vocabulary_has_a_row_for_each_id_of_train_and_valid_and_draws_those_of_train(
    tmp_path: Path,
) -> None:
    run = run_over(tmp_path / "run", "hay and rows. " * 60 + "goats!\n" * 12)
    run = replace(run, settings=replace(run.settings, vocabulary="text")).save(run.loader())
    train_ids, valid_ids = ({*part.tokens().tolist()} for part in (run.train, run.valid[""]))
    assert valid_ids - train_ids
    trainer = Trainer(open_run(run.folder))
    assert trainer.ids.tolist() == sorted(train_ids | valid_ids)
    assert trainer.config.vocab_size == len(trainer.model.embedding.token.weight) == len(train_ids | valid_ids)
    train(trainer, on_step=lambda row: None, should_stop=lambda: False)
    assert "valid_loss" in trainer.log[-1]
    made = "".join([*sample(trained(run.folder), "hay", length=300, temperature=9, top_k=99)][1:])
    assert len(set(made)) > 5
    assert set(made.encode()) <= train_ids
    with pytest.raises(ValueError, match=r"prompt is 'hazQ', .* has no 'zQ'"):
        list(sample(trainer, "hazQ"))
    half = run_of_store(run.train.path, tmp_path, run.settings, valid_fraction=0.5)
    other = Trainer(replace(half, file=replace(half.file, training={})))  # its largest id is a letter's
    with pytest.raises(ValueError, match="has no"):
        list(sample(other, "\U0010ffff"))


def test_the_loss_of_a_model_of_the_texts_vocabulary_is_that_of_its_rows_and_what_is_masked_stays_masked(
    finished: Path,
) -> None:
    run = open_run(finished)
    trainer = Trainer(replace(run, settings=replace(run.settings, vocabulary="text")))
    ids = trainer.ids.tolist()
    tokens = [ids[3], ids[0], ids[-1], -100]
    assert trainer.rows[torch.tensor([tokens])].tolist() == [[3, 0, len(ids) - 1, -100]]
    batch = trainer.loader[0]
    rows = torch.tensor([[ids.index(token) for token in row] for row in batch.inputs.tolist()])
    targets = torch.tensor([[ids.index(token) for token in row] for row in batch.targets.tolist()])
    expected = torch.nn.functional.cross_entropy(trainer.model(rows).flatten(0, 1), targets.flatten())
    assert trainer.take_step()["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_a_run_written_before_there_was_a_choice_of_vocabulary_has_the_tokenizers(
    finished: Path, tmp_path: Path
) -> None:
    content = json.loads((finished / RUN).read_text())
    del content["training"]["vocabulary"]
    (finished / "older.json").write_text(json.dumps(content))
    assert len(open_run(finished / "older.json").ids) == 257
