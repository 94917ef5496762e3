"""Options that do nothing with the chosen action are refused, whatever the value they are given."""

import pytest

from components.launch.command_line import command_line_parser, main
from components.launch.option_uses import ACTIONS, OPTION_USES, action_in_words
from pipeline import image_classification


def test_every_option_says_which_actions_use_it() -> None:
    options = vars(command_line_parser().parse_args(["--parameters"]))
    assert options.keys() - set(ACTIONS) == OPTION_USES.keys()


def test_every_use_is_of_an_action_that_there_is() -> None:
    for use in frozenset[str]().union(*OPTION_USES.values()):
        assert action_in_words(command_line_parser().parse_args(use.split())) == use


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--components", "--spot"], "--spot does nothing with --components; leave it out"),
        (
            ["--components", "--source", "x", "--label", "a=b", "--weights-claim", "x"],
            "--source, --weights-claim and --label do nothing with --components; leave them out",
        ),
        (["--run", "local", "--gpu", "nvidia-l4"], "--gpu does nothing with --run local"),
        (["--run", "docker", "--label", "a=b"], "--label does nothing with --run docker"),
        (["--submit", "kubeflow", "--target", "vertex"], "--target does nothing with --submit kubeflow"),
        (["--submit", "vertex", "--host", "x"], "--host does nothing with --submit vertex"),
        (["--doctor", "--project", "x"], "--project does nothing with --doctor --target kubeflow"),
        (["--compile", "--no-caching"], "--caching does nothing with --compile --target kubeflow"),
        (["--parameters", "--output", "x"], "--output does nothing with --parameters"),
    ],
)
def test_an_option_without_effect_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(image_classification, arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"\nerror: {expected}")


def test_a_target_that_agrees_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(image_classification, ["--submit", "vertex", "--target", "vertex"])
    assert "no value for source" in capsys.readouterr().err
