"""Drawing and learning from shared rows is what a row for each answer would give, on every family."""

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.checkpoints import KINDS, build
from tests.models.conftest import tiny

from georefer.errors import InputError
from georefer.models.loading import load
from georefer.models.sampling import Drawn, _at
from georefer.training import rollouts as module
from georefer.training.examples import Example
from georefer.training.policy import METHODS, advantages, k3, policy_losses, ratios, summed, terms
from georefer.training.prompts import Asked, Prompts
from georefer.training.rollouts import Place, Rollout, Seen, answer_logprobs, draw, seed_of, uniforms

FAMILIES = [*(kind for kind in KINDS if kind != "florence2"), "tiny"]
ANSWERS, TOKENS, TEMPERATURE = 4, 7, 0.8
QUESTIONS = [["where is the tank?"], ["is there a ship?", "find every plane in the image"]]
PLACES = [Place(0, 0), Place(1, 0), Place(1, 1)]
SIZES = [(100, 60), (70, 130)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    def of(kind):
        model = tiny() if kind == "tiny" else load(build(kind, tmp_path_factory.mktemp("checkpoints") / kind))
        model.family.model.eval()
        if kind == "paligemma":  # Gemma 2 caps its attention, which sdpa cannot
            model.family.model.set_attn_implementation("eager")
        return model

    return cache(of)


def prompts_of(model):
    rng = np.random.default_rng(1)
    made = []
    for size, texts in zip(SIZES, QUESTIONS, strict=True):
        image = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        example = Example("s", [image], 0, size, (), np.zeros(0), np.zeros(0), None)
        asked = [Asked(text, "rec", text, tuple(model.speech.question_ids(text)), None) for text in texts]
        made.append(Prompts(example, tuple(asked)))
    return made


def drawn_of(model, places=PLACES):
    prompts = prompts_of(model)
    seen, features = Seen.of(model.family, prompts)
    noise = [uniforms(seed_of([5, place.image, place.question]), ANSWERS, TOKENS) for place in places]
    return seen, draw(model, prompts, features, places, noise, TEMPERATURE)


def rollouts_of(model, groups, places=PLACES):
    prompts = prompts_of(model)
    nothing = np.zeros((ANSWERS, 1))
    return [
        Rollout(p, prompts[p.image].asked[p.question], answers, ("",) * ANSWERS, nothing, nothing[:, 0], nothing[:, 0])
        for p, answers in zip(places, groups, strict=True)
    ]


def plain_logprobs(model, drawn, place):
    """Of one answer, by the family's own forward: nothing shared, nothing packed, no cache."""
    own, prompts = model.family.model, prompts_of(model)[place.image]
    prefix, question = model.prefix(prompts.example.size), prompts.asked[place.question].ids
    before = len(prefix) + len(question)
    ids_1T = torch.tensor([[*prefix.ids, *question, *drawn.ids]])
    more = {}
    if "qwen" in own.config.model_type:
        more["mm_token_type_ids"] = (ids_1T == model.family.image_token_id).int()
    if own.config.model_type == "gemma3":
        more["token_type_ids"] = (ids_1T == model.family.image_token_id).int()
    if own.config.model_type == "paligemma":
        more = {"token_type_ids": (torch.arange(ids_1T.shape[1]) >= before)[None].int(), "labels": ids_1T}
    logits_TV = own(input_ids=ids_1T, **model.pixels([prompts.example.image()]), **more).logits[0, before - 1 : -1]
    logits_TV = logits_TV.float() / TEMPERATURE
    if model.family.image_token_id < logits_TV.shape[1]:
        logits_TV[:, model.family.image_token_id] = -torch.inf
    return logits_TV.log_softmax(-1).gather(1, torch.tensor(drawn.ids)[:, None])[:, 0]


def gradients(model):
    found = {name: p.grad.clone() for name, p in model.family.model.named_parameters() if p.grad is not None}
    model.family.model.zero_grad()
    return found


def grpo_loss(logprob_BT, mask_BT):
    """A loss in which every part acts: clips, advantages of both signs, a reference."""
    generator = torch.Generator().manual_seed(3)
    moved_BT, away_BT = (0.3 * torch.randn(mask_BT.shape, generator=generator) for _ in range(2))
    advantage_B = torch.randn(len(mask_BT), generator=generator)
    fixed_BT, method = logprob_BT.detach(), METHODS["grpo"]
    ratio_BT = ratios(logprob_BT, fixed_BT + moved_BT, mask_BT)
    loss_BT = policy_losses(ratio_BT, advantage_B, method) + 0.04 * k3(logprob_BT, fixed_BT + away_BT)
    return summed(loss_BT, mask_BT, method.mean) / terms(mask_BT, method.mean, TOKENS)


@pytest.mark.parametrize("kind", ["llava", "qwen2_5_vl", "qwen3_vl", "gemma3", "paligemma", "tiny"])
def test_log_probabilities_of_drawing_are_those_of_the_family_itself(loaded, kind):
    model = loaded(kind)
    _, groups = drawn_of(model)
    lengths = {len(drawn.ids) for group in groups for drawn in group}
    assert len({drawn.ids for drawn in groups[0]}) > 1 and max(lengths) <= TOKENS
    with torch.no_grad():
        for place, group in zip(PLACES, groups, strict=True):
            for drawn in group:
                expected_T = plain_logprobs(model, drawn, place)
                assert torch.allclose(torch.tensor(drawn.logprobs), expected_T, atol=2e-4)


@pytest.mark.parametrize("kind", FAMILIES)
def test_loss_and_gradients_equal_a_row_for_each_answer(loaded, kind):
    model = loaded(kind)
    seen, groups = drawn_of(model)
    model.family.model.zero_grad()
    logprob_BT, mask_BT = answer_logprobs(model, seen, rollouts_of(model, groups), TEMPERATURE)
    loss = grpo_loss(logprob_BT, mask_BT)
    loss.backward()
    actual = gradients(model)
    every = [(d, place) for place, group in zip(PLACES, groups, strict=True) for d in group]
    plain = torch.nn.utils.rnn.pad_sequence([plain_logprobs(model, *one) for one in every], batch_first=True)
    expected_loss = grpo_loss(plain, mask_BT)
    expected_loss.backward()
    expected = gradients(model)
    assert loss.item() == pytest.approx(expected_loss.item(), abs=1e-5)
    assert actual.keys() == expected.keys() and len(actual) > 30
    scale = max(float(g.norm()) for g in expected.values())
    worst = max(float((actual[n] - g).norm() / (g.norm() + 1e-3 * scale)) for n, g in expected.items())
    print(f"{kind}: {worst:.1e}")
    assert worst < 1e-4


@pytest.mark.parametrize("kind", ["llava", "qwen2_5_vl", "gemma3"])
def test_what_is_drawn_depends_on_no_company(loaded, kind):
    model = loaded(kind)
    _, together = drawn_of(model)
    for number, place in enumerate(PLACES):
        (alone,) = drawn_of(model, [place])[1]
        assert [d.ids for d in alone] == [d.ids for d in together[number]]


def test_frozen_sight_is_kept_and_learned_sight_is_computed_with_gradients(loaded):
    model = loaded("llava")
    prompts = prompts_of(model)
    assert Seen.of(model.family, prompts)[0].kept is None
    frozen = [p for n, p in model.family.bare.named_parameters() if model.family.part_of(n) != "language"]
    for parameter in frozen:
        parameter.requires_grad_(False)
    seen, groups = drawn_of(model)
    assert seen.kept is not None
    answer_logprobs(model, seen, rollouts_of(model, groups), 1.0)[0].sum().backward()
    assert gradients(model)
    for parameter in frozen:
        parameter.requires_grad_(True)


def test_a_large_vocabulary_is_scored_in_pieces_with_equal_gradients(loaded, monkeypatch):
    model = loaded("llava")
    seen, groups = drawn_of(model)
    found = []
    for at_once in (1 << 26, 3 * model.family.bare.get_output_embeddings().weight.shape[0]):
        monkeypatch.setattr(module, "_SCORES_AT_ONCE", at_once)
        logprob_BT, mask_BT = answer_logprobs(model, seen, rollouts_of(model, groups), 1.0)
        grpo_loss(logprob_BT, mask_BT).backward()
        found.append(gradients(model))
    assert all(torch.allclose(found[0][n], found[1][n], atol=1e-6) for n in found[0])


def test_an_encoder_is_refused(tmp_path):
    model = load(build("florence2", tmp_path / "model"))
    prompts = [Prompts(Example("s", [np.zeros((60, 60, 3), np.uint8)], 0, (60, 60), (), (), (), None), ())]
    with pytest.raises(InputError, match="reads by an encoder"):
        draw(model, prompts, Seen.of(model.family, prompts)[1], [], [], 1.0)


# --- drawing ------------------------------------------------------------------------------------------------------


def test_tokens_come_as_often_as_they_are_likely():
    probability_V = torch.tensor([0.5, 0.0, 0.3, 0.2, 0.0])
    uniform_N = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found_N = _at(probability_V.log().expand(20_000, -1), uniform_N)
    shares = torch.bincount(found_N, minlength=5) / 20_000
    assert torch.allclose(shares, probability_V, atol=0.01) and shares[1] == shares[4] == 0


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_the_range_fall_on_likely_tokens(uniform):
    probability_1V = torch.tensor([[0.0, 0.7, 0.3, 0.0]])
    assert _at(probability_1V.log(), torch.tensor([uniform], dtype=torch.float64)).item() == (2 if uniform else 1)


def test_numbers_follow_from_their_key_alone():
    assert torch.equal(uniforms(seed_of([1, 2, 3]), 2, 5), uniforms(seed_of([1, 2, 3]), 2, 5))
    assert not torch.equal(uniforms(seed_of([1, 2, 3]), 2, 5), uniforms(seed_of([1, 3, 2]), 2, 5))


def test_answers_end_with_their_end_or_are_cut(loaded):
    model = loaded("llava")
    _, groups = drawn_of(model)
    ends = model.end_ids
    for drawn in (d for group in groups for d in group):
        assert isinstance(drawn, Drawn) and len(drawn.logprobs) == len(drawn.ids)
        assert drawn.is_cut == (drawn.ids[-1] not in ends) and not set(drawn.ids[:-1]) & ends
        assert model.family.image_token_id not in drawn.ids


# --- TRL's own trainer --------------------------------------------------------------------------------------------


def test_loss_and_gradients_equal_those_of_trl_on_its_own_answers(loaded, tmp_path, monkeypatch):
    """The same prompt, image and answers through GRPOTrainer, which repeats the image for each of them.

    TRL lets a model say the placeholder of images, so for once we do.
    """
    monkeypatch.setattr(
        module, "log_probabilities", lambda family, h_ND, t: (family.logits(h_ND).float() / t).log_softmax(-1)
    )
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    model, prompt = loaded("llava"), QUESTIONS[0][0]
    (prompts, _) = prompts_of(model)
    picture = Image.fromarray(prompts.example.image())
    asked = [{"type": "image"}, {"type": "text", "text": prompt}]
    rows = [{"prompt": [{"role": "user", "content": asked}], "images": [picture]}] * ANSWERS
    settings = trl.GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=ANSWERS, num_generations=ANSWERS, beta=0.0,
        max_completion_length=TOKENS, use_cpu=True, bf16=False, report_to=[], loss_type="grpo", temperature=TEMPERATURE,
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model.family.model, lambda completions, **_: [float(len(c[-1]["content"])) for c in completions], settings,
        train_dataset=datasets.Dataset.from_list(rows), processing_class=model.speech.processor,
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    torch.manual_seed(0)
    model.family.model.train()  # a llava has no dropout
    inputs = trainer._generate_and_score_completions(rows)
    model.family.model.zero_grad()
    expected_loss = trainer._compute_loss(model.family.model, inputs)
    expected_loss.backward()
    expected = gradients(model)
    model.family.model.eval()

    assert inputs["prompt_ids"][0].tolist() == [*model.prefix(prompts.example.size).ids, *prompts.asked[0].ids]
    pairs = zip(inputs["completion_ids"].tolist(), inputs["completion_mask"].tolist(), strict=True)
    answers = tuple(Drawn(tuple(i for i, m in zip(ids, mask, strict=True) if m), (), False) for ids, mask in pairs)
    advantage_B = inputs["advantages"]
    reward_NG = torch.tensor([[float(len(model.speech.answer(drawn.ids))) for drawn in answers]])
    assert torch.allclose(advantages(reward_NG)[0], advantage_B, atol=1e-4) and advantage_B.abs().max() > 0.5
    seen, _ = Seen.of(model.family, prompts_of(model))
    logprob_BT, mask_BT = answer_logprobs(model, seen, rollouts_of(model, [answers], PLACES[:1]), TEMPERATURE)
    ratio_BT = ratios(logprob_BT, logprob_BT.detach(), mask_BT)
    loss_BT = policy_losses(ratio_BT, advantage_B, METHODS["grpo"])
    loss = summed(loss_BT, mask_BT, "answers") / terms(mask_BT, "answers", TOKENS)
    loss.backward()
    actual = gradients(model)
    assert loss.item() == pytest.approx(expected_loss.item(), abs=1e-6)
    assert actual.keys() == expected.keys()
    scale = max(float(g.norm()) for g in expected.values())
    worst = max(float((actual[n] - g).norm() / (g.norm() + 1e-3 * scale)) for n, g in expected.items())
    print(f"TRL: {worst:.1e}")
    assert worst < 1e-4
