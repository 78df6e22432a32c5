"""The arguments and flags of the command line: type, help, unit and the default that help shows.

Guarantee: a flag that several commands have is the same in all of them. A flag whose type allows None was not given;
its default is then that of ``RunSizes`` or ``Settings``. Cost: importing it imports typer only. It does not do:
checking; the library says what is wrong with a value.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

__all__: list[str] = []


def _count(help: str, metavar: str, default: str, **more: Any) -> Any:
    """A flag that is None unless given; ``default`` is what help says of it."""
    return Option(help=help, metavar=metavar, show_default=default, **more)


# -- stores, texts, folders ----------------------------------------------------------------------------------------

Inputs = Annotated[list[str], Argument(metavar="INPUT", help='Files, folders, globs, or "-" for standard input.')]
Dest = Annotated[Path, Argument(metavar="DEST", help="Folder for the stores DEST/train and DEST/valid.")]
_STORE = "A store, or the folder that holds train and valid."
Store = Annotated[Path, Argument(metavar="STORE", help=_STORE)]
OptionalStore = Annotated[Path | None, Argument(metavar="STORE", help=_STORE)]
RunPath = Annotated[Path | None, Option("--run", metavar="PATH", help="Take store, recipe and sizes from this run.")]
TrainText = Annotated[Path | None, Option(metavar="FILE", help="Train on this text file instead.")]
DemoText = Annotated[Path | None, _count("Train on this file.", "FILE", "the reference that comes with Python")]
Out = Annotated[Path, Option(metavar="DIR", help="Folder for everything that is made.")]
TokenizerName = Annotated[
    str,
    Option(
        metavar="NAME", help='"gpt2", "bytes", a tiktoken encoding, "FILE.tiktoken:PATTERN" or "FILE/tokenizer.json".'
    ),
]
ShowTokenizer = Annotated[str | None, _count("To decode with, if its file has moved.", "NAME", "the store's own")]
ValidFraction = Annotated[float, Option(metavar="SHARE", help="Share of the text that goes to DEST/valid.")]
TrainValidFraction = Annotated[
    float, Option(metavar="SHARE", help="Share cut off the end, where there is no valid part.")
]
Form = StrEnum("Form", ["text", "jsonl", "json", "parquet", "arrow"])
GivenForm = Annotated[Form | None, Option("--form", help="What inputs are.", show_default="what their names tell")]
TextKey = Annotated[str | None, _count("Where the text is in a line of JSON or a table.", "NAME", "text")]
Separator = Annotated[str | None, _count("A line that stands between documents in .txt files.", "LINE", "none")]
LiteralEos = Annotated[
    str, Option(metavar="HOW", help='What "<|endoftext|>" in text is: "text", "split", "special" or "error".')
]
Dedupe = Annotated[bool, Option("--dedupe", help="Leave out exact duplicates of documents, and count them.")]
OnError = Annotated[
    str, Option(metavar="HOW", help='What is done with documents that cannot be read: "raise", or "skip" and count.')
]
Workers = Annotated[int | None, _count("Processes to work with.", "NUMBER", "one for each core", min=1)]
Memory = Annotated[float | None, _count("Memory that all of it may take.", "GB", "1 GB, or 0.25 GB for each core")]
Engine = Annotated[str, Option(metavar="NAME", help='Who does the work: "local" processes, or a "ray" cluster.')]
Part = Annotated[str | None, _count("Only do this part of the work, as 3/64, for --finish.", "K/N", "all of it")]
Finish = Annotated[bool, Option("--finish", help="Make the stores of parts that are done; do what is missing.")]
DryRun = Annotated[bool, Option("--dry-run", help="Only say what it would take: tokens, disk, time.")]
Split = Annotated[str, Option(metavar="HOW", help='"documents": whole ones, by a hash; "tail": the last tokens.')]

# -- windows and batches -------------------------------------------------------------------------------------------

MaxLength = Annotated[int | None, _count("Inputs in a window.", "TOKENS", "256 tokens")]
Stride = Annotated[int | None, _count("From a window's start to the next.", "TOKENS", "half of max-length: 128 tokens")]
BatchSize = Annotated[int | None, _count("Windows in a batch.", "SAMPLES", "4 samples")]
Seed = Annotated[int | None, _count("What the shuffle is keyed by.", "NUMBER", "0")]
Step = Annotated[int, Option(metavar="NUMBER", min=0, help="Which batch, from 0.")]
DpRank = Annotated[int, Option(metavar="RANK", min=0, help="Whose batch it is.")]
DpWorldSize = Annotated[int, Option(metavar="RANKS", min=1, help="Ranks that share a step.")]
Row = Annotated[int | None, _count("Only this row of the batch.", "NUMBER", "all rows", min=0)]
Places = Annotated[int, Option(metavar="NUMBER", min=0, help="Places printed of a row; 0 is all.")]
AsJson = Annotated[bool, Option("--json", help="Print JSON, for programs.")]

# -- training ------------------------------------------------------------------------------------------------------

Resume = Annotated[bool, Option("--resume", help="Go on with the run in --out; its flags are known.")]
Steps = Annotated[int | None, _count("Train so many steps in all.", "STEPS", "one epoch")]
Epochs = Annotated[float | None, _count("Or so many epochs in all.", "EPOCHS", "1 epoch")]
LearningRate = Annotated[float | None, _count("Highest learning rate.", "RATE", "0.001")]
Width = Annotated[int | None, _count("Numbers per token in the model.", "NUMBER", "128")]
NumLayers = Annotated[int | None, _count("Transformer blocks.", "NUMBER", "2")]
NumHeads = Annotated[int | None, _count("Attention heads; they divide width.", "NUMBER", "4")]
Device = Annotated[str, Option(metavar="NAME", help='A torch device: "cpu", "cuda", "mps".')]
EvalEvery = Annotated[int | None, _count("Between two valid losses.", "STEPS", "50 steps")]
EvalBatches = Annotated[int | None, _count("Batches that a valid loss is over.", "BATCHES", "16 batches")]
CheckpointEvery = Annotated[int | None, _count("Between two checkpoints.", "STEPS", "200 steps")]
Seconds = Annotated[float, Option(metavar="SECONDS", min=1, help="About how long all of it may take.")]
DemoSteps = Annotated[int | None, _count("Train exactly this many steps.", "STEPS", "what fits into --seconds", min=2)]
BenchSeconds = Annotated[float, Option(metavar="SECONDS", min=0.1, help="How long to measure.")]

# -- plan, check, when -------------------------------------------------------------------------------------------------

Policy = Annotated[str | None, _count("How documents become rows: concat, pad, pack or bos.", "NAME", "concat")]
MaskTargets = Annotated[str | None, _count('Targets that shall not count: "document_edges".', "NAME", "none")]
PlanEpochs = Annotated[int | None, _count("So many epochs.", "EPOCHS", "those of the run, or 1", min=1)]
PlanSteps = Annotated[int | None, _count("Or so many steps.", "STEPS", "all of the epochs", min=1)]
CheckStore = Annotated[
    Path | None, Argument(metavar="STORE", help="A store, a folder with several, or a raw uint16 file.")
]
CheckTokenizer = Annotated[str | None, _count("To decode with; a raw file needs it.", "NAME", "the store's own")]
