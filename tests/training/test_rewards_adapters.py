"""The rewards as other trainers call them: TRL itself where it is installed, stubs with their signatures elsewhere."""

import numpy as np
import pytest

from georefer.dialects import DIALECTS
from georefer.errors import InputError
from georefer.geometry import Frame, Objects
from georefer.training.rewards import OURS, REWARDS, Reward, Truth, guarded
from georefer.training.rewards.adapters import (
    check_columns,
    for_easyr1,
    for_swift,
    for_trl,
    for_verl,
    for_vlm_r1,
    text_of,
)

FRAME = Frame.resize((800, 800), (800, 800), 800)
BOX = [100, 100, 200, 200]


def truth_of(*boxes):
    return Truth(Objects.from_hbb(np.array(boxes), ["ship"] * len(boxes)), DIALECTS["georefer"], FRAME)


TRUTH = truth_of(BOX).to_json()
RIGHT, HALF = str(BOX), "[100, 100, 200, 150]"
IOU = OURS["iou"]


def chat(text):
    return [{"role": "assistant", "content": text}]


# --- TRL -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda t: t, chat, lambda t: chat([{"type": "text", "text": t}])])
def test_trl_calls_it_with_texts_and_with_messages(wrap):
    call = for_trl(IOU)
    said = call(
        prompts=["q"] * 3, completions=[wrap(t) for t in (RIGHT, HALF, "banana")], completion_ids=[[1]] * 3,
        truth=[TRUTH] * 3, trainer_state=object(), log_extra=print, log_metric=print,
    )  # fmt: skip
    assert said == pytest.approx([1.0, 0.5, 0.0]) and call.__name__ == "iou"


def test_a_bad_value_is_none_to_trl():
    picky = Reward("picky", "x", lambda a: 1.0 if a.text else 2.0, "0")
    assert for_trl(guarded(picky, allowed=3))(completions=["a", ""], truth=[TRUTH] * 2) == [1.0, None]


def test_a_dataset_without_the_column_says_so():
    with pytest.raises(InputError, match="truth is needed"):
        for_trl(IOU)(prompts=["q"], completions=["a"], solution=["b"])
    with pytest.raises(InputError, match="columns prompt, image, and truth is needed"):
        check_columns(["prompt", "image"])
    check_columns(["prompt", "truth"])
    with pytest.raises(InputError, match="without completions"):
        for_trl(IOU)(truth=[TRUTH])
    with pytest.raises(InputError, match="a text or a list of messages"):
        text_of([{"role": "assistant", "content": None}])


def test_columns_of_ones_own():
    call = for_trl(IOU, truth_of=lambda row: truth_of(row["bbox"]))
    assert call(completions=[RIGHT, HALF], bbox=[BOX, BOX]) == pytest.approx([1.0, 0.5])


def test_the_trainer_of_trl_takes_it(tmp_path):
    """GRPOTrainer's own code calls the reward on a tiny language model that it samples from and trains."""
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", *"[],0123456789", "q"]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>"))
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2, pad_token_id=0, eos_token_id=1, bos_token_id=None,
        )
    )  # fmt: skip
    seen = []

    def shape_of_it(answer):
        seen.append((answer.text, answer.truth))
        return 0.25 if answer.text.startswith("[") else 0.0

    data = datasets.Dataset.from_dict({"prompt": ["q", "q q"], "truth": [TRUTH, truth_of(BOX, [0, 0, 9, 9]).to_json()]})
    settings = trl.GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=4, num_generations=4, max_completion_length=5,
        max_steps=1, report_to=[], use_cpu=True, save_strategy="no", logging_steps=1, disable_tqdm=True, bf16=False,
    )  # fmt: skip
    rewards = [for_trl(OURS["f1"]), for_trl(guarded(Reward("bracket", "begins so", shape_of_it, "0")))]
    trainer = trl.GRPOTrainer(model, rewards, settings, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    assert len(seen) == 4 and len({id(true) for _, true in seen}) == 1  # a group shares its truth
    log = next(row for row in trainer.state.log_history if "rewards/bracket/mean" in row)
    expected = np.mean([0.25 * text.startswith("[") for text, _ in seen])
    assert log["rewards/bracket/mean"] == pytest.approx(expected) and "rewards/f1/mean" in log


# --- others, by the signatures they call -----------------------------------------------------------------


def test_ms_swift_makes_it_from_its_table_and_calls_it_with_columns():
    """As `orms[name]` is used: a class, made with or without the run's arguments, called with the rows' columns."""
    orms = {"georefer": for_swift(IOU)}
    for call in (orms["georefer"](), orms["georefer"](args=object())):
        assert call([RIGHT, "banana"], truth=[TRUTH] * 2, images=[None] * 2, trainer_state=object()) == [1.0, 0.0]
        with pytest.raises(InputError, match="truth is needed"):
            call([RIGHT], solution=["x"])


def test_verl_calls_compute_score_for_one_answer():
    """As its reward managers do: by name, with the ground truth of the row, for one answer."""
    compute_score = for_verl(IOU)
    said = compute_score(data_source="geo", solution_str=HALF, ground_truth=TRUTH, extra_info={"index": 3})
    assert said == {"score": pytest.approx(0.5)}
    assert compute_score("geo", RIGHT, TRUTH) == {"score": 1.0}
    own = for_verl(IOU, truth_of=lambda row: truth_of(row["truth"]["box"]))
    assert own("geo", RIGHT, {"box": BOX}, None)["score"] == 1.0


def test_easyr1_calls_compute_score_for_a_batch():
    compute_score = for_easyr1({"iou": 0.9, "length": 0.1}, REWARDS)
    rows = [{"response": text, "response_length": 9, "ground_truth": TRUTH} for text in (RIGHT, HALF)]
    said = compute_score(rows)
    assert [row["overall"] for row in said] == pytest.approx([1.0, 0.55])
    assert set(said[0]) == {"overall", "iou", "length"}
    with pytest.raises(InputError, match="ground_truth is needed"):
        compute_score([{"response": RIGHT}])


def test_vlm_r1_calls_it_with_messages_and_a_solution():
    """As its trainer does: (prompts=, completions=, **columns), every column a list, image_grid_thw among them."""
    call = for_vlm_r1(IOU)
    more = {"prompts": ["q"] * 2, "image_grid_thw": [[1, 58, 58]] * 2, "image_path": [["a.png"]] * 2}
    assert call(completions=[chat(RIGHT), chat(HALF)], solution=[TRUTH] * 2, **more) == pytest.approx([1.0, 0.5])
    assert call(completions=[chat(RIGHT)], solution=["<answer> x </answer>"], truth=[TRUTH], prompts=["q"]) == [1.0]
