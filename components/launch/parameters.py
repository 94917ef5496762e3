"""The pipeline's parameters: their types, defaults and meanings, and the values a user gives in a run file.

Types and defaults come from the compiled pipeline, meanings from the component each parameter goes to, so neither is
written twice.
"""

import contextlib
import dataclasses
import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp.dsl.base_component import BaseComponent

from components.failures import UserError

_TYPES = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}
_IN_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter of the pipeline. ``default`` is None when a value must be given."""

    name: str
    kind: type
    default: Any
    description: str


def pipeline_parameters(pipeline: BaseComponent) -> dict[str, Parameter]:
    """Return the parameters of a compiled pipeline in the order they are declared."""
    spec = pipeline.pipeline_spec
    definitions = spec.root.input_definitions.parameters
    meanings: dict[str, str] = {}
    tasks = spec.root.dag.tasks
    # The first step that takes a parameter explains it; the map of tasks itself has no order.
    for name in sorted(tasks, key=lambda name: (_ancestors(name, tasks), name)):
        task = tasks[name]
        inputs = spec.components[task.component_ref.name].input_definitions.parameters
        for input_name, source in task.inputs.parameters.items():
            if source.component_input_parameter:
                meanings.setdefault(source.component_input_parameter, inputs[input_name].description)
    parameters = {}
    for name in pipeline.component_spec.inputs or {}:
        definition = definitions[name]
        type_name = type(definition).DESCRIPTOR.fields_by_name["parameter_type"].enum_type
        kind = _TYPES[type_name.values_by_number[definition.parameter_type].name]
        default = pipeline.component_spec.inputs[name].default
        parameters[name] = Parameter(name, kind, default, " ".join(meanings.get(name, "").split()))
    return parameters


def _ancestors(name: str, tasks: Mapping[str, Any]) -> int:
    """Return the length of the longest chain of tasks that must end before ``name`` begins."""
    return max((1 + _ancestors(before, tasks) for before in tasks[name].dependent_tasks), default=0)


def read_run_file(path: Path, parameters: Mapping[str, Parameter], left_out: Collection[str] = ()) -> dict[str, Any]:
    """Read parameter values from a YAML file of ``name: value`` lines.

    Args:
        path: The file.
        parameters: Those of the pipeline.
        left_out: Names of those of optional steps that the pipeline was built without.

    Raises:
        UserError: When the file cannot be read, is not a YAML mapping, or holds a wrong name or type.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"cannot read the run file {path}: {why}; give the path of a YAML file to --config") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise UserError(
            f"the run file {path} is not valid YAML ({problem}); write one 'name: value' per line"
        ) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(
            f"the run file {path} holds {_IN_WORDS.get(type(values), 'one value')}; write one 'name: value' per line"
        )
    return {name: _checked(name, value, parameters, left_out, f"in {path}") for name, value in values.items()}


def read_assignments(
    assignments: Iterable[str], parameters: Mapping[str, Parameter], left_out: Collection[str] = ()
) -> dict[str, Any]:
    """Read ``name=value`` words, values in YAML, as ``--set`` takes them.

    Args:
        assignments: The words.
        parameters: Those of the pipeline.
        left_out: Names of those of optional steps that the pipeline was built without.

    Raises:
        UserError: For a word without ``=``, or a wrong name or type.
    """
    values = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--set takes name=value, not '{assignment}'")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"the value of '{name}' is not valid YAML: {' '.join(str(error).split())}") from error
        values[name] = _checked(name, "" if value is None else value, parameters, left_out, "in --set")
    return values


def require_values(values: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> None:
    """Check that every parameter without a default has a value.

    Raises:
        UserError: Naming what is missing.
    """
    missing = [name for name, parameter in parameters.items() if parameter.default is None and name not in values]
    if missing:
        options = " and ".join(f"--{name.removesuffix('_uri')}" for name in missing)
        raise UserError(f"no value for {' and '.join(missing)}; give {options}, or put it in the run file")


def with_defaults(values: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return the value of every parameter: the given one, or else the default."""
    return {name: values.get(name, parameter.default) for name, parameter in parameters.items()}


def _checked(name: Any, value: Any, parameters: Mapping[str, Parameter], left_out: Collection[str], where: str) -> Any:
    if name in left_out:
        raise UserError(f"parameter '{name}' {where} is of the embedding audit, which is off; give --embedding-audit")
    if name not in parameters:
        near = difflib.get_close_matches(str(name), parameters, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "; python pipeline.py --parameters lists them"
        raise UserError(f"unknown parameter '{name}' {where}{hint}")
    kind = parameters[name].kind
    if kind is float and type(value) in (int, str):
        # kfp.local refuses a whole number for a float, and YAML 1.1 reads 1e-5 as text.
        with contextlib.suppress(ValueError, OverflowError):
            value = float(value)
    # NaN and infinity are no JSON, in which parameters travel.
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        given = "empty" if value is None else repr(value)
        raise UserError(f"parameter '{name}' {where} is {given}; it must be {_IN_WORDS[kind]}")
    return value
