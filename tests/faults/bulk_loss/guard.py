"""What the guard reports when it holds a registry back."""

from __future__ import annotations

from support.host import REGISTRIES, Host

NAMES = [path.rsplit("/", 1)[-1] for path in REGISTRIES]
ACCEPT = "omnicdc accept"


def held_reasons(host: Host) -> dict[str, str]:
    """Return the registries that `omnicdc status` reports as held, each with its reason.

    The guard must be the cause, and `status` must name the command that accepts the loss.
    """
    answer = host.ask("status")
    [consumer] = answer["consumers"]
    for name, fault in consumer["held"].items():
        assert fault["guard"], fault
        assert any(name in line and fault["reason"] in line and ACCEPT in line for line in answer["faults"])
    return {name: fault["reason"] for name, fault in consumer["held"].items()}


def loss_reason(gone: int, before: int) -> str:
    """Return the reason that the guard gives for a loss."""
    return f"it would lose {gone} of its {before} entries at once"
