"""The arguments and flags of the command line: type, help, unit, the default that help shows, and the panel it is in.

Guarantee: a flag that several commands have is the same in all of them, and one of few words knows its words. What
was not given is as ``RunSizes`` or ``Settings`` have it. Cost: importing it imports typer only. It does not do:
checking; the library says what is wrong with a value.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from typer import Argument, Option

__all__ = ["Drawing", "ModelSizes", "Sizes", "Training"]


def panel(title: str) -> Callable[..., Any]:
    """What makes the flags of one panel of the help.

    Without ``metavar`` it is a switch, and needs its names in ``flag``; None is for words to choose from, which show
    themselves. ``default`` is what help says of a flag that is None unless given.
    """

    def option(help: str, metavar: str | None = "", default: str | bool = True, *, flag: str = "", **more: Any) -> Any:
        return Option(*flag.split(), help=help, metavar=metavar, show_default=default, rich_help_panel=title, **more)

    return option


inputs: Callable[..., Any] = panel("Inputs")
documents: Callable[..., Any] = panel("Documents")
batches: Callable[..., Any] = panel("Windows and batches")
model: Callable[..., Any] = panel("Model")
work: Callable[..., Any] = panel("Work")
output: Callable[..., Any] = panel("Output")

# -- stores, texts, folders ----------------------------------------------------------------------------------------

Inputs = Annotated[list[str], Argument(metavar="INPUT", help='Files, folders, globs, or "-" for standard input.')]
Dest = Annotated[Path, Argument(metavar="DEST", help="Folder for the stores DEST/train and DEST/valid.")]
_STORE = "A store, or the folder that holds train and valid."
Store = Annotated[Path, Argument(metavar="STORE", help=_STORE)]
OptionalStore = Annotated[Path | None, Argument(metavar="STORE", help=_STORE)]
_RUN = "this run: its folder, run.json or FILE.toml."
RunPath = Annotated[Path | None, inputs(f"Take stores, recipe and sizes from {_RUN}", "PATH", flag="--run")]
TrainRun = Annotated[Path | None, inputs(f"Train on the batches of {_RUN}", "PATH", flag="--run")]
State = Annotated[
    str | None, inputs("Its past: a state as JSON or in a checkpoint, or FILE:KEY.", "FILE", "what PATH says")
]
Member = Annotated[str | None, inputs("Which member of a mixture is meant.", "NAME", "the only one")]
TrainedRun = Annotated[Path, inputs("The run that train or demo made.", "PATH", flag="--run")]
TrainText = Annotated[Path | None, inputs("Train on this text file instead.", "FILE")]
DemoText = Annotated[Path | None, inputs("Train on this file.", "FILE", "the reference that comes with Python")]
Out = Annotated[Path, output("Folder for everything that is made.", "DIR")]
TokenizerName = Annotated[
    str, inputs('"gpt2", "bytes", a tiktoken encoding, "FILE.tiktoken:PATTERN" or "FILE/tokenizer.json".', "NAME")
]
ShowTokenizer = Annotated[str | None, inputs("To decode with, if its file has moved.", "NAME", "the store's own")]
ValidFraction = Annotated[float, documents("Share of the text that goes to DEST/valid.", "SHARE", min=0, max=1)]
TrainValidFraction = Annotated[float, inputs("Share cut off the end, where there is no valid part.", "SHARE")]
Form = Literal["text", "jsonl", "json", "parquet", "arrow"]
GivenForm = Annotated[Form | None, inputs("text, jsonl, json, parquet or arrow.", "FORM", "what their names tell")]
PartsKey = Annotated[str | None, inputs("Or where pairs (text, counts) are: 1 counts, 0 is context.", "NAME", "none")]
IdsKey = Annotated[str | None, inputs("Or where the ids are, in rows that are tokens already.", "NAME", "none")]
MaskKey = Annotated[str | None, inputs("Which ids count: 0 and 1, or labels with -100.", "NAME", "all count")]
TextKey = Annotated[str | None, inputs("Where the text is in a line of JSON or a table.", "NAME", "text")]
Separator = Annotated[str | None, documents("A line that stands between documents in .txt files.", "LINE", "none")]
_EOS = Literal["text", "split", "special", "error"]
LiteralEos = Annotated[_EOS, documents('What "<|endoftext|>" is: text, split, special or error.', "HOW")]
_BOUNDARIES = Literal["eos", "bos", "both", "none"]
GivenBoundary = Annotated[_BOUNDARIES | None, documents("What stands around each.", None, "eos; none with --ids-key")]
Keep = Annotated[str, inputs("Fields of rows to keep beside the tokens: score,lang.", "NAMES", "none")]
Dedupe = Annotated[bool, documents("Leave out exact duplicates, and count them.", flag="--dedupe")]
OnError = Annotated[Literal["raise", "skip"], inputs("At what cannot be read: stop, or skip and count it.", None)]
Split = Annotated[Literal["documents", "tail"], documents("Whole documents, or the tail of the tokens.", None)]
Workers = Annotated[int | None, work("Processes to work with.", "NUMBER", "one for each core", min=1)]
Memory = Annotated[float | None, work("Memory that all of it may take.", "GB", "1 GB, or 0.25 GB for each core")]
Engine = Annotated[Literal["local", "ray"], work("Who does the work: local processes, or a Ray cluster.", None)]
Part = Annotated[str | None, work("Only do this part, as 3/64; with --finish, of the stores.", "K/N", "all of it")]
Finish = Annotated[bool, work("Make the stores of parts that are done; do what is missing.", flag="--finish")]
DryRun = Annotated[bool, work("Only say what it would take: tokens, disk, time.", flag="--dry-run")]

# -- windows and batches -------------------------------------------------------------------------------------------

Step = Annotated[int, batches("Which batch, from 0.", "NUMBER", min=0)]
DpRank = Annotated[int, batches("Whose batch it is.", "RANK", min=0)]
DpWorldSize = Annotated[int | None, batches("Ranks that share a step.", "RANKS", "1, or those of the run", min=1)]
Row = Annotated[int | None, output("Only this row of the batch.", "NUMBER", "all rows", min=0)]
Places = Annotated[int, output("Places printed of a row; 0 is all.", "NUMBER", min=0)]
AsJson = Annotated[bool, output("Print JSON, for programs.", flag="--json")]

# -- training ------------------------------------------------------------------------------------------------------

Resume = Annotated[bool, work("Go on with the run in --out; its flags are known.", flag="--resume")]
Device = Annotated[str, work('A torch device: "cpu", "cuda", "mps"; or "auto".', "NAME")]
Seconds = Annotated[float, work("About how long all of it may take.", "SECONDS", min=1)]
DemoSteps = Annotated[int | None, work("Train exactly this many steps.", "STEPS", "what fits into --seconds", min=2)]
BenchSeconds = Annotated[float, work("How long to measure.", "SECONDS", min=0.1)]

# -- plan, check, when -------------------------------------------------------------------------------------------------

_POLICIES = Literal["concat", "pad", "pack", "bos"]
Policy = Annotated[_POLICIES | None, documents("How documents become rows.", None, "concat")]
MaskTargets = Annotated[Literal["document_edges"] | None, documents("Targets that shall not count.", None, "none")]
PlanEpochs = Annotated[int | None, batches("So many epochs.", "EPOCHS", "those of the run, or 1", min=1)]
PlanSteps = Annotated[int | None, batches("Or so many steps.", "STEPS", "all of the epochs", min=1)]
CheckStore = Annotated[Path | None, Argument(metavar="STORE", help="A store, a folder with several, or token files.")]
CheckTokenizer = Annotated[str | None, inputs("To decode with; token files need it.", "NAME", "the store's own")]
_DTYPE = inputs("Of token files that do not say it: uint16, uint32 or int32.", "DTYPE", "what they say")
Dtype = Annotated[str | None, _DTYPE]
EosId = Annotated[int | None, inputs("What stands between documents, likewise.", "ID", "the tokenizer's", min=0)]
Verbose = Annotated[bool, output("Say what each check saw.", flag="--verbose -v")]

# -- flags that a command unpacks as one, of which it has those that were given ------------------------------------


class TokenFiles(TypedDict, total=False):
    """What files of other tools do not say themselves."""

    dtype: Dtype
    eos_id: EosId
    tokenizer: Annotated[str, inputs("What the ids mean.", "NAME", "the store's own")]


class Sizes(TypedDict, total=False):
    """The flags of ``RunSizes``."""

    max_length: Annotated[int, batches("Inputs in a window.", "TOKENS", "256 tokens")]
    stride: Annotated[int, batches("From a window's start to the next.", "TOKENS", "half of max-length: 128")]
    batch_size: Annotated[int, batches("Windows in a batch.", "SAMPLES", "4 samples")]
    seed: Annotated[int, batches("What the shuffle is keyed by.", "NUMBER", "0")]
    documents: Annotated[
        Literal["store", "epoch"], batches("Neighbours: as stored, or fresh each epoch.", None, "store")
    ]
    phase: Annotated[
        Literal["epoch"], batches("Where windows begin: elsewhere in each epoch.", None, "the first token")
    ]
    tail: Annotated[Literal["drop", "pad"], batches("Too few tokens for a window at the end.", None, "drop")]


class Drawing(TypedDict, total=False):
    """The flags of ``sample``, beside the run."""

    prompt: Annotated[str, inputs("What it goes on from.", "TEXT", "the first words of the training text")]
    tokenizer: ShowTokenizer
    length: Annotated[int, output("Write so many tokens at most.", "TOKENS", "100 tokens")]
    temperature: Annotated[float, output("0 takes the likeliest token; higher is bolder.", "NUMBER", "0.7")]
    top_k: Annotated[int, output("Draw from this many likeliest tokens.", "TOKENS", "50 tokens")]
    seed: Annotated[int, output("What the draws are keyed by.", "NUMBER", "0")]


class ModelSizes(Sizes, total=False):
    """And those on which a model's memory depends."""

    width: Annotated[int, model("Numbers per token in the model.", "NUMBER", "128")]
    num_layers: Annotated[int, model("Transformer blocks.", "NUMBER", "2")]


class Training(ModelSizes, total=False):
    """The flags of ``Settings``."""

    policy: Policy
    num_heads: Annotated[int, model("Attention heads; they divide width.", "NUMBER", "4")]
    vocabulary: Annotated[
        Literal["tokenizer", "text"], model("Ids it knows: all, or those in the text.", None, "tokenizer")
    ]
    steps: Annotated[int, work("Train so many steps in all.", "STEPS", "one epoch")]
    epochs: Annotated[float, work("Or so many epochs in all.", "EPOCHS", "1 epoch")]
    lr: Annotated[float, model("Highest learning rate.", "RATE", "0.001")]
    eval_every: Annotated[int, work("Between two valid losses.", "STEPS", "50 steps")]
    eval_batches: Annotated[int, work("Batches that a valid loss is over.", "BATCHES", "16 batches")]
    checkpoint_every: Annotated[int, work("Between two checkpoints.", "STEPS", "200 steps")]
