"""Parameters that are left out of a pipeline keep their defaults in its body."""

from kfp import dsl

from components.launch.optional_parameters import left_out_parameters, without_parameters
from components.launch.parameters import pipeline_parameters


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def add(first: int, second: int) -> int:
    """Add.

    Args:
        first: One number.
        second: Another.
    """
    return first + second


def test_a_parameter_that_is_left_out_is_a_constant() -> None:
    @dsl.pipeline(name="sum")
    @without_parameters(["second"])
    def pipeline(first: int, second: int = 7) -> int:
        return add(first=first, second=second).output

    assert list(pipeline_parameters(pipeline)) == ["first"]
    assert left_out_parameters(pipeline.pipeline_func) == {"second"}
    given = pipeline.pipeline_spec.root.dag.tasks["add"].inputs.parameters["second"]
    assert given.runtime_value.constant.number_value == 7


def test_without_any_left_out_a_pipeline_is_as_it_is_written() -> None:
    @dsl.pipeline(name="sum")
    @without_parameters([])
    def pipeline(first: int, second: int = 7) -> int:
        return add(first=first, second=second).output

    assert list(pipeline_parameters(pipeline)) == ["first", "second"]
    assert left_out_parameters(pipeline.pipeline_func) == set()
