"""What a request may ask: each way to ask for more is refused in a sentence."""

import base64
import struct
import zlib

import numpy as np
import pytest

from georefer.imagery.encode import encode_image
from georefer.serving.questions import Images, Wrong, read_request

NAMES = ("model-1", "friendly")
IMAGE_HW3 = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
PNG = encode_image(IMAGE_HW3)


def data_url(data=PNG, head="data:image/png;base64"):
    return f"{head},{base64.b64encode(data).decode()}"


def picture(url):
    return {"type": "image_url", "image_url": {"url": url}}


TEXT = {"type": "text", "text": "where?"}


def request(*parts, **fields):
    content = list(parts) or [TEXT, picture(data_url())]
    return {"model": "model-1", "messages": [{"role": "user", "content": content}], **fields}


@pytest.mark.parametrize(
    ("fields", "max_tokens"),
    [
        ({}, 256),
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 9, "max_tokens": 7}, 9),  # the newer name of the field
        ({"temperature": 0.0, "n": 1, "stream": False, "stop": None, "top_p": 0.3, "seed": 4}, 256),  # as clients send
        ({"model": "friendly"}, 256),
        ({"model": None}, 256),
    ],
)
def test_a_question_is_read(fields, max_tokens):
    asked = read_request(request(**fields), NAMES)
    assert (asked.prompt, asked.encoded, asked.max_tokens) == ("where?", PNG, max_tokens)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "no JSON object"),
        ({}, "exactly one message"),
        (request(model="other"), "'other' is not served here; name model-1"),
        (request(temperature=0.7), "temperature is 0.7"),
        (request(n=2), "n is 2"),
        (request(stream=True), "stream is True"),
        (request(logprobs="yes"), "logprobs is yes"),
        (request(top_logprobs=3), "top_logprobs is 3"),
        (request(response_format={"type": "json_object"}), "response_format is"),
        (request(stop=["."]), "'stop' is not supported"),
        (request(tools=[{}]), "'tools' is not supported"),
        (request(max_tokens=0), "from 1 to 4096"),
        (request(max_tokens=5000), "from 1 to 4096"),
        (request(max_tokens=True), "from 1 to 4096"),
        (request(max_tokens="9"), "from 1 to 4096"),
        (request(messages="where?"), "exactly one message"),
        (request(messages=[{"role": "system", "content": "x"}]), "exactly one message"),
        (request(messages=[request()["messages"][0]] * 2), "exactly one message"),  # a talk
        (request(messages=[{"role": "user", "content": "where?"}]), "1 texts and 0 images"),
        (request(messages=[{"role": "user"}]), "neither a text nor an image_url"),
        (request(TEXT, TEXT, picture(data_url())), "2 texts and 1 images"),
        (request(TEXT, picture(data_url()), picture(data_url())), "1 texts and 2 images"),
        (request(TEXT, {"type": "input_audio"}), "neither a text nor"),
        (request(TEXT, {"type": "image_url", "image_url": "x"}), "neither a text nor"),
        (request(TEXT, picture("http://169.254.169.254/latest")), "fetches no addresses"),
        (request(TEXT, picture("file:///etc/passwd")), "fetches no addresses"),
        (request(TEXT, picture(None)), "fetches no addresses"),
        (request(TEXT, picture(data_url(head="data:image/svg+xml;base64"))), "fetches no addresses"),
        (request(TEXT, picture("data:image/png;base64,%%%")), "not written in base64"),
        (request(TEXT, picture("data:image/png;base64,abc")), "not written in base64"),
        (request(TEXT, picture("data:image/png;base64,é")), "not written in base64"),
    ],
)
def test_what_cannot_be_done_is_refused(body, said):
    with pytest.raises(Wrong, match=said) as wrong:
        read_request(body, NAMES)
    assert wrong.value.status == (404 if "not served here" in said else 400)


def test_equal_bytes_give_one_array_while_somebody_holds_it():
    images = Images(100)
    first = images.decoded(PNG)
    assert np.array_equal(first, IMAGE_HW3)
    assert images.decoded(bytes(bytearray(PNG))) is first
    assert images.decoded(encode_image(IMAGE_HW3[::-1])) is not first
    del first
    assert not images._arrays  # nothing is held for nobody


def header_only(width, height):
    """A PNG that claims a size and brings nothing."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        (encode_image(np.zeros((11, 10, 3), np.uint8)), "10 x 11 pixels where at most 100"),
        (header_only(60_000, 60_000), "60000 x 60000|no readable PNG"),  # pillow may refuse it first
        (header_only(10, 10), "no readable PNG"),
        (PNG[:-30], "no readable PNG"),
        (b"", "no readable PNG"),
        (b"GIF89a" + bytes(50), "no readable PNG"),
    ],
)
def test_what_is_no_image_or_too_large_is_refused(encoded, said):
    with pytest.raises(Wrong, match=said):
        Images(100).decoded(encoded)
