"""Some seconds of the soak that `make soak` runs for minutes."""

import subprocess
import sys
from pathlib import Path


def test_a_short_soak_agrees_with_the_model():
    program = Path(__file__).parents[1] / "soak" / "soak.py"
    result = subprocess.run(
        [sys.executable, str(program), "--minutes", "0.05", "--round", "1"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "as the model says" in result.stdout
