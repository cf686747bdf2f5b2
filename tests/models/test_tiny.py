"""The tiny model is a plain transformers model: exact tokenizer, exact reload, answers the same in any batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
import torch

from georefer.dialects import DIALECTS
from georefer.dialects.runs import MASK_TOKENS
from georefer.geometry import Frame, Objects
from georefer.models import Ask
from georefer.models.tiny import TinySettings, create_tiny, load, with_words
from georefer.models.tiny_tokenizer import build_tokenizer, number_ids, text_ids, word_ids

SMALL = TinySettings(image_size=32, numbers=32, width=32, heads=2, text_layers=2, text_mlp=48,
                     stem_widths=(8, 8, 16), stem_blocks=(0, 1, 0))  # fmt: skip
TEXTS = ["where is the red building?", "find every tank", "[1, 2, 3, 4] [5, 6, 7, 8]", "none", 'pool; {"a": 1}']


@pytest.fixture(scope="module")
def tiny():
    return create_tiny(SMALL, TEXTS)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(3)]


@pytest.mark.parametrize(
    "text",
    [
        "where is the red building?",
        "[12, 40, 60, 88]",
        "two  spaces, a tab\t, a line\nand its end ",
        "Straße 日本 🛰 ½ e\u0301",  # no unknowns, whatever the script
        "<image> typed by a user",
        "007 129 1000 -3 0.25",
        "",
    ],
)
def test_text_comes_back_exactly(tiny, text):
    assert tiny.speech.tokenizer.decode(text_ids(tiny.speech.tokenizer, text)) == text


@pytest.mark.parametrize("template", ["{}", "[{}]", ", {}", "at {} px", "x={}", "({},"])
def test_every_number_is_one_and_the_same_token(tiny, template):
    """Nothing around a number may change its token, or the model would have to learn each number several times."""
    around = template.split("{}")
    expected_rest = [len(text_ids(tiny.speech.tokenizer, part)) for part in around]
    for number, token in enumerate(number_ids(tiny.speech.tokenizer, SMALL.numbers)):
        ids = text_ids(tiny.speech.tokenizer, template.format(number))
        assert len(ids) == sum(expected_rest) + 1
        assert ids[expected_rest[0]] == token


def test_frequent_words_are_one_token(tiny):
    assert len(text_ids(tiny.speech.tokenizer, "where is the red building?")) == 6
    assert len(text_ids(tiny.speech.tokenizer, "[1, 2, 3, 4]")) == 9
    ids = word_ids(tiny.speech.tokenizer, ["red building", "zebra", "red"])
    # the unknown word has no token of its own
    assert [tiny.speech.tokenizer.decode([i]) for i in ids] == [" red", " building"]


def test_typed_image_marker_is_not_an_image(tiny):
    ids = tiny.segment("an <image> here", "none").ids
    assert tiny.family.image_token_id not in ids and "< image>" in tiny.speech.tokenizer.decode(ids)


def test_segment_learns_exactly_the_answer(tiny):
    assert tiny.speech.tokenizer.decode(tiny.prefix((70, 50)).ids) == "<image>" * 16 + "<user>"
    segment = tiny.segment("find every tank", "[1, 2, 3, 4]")
    learned = [token for token, learned in zip(segment.ids, segment.learn, strict=True) if learned]
    assert tiny.speech.tokenizer.decode(learned) == "[1, 2, 3, 4]<eos>"
    rest = [token for token, learned in zip(segment.ids, segment.learn, strict=True) if not learned]
    assert tiny.speech.tokenizer.decode(rest) == "find every tank<assistant>"


def test_same_texts_and_seed_give_the_same_model(tiny):
    again = create_tiny(SMALL, list(TEXTS))
    assert again.speech.tokenizer.get_vocab() == tiny.speech.tokenizer.get_vocab()
    for name, value in again.family.model.state_dict().items():
        assert torch.equal(value, tiny.family.model.state_dict()[name]), name


def test_reload_is_bit_identical(tiny, images, tmp_path):
    tiny.family.model.train()
    tiny.family.model.get_image_features(pixel_values=torch.randn(4, 3, 32, 32))  # moves the stored statistics
    tiny.save(tmp_path)
    loaded = load(tmp_path)
    assert loaded.family.settings == tiny.family.settings
    assert (tmp_path / "model.safetensors").exists() and not list(tmp_path.glob("*.bin"))
    before, after = tiny.family.model.state_dict(), loaded.family.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert text_ids(loaded.speech.tokenizer, "red 32 ünd") == text_ids(tiny.speech.tokenizer, "red 32 ünd")
    asks = [Ask(*pair) for pair in zip(images, TEXTS[:3], strict=True)]
    assert loaded.generate(asks, 8) == tiny.generate(asks, 8)


def test_attention_starts_at_the_set_scale(tiny):
    """Weights w on query and key of d components give logits of w * w * sqrt(d) times their cosine."""
    named = tiny.family.model.named_parameters()
    norms = {name: p for name, p in named if name.endswith(("q_norm.weight", "k_norm.weight"))}
    assert len(norms) == 2 * (SMALL.text_layers + SMALL.vision_layers)
    for weight in norms.values():
        assert torch.allclose(weight**2 * len(weight) ** 0.5, torch.full_like(weight, SMALL.attention_scale))


def test_near_numbers_and_places_start_alike():
    """Likeness falls with distance; without the setting neighbours are strangers."""
    settings = TinySettings(numbers=64, image_size=64, text_layers=1)
    for smooth in (True, False):
        made = create_tiny(replace(settings, smooth_start=smooth), TEXTS)
        numbers_ND = made.family.model.get_input_embeddings().weight[number_ids(made.speech.tokenizer, 64)].detach()
        places_GGD = made.family.model.model.vision_tower.position_ND.detach().view(4, 4, -1)
        like = torch.nn.functional.cosine_similarity
        near, middle, far = (like(numbers_ND[:-by], numbers_ND[by:]).mean() for by in (1, 6, 32))
        assert (near > middle + 0.2 > far + 0.3) == smooth
        beside = like(places_GGD[:, 1], places_GGD[:, 2]).mean()
        across = like(places_GGD[0, 0], places_GGD[3, 3], dim=0)
        assert (beside > across + 0.3) == smooth


def test_embeddings_are_tied(tiny):
    assert tiny.family.model.lm_head.weight is tiny.family.model.get_input_embeddings().weight


@pytest.fixture(scope="module")
def talkative():
    """Large random weights: its nonsense depends on image, question and position, unlike that of a fresh model."""
    return create_tiny(replace(SMALL, initializer_range=0.5, seed=3), TEXTS)


def plain_answer(tiny, image, prompt, max_new_tokens):
    """One question at a time, no cache, by argmax: what the fast way must equal."""
    ids = [*tiny.prefix((32, 32)).ids, *tiny.speech.question_ids(prompt)]
    made: list[int] = []
    pixels = tiny.pixels([image])
    for _ in range(max_new_tokens):
        logits = tiny.family.model(input_ids=torch.tensor([ids + made]), **pixels, use_cache=False).logits
        made.append(int(logits[0, -1].argmax()))
        if made[-1] == tiny.speech.tokenizer.eos_token_id:
            break
    return tiny.speech.answer(made)


def test_batched_answers_equal_single_ones(talkative, images):
    talkative.family.model.eval()
    asked = [(images[0], "find every tank"), (images[1], "where is the red building by the tank?"),
             (images[0], "none"), (images[2], "find")]  # fmt: skip
    answers = replace(talkative, batch_rows=3).generate([Ask(*pair) for pair in asked], max_new_tokens=6)
    with torch.no_grad():
        expected = [plain_answer(talkative, image, prompt, 6) for image, prompt in asked]
    assert answers == expected
    assert len(set(answers)) == 4  # else equality would say little


@pytest.mark.parametrize("size", [128, 192, 256])
def test_image_size_is_a_setting(size):
    made = create_tiny(TinySettings(image_size=size, numbers=size, text_layers=1), TEXTS)
    tokens = (size // 16) ** 2
    assert made.prefix((50, 50)).ids.count(made.family.image_token_id) == tokens
    features = made.family.model.get_image_features(pixel_values=torch.zeros(1, 3, size, size)).pooler_output
    assert features[0].shape == (tokens, 128)
    assert len(text_ids(made.speech.tokenizer, str(size))) == 1


def test_default_size_is_about_a_million():
    made = create_tiny(TinySettings(), TEXTS)
    assert 1.0e6 < sum(p.numel() for p in made.family.model.parameters()) < 1.5e6


def test_pixels_are_resized_and_normalised(tiny):
    black, white = np.zeros((64, 64, 3), np.uint8), np.full((20, 30, 3), 255, np.uint8)
    pixels = tiny.pixels([black, white])["pixel_values"]
    assert pixels.shape == (2, 3, 32, 32) and pixels.dtype == torch.float32
    assert pixels[0].unique().tolist() == [-1.0] and pixels[1].unique().tolist() == [1.0]
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    assert tiny.pixels([red])["pixel_values"][0].amax(dim=(1, 2)).tolist() == [1.0, -1.0, -1.0]
    assert np.abs(tiny.family.pictures(red)[0] * 255 - red).max() < 1e-4


def test_a_mask_costs_one_token_a_run():
    tokenizer = build_tokenizer(TEXTS, 128, marks=MASK_TOKENS)
    roof = Objects.of([shapely.box(10, 10, 90, 90)], ["roof"], kind="mask")
    text = DIALECTS["georefer-tokens"].write(roof, Frame.resize((128, 128), (128, 128), 128))
    assert text == "roof [10, 10, 90, 90]{16: <m0><m16>" + "<m=>" * 15 + "}"
    grid = text[text.index("<") : -1]
    assert len(text_ids(tokenizer, grid)) == 17
    assert tokenizer.decode(text_ids(tokenizer, text)) == text


def test_new_words_get_tokens_and_old_ones_stay():
    model = create_tiny(SMALL, ["the red tank", "the blue pool"])
    before = model.family.bare.get_input_embeddings().weight.detach().clone()
    ids = model.speech.tokenizer("the red tank")["input_ids"]
    grown = with_words(model, ["the heliport", "<think>the heliport</think>"], "georefer-think")
    tokens = grown.speech.tokenizer
    assert tokens("the red tank")["input_ids"] == ids and len(tokens(" heliport")["input_ids"]) == 1
    assert len(tokens(" airfield")["input_ids"]) > 1 and tokens.decode(tokens("<think>an airfield")["input_ids"]) == (
        "<think>an airfield"
    )
    after = grown.family.bare.get_input_embeddings().weight
    assert torch.equal(after[: len(before)], before) and len(after) == len(tokens) > len(before)
    assert grown.dialect.name == "georefer-think" and grown.family.bare.get_output_embeddings().weight is after


def test_grown_models_are_saved_whole(tmp_path):
    grown = with_words(create_tiny(SMALL, ["the tank"]), ["the heliport"])
    grown.save(tmp_path)
    read = load(tmp_path)
    assert len(read.speech.tokenizer) == len(grown.speech.tokenizer) and read.dialect.name == grown.dialect.name
    ask = Ask(np.zeros((64, 64, 3), np.uint8), "where is the heliport?")
    assert read.answers([ask], 8)[0].text == grown.answers([ask], 8)[0].text
