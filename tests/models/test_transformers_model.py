"""Any family behind the Model contract: answers as transformers' own, in any batch; loading that says what is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.data.checkpoints import KINDS, told

from georefer.errors import CheckpointError, InputError
from georefer.models import Ask, load_model
from georefer.models.loading import load

PROMPTS = ["where is the tank?", "is there a ship?", "find every plane in the image, as a list", "x"]
SIZES = [(100, 60), (60, 130), (57, 33)]


@pytest.fixture(scope="module")
def asks():
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in SIZES]
    return [Ask(image, prompt) for prompt in PROMPTS for image in images]


def own_answer(model, ask, count):
    """The family's own `generate`, fed by its own processor, one question at a time."""
    family, speech = model.family, model.speech
    inputs = family.processor(text=[told(model, ask.prompt)], images=[ask.image_HW3], return_tensors="pt")
    inputs.pop("labels", None)  # PaliGemma's, also where nothing is to be learned
    begun = 2 if family.is_encoder_decoder else inputs["input_ids"].shape[1]
    with torch.inference_mode():
        made = family.model.generate(
            **inputs, do_sample=False, max_new_tokens=count + family.is_encoder_decoder, forced_eos_token_id=None,
            eos_token_id=sorted(model.end_ids),
        )  # fmt: skip
    return speech.answer(made[0, begun:].tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_answers_equal_transformers_one_by_one(loaded, asks, kind):
    model = loaded(kind)
    expected = [own_answer(model, ask, 16) for ask in asks]
    assert model.generate(asks, 16) == expected
    assert [model.generate([ask], 16)[0] for ask in asks] == expected
    for rows in (3, 9):  # an image's questions in turns; two images together and one alone
        assert replace(model, batch_rows=rows).generate(asks[::-1], 16) == expected[::-1]
    assert len(set(expected)) > len(asks) // 2  # other images and questions get other answers


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_encoded_once(loaded, asks, kind):
    model, count = replace(loaded(kind), batch_rows=3), []
    family = model.family
    encode = family.image_features
    family.image_features = lambda pixels: count.append(len(encode(pixels).tokens)) or encode(pixels)
    try:
        model.generate(asks, 2)
    finally:
        del family.image_features
    assert count == [1] * len(SIZES)  # four questions each, in two turns


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_again(loaded, asks, kind, tmp_path):
    model = loaded(kind)
    model.save(tmp_path)
    again = load_model(tmp_path)
    assert (again.name, again.dialect, again.frame_for((90, 50))) == (
        model.name,
        model.dialect,
        model.frame_for((90, 50)),
    )
    assert again.generate(asks[:3], 6) == model.generate(asks[:3], 6)
    assert not list(tmp_path.glob("*.bin"))


@pytest.mark.parametrize("kind", KINDS)
def test_fields_of_the_contract(loaded, kind):
    model = loaded(kind)
    assert model.name.startswith(f"{kind}-") and next(model.family.model.parameters()).dtype == torch.float32
    assert model.dialect.name == model.family.dialect
    assert model.generate([], 4) == []


@pytest.mark.parametrize(
    ("kind", "changed", "frame"),
    [
        # as Qwen's released checkpoints say it, and as some tuned ones do
        ("qwen2_5_vl", {"size": None, "min_pixels": 3136, "max_pixels": 60_000}, (280, 196)),
        (
            "qwen2_vl",
            {"size": {"min_pixels": 1, "max_pixels": 2}, "min_pixels": 3136, "max_pixels": 60_000},
            (280, 196),
        ),
        ("llava", {"size": 56, "crop_size": 56}, (56, 56)),
        ("llava", {"size": {"height": 56, "width": 56}}, (56, 56)),
        ("llava_next", {"size": {"height": 56, "width": 56}, "crop_size": None, "do_center_crop": False}, (56, 56)),
    ],
)
def test_older_settings_of_pictures(checkpoint, asks, tmp_path, kind, changed, frame):
    folder = shutil.copytree(checkpoint(kind), tmp_path / "model")
    damage(folder, "processor_config.json", lambda c: c["image_processor"].update(changed))
    model = load_model(folder)
    assert model.frame_for((900, 600)).size == frame
    height, width = model.family.pictures(np.zeros((600, 900, 3), np.uint8))[0].shape[:2]
    assert (width, height) == frame
    assert len(model.generate(asks[:2], 2)) == 2


@pytest.mark.parametrize("kind", ["llava", "llava_next"])
def test_a_processor_that_leaves_its_geometry_to_the_model(checkpoint, loaded, asks, tmp_path, kind):
    folder = shutil.copytree(checkpoint(kind), tmp_path / "model")
    settings = json.loads((folder / "processor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings["image_processor"]))
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": settings["processor_class"]}))
    assert load_model(folder).generate(asks[:3], 6) == loaded(kind).generate(asks[:3], 6)


def test_gemma_s_released_settings_are_mostly_null(checkpoint, loaded, asks, tmp_path):
    folder = shutil.copytree(checkpoint("gemma3"), tmp_path / "model")
    names = ["do_convert_rgb", "do_pan_and_scan", "pan_and_scan_max_num_crops", "pan_and_scan_min_crop_size"]
    damage(folder, "processor_config.json", lambda c: c["image_processor"].update(dict.fromkeys(names)))
    assert load_model(folder).generate(asks[:3], 6) == loaded("gemma3").generate(asks[:3], 6)


def test_florence_s_first_checkpoints_are_refused_in_a_sentence(checkpoint, tmp_path):
    """They need code of their own."""
    folder = shutil.copytree(checkpoint("florence2"), tmp_path / "model")
    damage(folder, "config.json", lambda c: c["text_config"].update(model_type="florence2_language"))
    with pytest.raises(CheckpointError, match="florence2_language") as error:
        load_model(folder)
    assert len(str(error.value)) < 700


def test_dialect_and_system_are_kept_beside_the_checkpoint(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint("llava_next"), tmp_path / "model")
    model = load(folder, dialect="geoground", system="A chat.")
    assert model.dialect.name == "geoground"
    model.save(folder)
    again = load_model(folder)
    assert (again.dialect.name, again.system) == ("geoground", "A chat.")
    assert load_model(folder, dialect="georefer").dialect.name == "georefer"
    with pytest.raises(InputError, match="no dialect 'klingon'"):
        load_model(folder, dialect="klingon")


def test_groundset_s_llava_is_asked_as_it_was_taught(checkpoint, tmp_path):
    model = load_model(shutil.copytree(checkpoint("llava_next"), tmp_path / "GroundSet-LLaVA"))
    assert model.dialect.name == "groundset"
    decode = model.speech.tokenizer.decode
    before = decode(model.prefix((672, 672)).ids).replace("<image>", "")
    assert before.endswith("polite answers to the human's questions. USER: ")
    assert decode(model.segment("where?", "[1, 2]").ids) == "\nwhere? ASSISTANT: [1, 2]</s>"
    model.save(tmp_path / "trained")  # no longer known by its name
    again = load_model(tmp_path / "trained")
    assert again.prefix((672, 672)).ids == model.prefix((672, 672)).ids and again.dialect == model.dialect


@pytest.mark.parametrize("kind", ["llava", "llava_next"])
def test_a_checkpoint_without_template_gets_the_family_s(checkpoint, tmp_path, kind):
    folder = shutil.copytree(checkpoint(kind), tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    speech = load_model(folder).speech
    assert speech.tokenizer.decode(speech.segment("where?", "here").ids) == "\nwhere? ASSISTANT: here</s>"


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("llava", "CLIPImageProcessor"),
        ("llava_next", "LlavaNextImageProcessorFast"),
        ("qwen2_5_vl", "Qwen2VLImageProcessorFast"),
        ("internvl", "GotOcr2ImageProcessorFast"),
        ("gemma3", "Gemma3ImageProcessor"),
        ("idefics3", "Idefics3ImageProcessor"),
    ],
)
def test_older_layout_of_files(loaded, checkpoint, asks, tmp_path, kind, named):
    """Most released checkpoints keep pictures and template in files of their own, and name faster classes."""
    folder = shutil.copytree(checkpoint(kind), tmp_path / "model")
    settings = json.loads((folder / "processor_config.json").read_text())
    pictures = settings.pop("image_processor")
    (folder / "processor_config.json").write_text(json.dumps(settings))
    if kind == "qwen2_5_vl":
        (folder / "processor_config.json").unlink()
    (folder / "preprocessor_config.json").write_text(json.dumps({**pictures, "image_processor_type": named}))
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    model = load_model(folder)
    assert model.generate(asks[:3], 6) == loaded(kind).generate(asks[:3], 6)


def damage(folder, file, change):
    read = json.loads((folder / file).read_text())
    change(read)
    (folder / file).write_text(json.dumps(read))


def cut(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "weights"),
        (cut, "weights"),
        (lambda f: (f / "tokenizer.json").unlink(), "processor"),
        (lambda f: damage(f, "config.json", lambda c: c.update(model_type="resnet")), "type 'resnet'"),
        (lambda f: damage(f, "config.json", lambda c: c["text_config"].update(num_hidden_layers=4)), "missing keys"),
        (
            lambda f: damage(f, "config.json", lambda c: c["text_config"].update(intermediate_size=64)),
            "mismatched keys",
        ),
        (lambda f: (f / "georefer.json").write_text("[1"), "not JSON"),
    ],
)
def test_damaged_checkpoints(checkpoint, tmp_path, spoil, message):
    folder = shutil.copytree(checkpoint("llava"), tmp_path / "model")
    spoil(folder)
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


def test_names_of_nothing(tmp_path):
    """Without a network: what was fetched before or is in a folder is found, all else is said to be missing."""
    (tmp_path / "runs").mkdir()
    names = ["nobody/nothing", "no body/no thing", "runs/missing", "missing", "./a/b"]
    code = f"""
from georefer import load_model
from georefer.errors import CheckpointError
for name in {names}:
    try:
        load_model(name)
    except CheckpointError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "HF_HUB_OFFLINE": "1"})  # fmt: skip
    assert not done.stderr and len(done.stdout.splitlines()) == len(names)
    for line, name in zip(done.stdout.splitlines(), names, strict=True):
        assert line.startswith(name) and "give the folder" in line


def test_loading_is_silent(checkpoint):
    code = f"from georefer import load_model; load_model({str(checkpoint('qwen2_5_vl'))!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("kind", ["paligemma", "florence2"])
def test_a_grammar_holds_where_no_prefix_is_shared(loaded, asks, kind):
    model = loaded(kind)
    grammar = 'start: ("none" | LOC LOC) " ship"?\nLOC: "<loc" "_"? /[0-9]{2,4}/ ">"\n'
    free, held = model.answers(asks, 20), model.answers(asks, 20, grammar=grammar)
    kept = [answer.text for answer in held if answer.stopped == "end"]
    assert len(kept) > len(asks) // 2
    assert all(re.fullmatch(r"(none|(<loc_?[0-9]{2,4}>){2})( ship)?", text) for text in kept)
    for answer in [*free, *held]:
        assert len(answer.logprobs) == len(answer.ids) and max(answer.logprobs) <= 0
    assert model.answers(asks[:2], 0)[0].text == ""
