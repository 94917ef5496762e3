"""Parameters that a pipeline has only with the step that they are for: one that does nothing is a mistake."""

import inspect
from collections.abc import Callable, Collection
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def without_parameters(names: Collection[str]) -> Callable[[Function], Function]:
    """Take parameters out of a pipeline function's signature, which kfp reads; the body sees their defaults.

    Args:
        names: Parameters with defaults, the last ones of the function: kfp passes what is left by position.
    """

    def hide(function: Function) -> Function:
        signature = inspect.signature(function)
        kept = [parameter for name, parameter in signature.parameters.items() if name not in names]
        function.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        return function

    return hide


def left_out_parameters(function: Callable[..., Any]) -> frozenset[str]:
    """Return the parameters that ``without_parameters`` took out of a function."""
    written = function.__code__.co_varnames[: function.__code__.co_argcount]
    return frozenset(written) - frozenset(inspect.signature(function).parameters)
