"""Open a page in a real browser, as a person would."""

import shutil
import subprocess
from pathlib import Path

import pytest


def dumped_dom(page: Path, directory: Path) -> str:
    """Open a page in headless Chromium and return its document after its script ran; fail on console messages."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed; install the package 'chromium' to run this test")
    quiet = [
        f"--disable-{what}"
        for what in ("gpu", "quic", "background-networking", "component-update", "sync", "dev-shm-usage")
    ]
    command = [chromium, "--headless", "--no-sandbox", "--no-first-run", *quiet, f"--user-data-dir={directory}"]
    command += ["--enable-logging=stderr", "--v=0", "--dump-dom", page.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=500, check=True)
    assert "CONSOLE" not in ended.stderr, ended.stderr
    return ended.stdout
