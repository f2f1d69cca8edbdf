"""What every test may ask for."""

import pytest

from onnxplain import cli


@pytest.fixture
def command(capsys):
    """Run the command line in this process: (exit status, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exited:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return exited.value.code, captured.out, captured.err

    return run
