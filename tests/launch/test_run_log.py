import io

from components.launch.run_log import RunLog

OUTPUT = """12:00:00.000 - INFO - Running pipeline: \x1b[95m'image-classification'\x1b[0m
----------------------------------------
12:00:00.100 - INFO - Executing task \x1b[96m'train-frozen'\x1b[0m
12:00:00.200 - INFO - Streamed logs:

    [KFP Executor 2026-01-01 12:00:00,300 INFO]: Looking for component `train_frozen`
    [KFP Executor 2026-01-01 12:00:00,310 INFO]: Got executor_input:
    {
        "inputs": {
            "parameterValues": {
                "epochs": 5
            }
        }
    }
    train_frozen: epoch 1 of 5
    a line without the step's name
    train_frozen: error: said once, at the end of the run
12:00:01.000 - INFO - Task \x1b[96m'train-frozen'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
12:00:01.000 - INFO - Task \x1b[96m'train-frozen'\x1b[0m outputs:
    model: Model( name='model', uri='/x' )
"""


def test_a_person_sees_steps_and_their_own_lines_and_the_file_keeps_everything() -> None:
    log, terminal = io.StringIO(), io.StringIO()
    view = RunLog(log, terminal, steps=8)
    for start in range(0, len(OUTPUT), 7):  # pieces that cut lines anywhere
        view.write(OUTPUT[start : start + 7])
    assert log.getvalue() == OUTPUT
    shown = terminal.getvalue().splitlines()
    assert shown[:4] == ["", "[1/8] train_frozen", "      epoch 1 of 5", "      a line without the step's name"]
    assert shown[4].startswith("      done in ")
    assert len(shown) == 5
