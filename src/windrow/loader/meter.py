"""How long a loop waited for its data, and what that means.

Cost: two readings of the clock a batch. Only time inside ``for batch in loader`` counts.
"""

from dataclasses import dataclass

__all__ = ["Meter"]

_ENOUGH = 10  # batches: the first one opens files and compiles models
_BOUND = 0.02  # of the loop's time: below, faster data would not be felt


@dataclass(slots=True)
class Meter:
    """Seconds spent waiting for a batch, and seconds between two batches, since the loader was made."""

    num_batches: int = 0
    wait_seconds: float = 0.0
    work_seconds: float = 0.0

    def stats(self, num_tokens: int) -> dict[str, float | str]:
        """The figures and the verdict; ``num_tokens`` are the targets of a batch."""
        total = self.wait_seconds + self.work_seconds
        share = self.wait_seconds / total if total else 0.0
        rate = self.num_batches * num_tokens / self.wait_seconds if self.wait_seconds else 0.0
        return {
            "num_batches": self.num_batches,
            "wait_seconds": self.wait_seconds,
            "work_seconds": self.work_seconds,
            "wait_share": share,
            "tokens_per_wait_second": rate,
            "verdict": self._verdict(share),
        }

    def _verdict(self, share: float) -> str:
        if self.num_batches < _ENOUGH:
            return f"too early to tell: {self.num_batches} batches"
        if share < _BOUND:
            return f"not data-bound: {share:.1%} of the loop waited for data, faster data would not be felt"
        return (
            f"data-bound: {share:.1%} of the loop waited for data. Try prefetch=4 (a thread hides page faults and cold "
            "disks), dtype='int32' or a device (fewer bytes), or a store on a faster disk; windrow bench STORE says "
            "what this machine can do"
        )
