"""What a person watching a local run sees: the steps, their own progress lines and times; the rest goes to a file."""

import io
import re
import time
from typing import TextIO

_LOGGER_LINE = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} - (?:INFO|WARNING|ERROR) - (?P<text>.*)$")
_KFP_INDENT = "    "
_COLOUR = re.compile(r"\x1b\[\d+m")
_EXECUTING = re.compile(r"^Executing task '(?P<task>[\w-]+)'$")
_FINISHED = re.compile(r"^Task '(?P<task>[\w-]+)' finished with status (?P<status>\w+)$")
_EXECUTOR_INPUT = re.compile(r"^\[KFP Executor .* INFO\]: Got executor_input:$")
# What kfp and TensorFlow say to their own developers.
_NOISE = re.compile(
    r"^(?:\[KFP Executor |Found image |I0000 |W0000 |WARNING: All log messages before absl|"
    r"To enable the following instructions)"
)


class RunLog(io.TextIOBase):
    """A text stream that keeps everything kfp.local prints in a file, and shows a person what matters.

    Args:
        log: Open text file for the whole output.
        terminal: Where the person looks.
        steps: Number of steps, for ``[3/8]``.
    """

    def __init__(self, log: TextIO, terminal: TextIO, steps: int) -> None:
        self._log = log
        self._terminal = terminal
        self._steps = steps
        self._started: list[str] = []
        self._step_began = 0.0
        self._inside_step = False
        self._inside_executor_input = False
        self._rest = ""

    def writable(self) -> bool:
        """Return True: this stream takes text."""
        return True

    def write(self, text: str) -> int:
        """Take text in any pieces; show it line by line."""
        self._log.write(text)
        self._log.flush()
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._show(_COLOUR.sub("", line))
        return len(text)

    def _show(self, line: str) -> None:
        logged = _LOGGER_LINE.match(line)
        if logged:
            self._show_event(logged["text"])
        elif self._inside_step:
            self._show_step_line(line)

    def _show_step_line(self, line: str) -> None:
        text = line.strip()
        step = self._started[-1].replace("-", "_")
        if self._inside_executor_input:  # kfp prints it as indented JSON, whose last line is a brace in its own column
            self._inside_executor_input = line.rstrip() != f"{_KFP_INDENT}}}"
        elif _EXECUTOR_INPUT.match(text):
            self._inside_executor_input = True
        # How a step failed, the launcher says at the end, in the same words.
        elif text and not _NOISE.match(text) and not text.startswith(f"{step}: error: "):
            self._print(f"      {text.removeprefix(f'{step}: ')}")

    def _show_event(self, text: str) -> None:
        executing, finished = _EXECUTING.match(text), _FINISHED.match(text)
        if executing:
            self._started.append(executing["task"])
            self._step_began = time.monotonic()
            name = executing["task"].replace("-", "_")
            self._print(f"\n[{len(self._started)}/{self._steps}] {name}")
        elif text.startswith("Streamed logs:"):
            self._inside_step = True
        elif finished:
            self._inside_step = False
            seconds = time.monotonic() - self._step_began
            if finished["status"] == "SUCCESS":
                self._print(f"      done in {seconds:.1f} s")

    def _print(self, line: str) -> None:
        self._terminal.write(line + "\n")
        self._terminal.flush()
