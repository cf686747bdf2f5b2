"""`georefer serve` as it is used: started, asked by another verb, ended by Ctrl-C."""

import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from georefer.cli import main
from georefer.imagery.encode import encode_image

SHIPPED = "tiny-synthetic"


def test_a_served_model_answers_as_it_does_here(tmp_path, capsys):
    image = tmp_path / "image.png"
    image.write_bytes(encode_image(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)))
    command = [sys.executable, "-m", "georefer", "serve", SHIPPED, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        found = re.match(r"tiny-\w+ at (http://127\.0\.0\.1:\d+/v1)  \(Ctrl-C ends\)", line)
        assert found, line
        said = []
        for model in (SHIPPED, found[1], f"{found[1]}#{SHIPPED}"):
            assert main(["ask", model, str(image), "--find", "building"]) == 0
            said.append(capsys.readouterr().out)
        assert said[0] == said[1] == said[2] and "->" in said[0]
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
        assert "Traceback" not in server.stderr.read()
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no-such-model",), "no-such-model"),
        ((SHIPPED, "--batch", "0"), "must be above 0"),
        ((SHIPPED, "--port", "99999"), "port 99999 of 127.0.0.1 cannot be served on"),
        ((SHIPPED, "--key-variable", "NO_SUCH_KEY"), "NO_SUCH_KEY holds no key"),
    ],
)
def test_wrong_input_is_one_sentence(capsys, arguments, said):
    assert main(["serve", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_an_open_door_is_noted(capsys):
    assert main(["serve", "no-such-model", "--host", "0.0.0.0"]) == 2
    assert "anyone who reaches 0.0.0.0 may ask" in capsys.readouterr().err
