"""Answers drawn by a server that behaves like vLLM (`vllm_stand_in`), learned from as if they were drawn here."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.data.area import make_area, small_recipe
from tests.training.vllm_stand_in import StandIn, asked_of, serving

from georefer.building.build import build
from georefer.errors import ConfigError, GeoreferError, InputError
from georefer.models import load_model
from georefer.models.sampling import Drawn
from georefer.models.tiny import TinySettings
from georefer.scenes import open_dataset
from georefer.training.adapters import TuneSettings, prepare
from georefer.training.answered import Answerer
from georefer.training.batches import BatchSettings
from georefer.training.grpo import GrpoRun, grpo
from georefer.training.grpo_settings import DrawSettings, GrpoSettings
from georefer.training.loop import LoopSettings, Progress
from georefer.training.prompts import PromptMaker
from georefer.training.rollout_model import answering
from georefer.training.rollout_server import corrected
from georefer.training.rollouts import Rollout, answer_logprobs
from georefer.training.sft import SftSettings, sft

SMALL = TinySettings(
    image_size=64, numbers=64, width=32, heads=2, text_layers=1, text_mlp=32, stem_widths=(8, 8, 16, 16)
)
LORA = TuneSettings(projector="frozen", rank=2, alpha=4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    make_area(folder, side=320)
    return build(small_recipe(folder), folder / "dataset").folder


@pytest.fixture(scope="module")
def start(dataset, tmp_path_factory):
    settings = SftSettings(
        dataset=(dataset,), model=SMALL, batch=BatchSettings(images_per_step=2, questions_per_image=2),
        loop=LoopSettings(steps=3, learning_rate=3e-3),
    )  # fmt: skip
    return sft(settings, tmp_path_factory.mktemp("start"))


@pytest.fixture
def recipe(dataset, start, tmp_path):
    rewards = tmp_path / "rewards.py"
    rewards.write_text("def short(answer): return max(0, 1 - len(answer.text) / 200)\n")

    def make(**changes):
        settings = GrpoSettings(
            dataset=(dataset,), start=str(start), rewards={f"{rewards}:short": 1.0}, std_floor=0.0, tune=LORA,
            draw=DrawSettings(answers=3, max_new_tokens=8, temperature=0.9),
            loop=LoopSettings(steps=4, save_every=1, warmup_steps=0, learning_rate=1e-2, metrics_every=1),
            batch=BatchSettings(images_per_step=3, questions_per_image=2), task_weights={"presence": 0.0},
        )  # fmt: skip
        return replace(settings, **changes)

    return make


@pytest.fixture
def stand_in(start):
    return StandIn(start)


def at(recipe, url, **changes):
    """The recipe with its answers drawn there."""
    settings = recipe(**changes)
    return replace(settings, draw=replace(settings.draw, server=url))


def answerer_of(settings, folder):
    model = load_model(settings.start)
    model.family.model.eval()
    prepare(model.family, settings.tune)
    maker = PromptMaker(model, settings.task_weights, settings.draw.max_new_tokens)
    prompts, _ = maker.read([open_dataset(f) for f in settings.dataset])
    made = Answerer(settings, model, prompts, folder)
    if settings.draw.server:
        made._server.endpoint.wait = lambda seconds: None
    return made


def drawn_by(answerer, number, **where):
    with answering(answerer.model.family, answerer.settings.loop):
        return answerer.answered(number, Progress(number, 0.0, 0.0, **where))


def ids_of(micros):
    return [drawn.ids for micro in micros for rollout in micro.rollouts for drawn in rollout.answers]


def shift(model, seed):
    """Other adapters."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.family.bare.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn(parameter.shape, generator=generator)


# --- the same as here ---------------------------------------------------------------------------------------------


def test_a_server_draws_what_this_process_would(recipe, stand_in, tmp_path):
    with serving(stand_in) as url:
        here, there = answerer_of(recipe(), tmp_path), answerer_of(at(recipe, url), tmp_path)
        seen = []
        for number in range(3):
            micros, expected = drawn_by(there, number), drawn_by(here, number)
            assert ids_of(micros) == ids_of(expected)
            for micro, other in zip(micros, expected, strict=True):
                for one, two in zip(micro.rollouts, other.rollouts, strict=True):
                    assert one.texts == two.texts and np.allclose(one.advantage_G, two.advantage_G, atol=1e-4)
                    assert all(
                        np.allclose(a.logprobs, b.logprobs, atol=1e-4)
                        for a, b in zip(one.answers, two.answers, strict=True)
                    )
            seen.append(ids_of(micros))
            for model in (here.model, there.model):
                shift(model, number)
    assert len(set(map(str, seen))) == 3
    # a new name for new weights, as caches go by names; the old one makes room
    assert len({name for name, _ in stand_in.loaded}) == 3 and len(stand_in.adapters) == 1


def test_a_run_learns_from_a_server_what_it_would_learn_here(recipe, stand_in, tmp_path):
    with serving(stand_in) as url:
        changes = {"equal_groups": "resample", "updates": 2, "kl_weight": 0.05}
        there = grpo(at(recipe, url, **changes), tmp_path / "there")
        here = grpo(recipe(**changes), tmp_path / "here")
    one, other = (load_file(folder / "adapter_model.safetensors") for folder in (there, here))
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 2e-3
    assert max(float(tensor.abs().max()) for name, tensor in one.items() if "lora_B" in name) > 1e-2
    rows = [json.loads(line) for line in (tmp_path / "there" / "rollouts.jsonl").read_text().splitlines()]
    others = [json.loads(line) for line in (tmp_path / "here" / "rollouts.jsonl").read_text().splitlines()]
    assert [row["answers"][0]["text"] for row in rows] == [row["answers"][0]["text"] for row in others]


def test_what_is_asked_is_the_chat_with_the_very_pixels(recipe, stand_in, tmp_path):
    with serving(stand_in) as url:
        answerer = answerer_of(at(recipe, url), tmp_path)
        micros = drawn_by(answerer, 0)
    asked = {
        (rollout.asked.prompt, micro.seen.images[rollout.place.image].tobytes())
        for micro in micros
        for rollout in micro.rollouts
    }
    found = [asked_of(body) for body in stand_in.bodies]
    assert {(prompt, image_HW3.tobytes()) for image_HW3, prompt in found} == asked
    assert len(found) == sum(len(micro.rollouts) for micro in micros)


def test_each_process_asks_for_its_own_and_the_first_hands_over(recipe, stand_in, tmp_path):
    with serving(stand_in) as url:
        alone = drawn_by(answerer_of(recipe(), tmp_path), 4)
        shared = [drawn_by(answerer_of(at(recipe, url), tmp_path), 4, rank=rank, world=2) for rank in (0, 1)]
    assert sorted(ids_of(alone)) == sorted(ids_of([*shared[0], *shared[1]])) and shared[0] and shared[1]
    assert len(stand_in.loaded) == 1


# --- adapters -----------------------------------------------------------------------------------------------------


def test_between_two_syncs_old_weights_draw_and_answers_are_weighted(recipe, stand_in, tmp_path):
    with serving(stand_in) as url:
        settings = at(recipe, url)
        settings = replace(settings, draw=replace(settings.draw, sync_every=2))
        here, there = answerer_of(recipe(), tmp_path), answerer_of(settings, tmp_path)
        for number in (0, 1):
            micros, expected = drawn_by(there, number), drawn_by(here, number)  # `here` keeps the old weights
            assert ids_of(micros) == ids_of(expected)
            shift(there.model, number)
        assert len(stand_in.loaded) == 1
        # of the trainer's weights now: what `number` 1 was drawn with had moved once
        again = answerer_of(recipe(), tmp_path)
        shift(again.model, 0)
        for micro, other in zip(micros, expected, strict=True):
            with answering(again.model.family, settings.loop):
                own_BT, _ = answer_logprobs(again.model, micro.seen, micro.rollouts, 0.9)
            answers = [drawn for rollout in micro.rollouts for drawn in rollout.answers]
            old = [drawn for rollout in other.rollouts for drawn in rollout.answers]
            advantages = [np.concatenate([r.advantage_G for r in m.rollouts]) for m in (micro, other)]
            for n, (drawn, was) in enumerate(zip(answers, old, strict=True)):
                assert np.allclose(drawn.logprobs, own_BT[n, : len(drawn.ids)], atol=1e-4)
                weight = min(3.0, np.exp(sum(drawn.logprobs) - sum(was.logprobs)))
                assert advantages[0][n] == pytest.approx(weight * advantages[1][n], abs=1e-3)
        drawn_by(there, 2)
        assert len(stand_in.loaded) == 2
    assert sorted(path.name for path in (tmp_path / "served").iterdir()) == ["00000000", "00000002"]


@pytest.mark.parametrize(
    "own, server, weight",
    [
        ([-1.0, -2.0], [-1.0, -2.0], 1.0),
        ([-1.0, -2.5], [-1.0, -2.0], np.exp(-0.5)),
        ([-1.0, -1.5], [-1.0, -2.0], np.exp(0.5)),
        ([-0.1, -0.1], [-1.0, -2.0], 3.0),  # truncated
        ([-0.1, -0.1], [-9999.0, -2.0], 3.0),  # vLLM's least
        ([-5000.0, -0.1], [-1.0, -2.0], 0.0),
    ],
)
def test_an_answer_counts_by_how_likely_it_is_here(own, server, weight):
    drawn = Drawn((5, 6), tuple(server), False)
    one = np.array([2.0])
    found = corrected(Rollout(None, None, (drawn,), ("",), one[:, None], one, one), [own])
    assert found.advantage_G[0] == pytest.approx(2 * weight) and found.answers[0].logprobs == tuple(own)


@pytest.mark.parametrize(
    "updates, sync_every, dies_at",
    [
        (1, 1, 2),
        (2, 1, 3),  # between two steps that learn from the same answers
        (1, 3, 2),  # between two syncs: the old adapter is handed over again
    ],
)
def test_a_run_that_goes_on_equals_one_that_never_stopped(
    recipe, stand_in, tmp_path, monkeypatch, updates, sync_every, dies_at
):
    original = GrpoRun.step

    def dies(self, at):
        if at.step == dies_at:
            raise KeyboardInterrupt
        return original(self, at)

    with serving(stand_in) as url:
        settings = at(recipe, url, updates=updates)
        settings = replace(settings, draw=replace(settings.draw, sync_every=sync_every))
        whole = grpo(settings, tmp_path / "whole")
        monkeypatch.setattr(GrpoRun, "step", dies)
        with pytest.raises(KeyboardInterrupt):
            grpo(settings, tmp_path / "cut")
        monkeypatch.setattr(GrpoRun, "step", original)
        cut = grpo(settings, tmp_path / "cut")
    one, other = (load_file(folder / "adapter_model.safetensors") for folder in (whole, cut))
    assert all(torch.equal(one[name], other[name]) for name in one)


# --- a server that cannot be learned from -------------------------------------------------------------------------


def without(*names):
    def spoil(_, reply):
        for part in (reply, *reply["choices"]):
            for name in names:
                part.pop(name, None)

    return spoil


def each(change):
    """Every choice of every reply changed."""
    return lambda _, reply: [change(choice) for choice in reply["choices"]] and None


def far(choice):
    for token in choice["logprobs"]["content"]:
        token["logprob"] -= 1


def cut_short(choice):
    del choice["token_ids"][4:], choice["logprobs"]["content"][4:]
    choice["token_ids"][-1] = 9


PLACEHOLDER = 10**6


@pytest.mark.parametrize(
    "spoil, error, says",
    [
        (without("token_ids"), InputError, "without the ids of their tokens.*vLLM 0.10.2"),
        (without("prompt_token_ids"), InputError, "without the ids"),
        (without("logprobs"), InputError, "without log-probabilities"),
        (lambda _, reply: reply["prompt_token_ids"].insert(0, 1), InputError, "they part at number 0.*own chat temp"),
        (
            lambda _, reply: reply.update(prompt_token_ids=reply["prompt_token_ids"][:-1]),
            InputError,
            r"tokens, \d+ of them the image, where",
        ),
        (each(far), InputError, "1.00 from the trainer's.*processed_logprobs"),
        (lambda _, reply: 500, GeoreferError, r"status 500 \(spoilt\) at the last of 3 tries"),
        (lambda _, reply: 400, InputError, r"refused a question with status 400 \(spoilt\)"),
        (lambda _, reply: reply["choices"].pop() and None, GeoreferError, "2 answers where 3 were asked for"),
        (lambda _, reply: reply.clear(), GeoreferError, "something that is no chat completion"),
        (each(lambda c: c.update(token_ids="1 2")), GeoreferError, "not 1 to 8 tokens"),
        (each(lambda c: c.update(token_ids=[])), GeoreferError, "not 1 to 8 tokens"),
        (each(lambda c: c["logprobs"]["content"].pop()), GeoreferError, "with a log-probability each"),
        (each(lambda c: c["logprobs"]["content"][0].update(logprob="high")), GeoreferError, "that are no numbers"),
        (each(lambda c: c["logprobs"]["content"][0].update(logprob=float("nan"))), GeoreferError, "not 1 to 8"),
        (each(lambda c: c["token_ids"].__setitem__(0, PLACEHOLDER)), GeoreferError, "cannot be said"),
        (each(cut_short), GeoreferError, "ends before or behind"),
    ],
)
def test_what_cannot_be_learned_from_is_said(recipe, stand_in, tmp_path, spoil, error, says):
    stand_in.spoil = spoil
    with serving(stand_in) as url:
        answerer = answerer_of(at(recipe, f"{url}#,retries=2"), tmp_path)
        with pytest.raises(error, match=says):
            drawn_by(answerer, 0)


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda reply: 503, "status 503"),
        (lambda reply: reply["choices"].pop() and None, "2 answers where 3 were asked for"),
    ],
)
def test_what_may_pass_is_asked_again(recipe, stand_in, tmp_path, spoil, reason):
    stand_in.spoil = lambda number, reply: spoil(reply) if number == 2 else None
    with serving(stand_in) as url:
        answerer = answerer_of(at(recipe, url), tmp_path)
        assert ids_of(drawn_by(answerer, 0)) == ids_of(drawn_by(answerer_of(recipe(), tmp_path), 0))
        assert answerer._server.endpoint.counts[f"again: {reason}"] == 1


def test_a_slow_server_is_asked_again(recipe, stand_in, tmp_path):
    with serving(stand_in, slow_s=2.0, slow=(1,)) as url:
        answerer = answerer_of(at(recipe, f"{url}#,timeout_s=1,concurrency=1"), tmp_path)
        assert ids_of(drawn_by(answerer, 0)) == ids_of(drawn_by(answerer_of(recipe(), tmp_path), 0))
        assert answerer._server.endpoint.counts["again: no answer within 1 s"] >= 1


def test_a_budget_ends_the_run(recipe, stand_in, tmp_path):
    with serving(stand_in) as url, pytest.raises(GeoreferError, match="the budget of 4 requests is spent"):
        drawn_by(answerer_of(at(recipe, f"{url}#,max_requests=4"), tmp_path), 0)


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"is_updating": False}, "did not take the adapter.*VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"),
        ({"most_rank": 1}, "LoRA rank 2 is greater than max_lora_rank 1"),
    ],
)
def test_a_server_that_takes_no_adapter_is_said(recipe, start, tmp_path, settings, says):
    with serving(StandIn(start, **settings)) as url, pytest.raises(GeoreferError, match=says):
        drawn_by(answerer_of(at(recipe, f"{url}#,retries=1"), tmp_path), 0)


def test_a_server_that_is_not_there_is_said(recipe, stand_in, tmp_path):
    with serving(stand_in) as url:
        pass
    with pytest.raises(InputError, match="nothing answers at 127"):
        drawn_by(answerer_of(at(recipe, url), tmp_path), 0)


@pytest.mark.parametrize(
    "tune, says",
    [
        (TuneSettings(vision="full", projector="full", language="full"), r"language \(in full\).*only get adapters"),
        (TuneSettings(rank=2), r"projector \(in full\)"),
        (TuneSettings(projector="lora", rank=2), r"projector \(adapters\)"),
    ],
)
def test_only_adapters_of_the_language_part_can_be_handed_over(recipe, tmp_path, tune, says):
    with pytest.raises(ConfigError, match=says):
        answerer_of(at(recipe, "http://127.0.0.1:9/v1", tune=tune), tmp_path)


@pytest.mark.parametrize(
    "address, error, says",
    [
        ("http://127.0.0.1:9/v1#some-model", ConfigError, "sets a model's name"),
        ("http://127.0.0.1:9/v1#,image=jpeg,dialect=qwen2.5-vl", ConfigError, "sets dialect, image"),
        ("127.0.0.1:9", InputError, "no address of a server"),
        ("http://127.0.0.1:9/v1#,colour=red", ConfigError, "colour"),
    ],
)
def test_an_address_says_where_and_how_often_and_no_more(recipe, tmp_path, address, error, says):
    with pytest.raises(error, match=says):
        answerer_of(at(recipe, address), tmp_path)


def test_sync_every_is_at_least_one():
    with pytest.raises(ValueError, match="sync_every"):
        DrawSettings(sync_every=0)
