"""What an attempt that starts over goes on with, where a setting was left to the machine.

``auto`` precision, batch size 0 and ``auto`` training mode become what devices and disk of a node are best at. Each
choice ends in other weights, so a checkpoint of one is none of another's. On another node than the one that was lost
another choice may be the best, and training must not begin anew for that.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

CHOSEN_EARLIER = "an earlier attempt chose it and left a checkpoint"

_Choice = TypeVar("_Choice")


def begun_with(chosen: _Choice, others: Iterable[_Choice], left: Callable[[_Choice], bool]) -> _Choice:
    """Return what an earlier attempt began with: the chosen, else the first of the others, else it is the chosen.

    Args:
        chosen: The best on this node.
        others: What another node may have chosen.
        left: Says whether there is a checkpoint of a choice.
    """
    return next((choice for choice in (chosen, *others) if left(choice)), chosen)


def resumed_choice(
    step: str,
    setting: str,
    chosen: _Choice,
    others: Iterable[_Choice],
    able: Callable[[_Choice], bool],
    left: Callable[[_Choice], bool],
) -> _Choice:
    """Return what an earlier attempt began with if these devices are able to go on with it, else the chosen; say so.

    Args:
        step: For messages, ``fine_tune`` for example.
        setting: Likewise, ``precision`` for example.
        chosen: The best on this node.
        others: What another node may have chosen.
        able: Says whether these devices can do that.
        left: Says whether there is a checkpoint of a choice.
    """
    others = list(others)
    found = begun_with(chosen, [*filter(able, others), *(choice for choice in others if not able(choice))], left)
    if found == chosen:
        return chosen
    if able(found):
        print(f"{step}: {setting} {found}: {CHOSEN_EARLIER}", flush=True)
        return found
    print(
        f"{step}: an earlier attempt left a checkpoint of {setting} {found}, which these devices are not "
        f"capable of: beginning anew with {chosen}",
        flush=True,
    )
    return chosen
