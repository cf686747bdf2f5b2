"""A published benchmark from its own files to georefer's scores and back to the published scorer."""

import json

import numpy as np
import pytest
from PIL import Image

from georefer.cli import main
from georefer.errors import InputError
from georefer.evaluation import EvaluateSettings, evaluate, truth_from
from georefer.evaluation.benchmarks import Wording, prepare, published_answers
from georefer.evaluation.protocols import PROTOCOLS
from georefer.models import FakeModel
from georefer.scenes.readers import SOURCES

TILE = "0001__512__0___0.png"

SETTINGS = EvaluateSettings(blind=False)


def pictures(folder, names, side):
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        noise_HW3 = np.random.default_rng(number).integers(0, 255, (side, side, 3)).astype(np.uint8)
        Image.fromarray(noise_HW3).save(folder / name)
    return folder


@pytest.fixture
def vrsbench(tmp_path):
    """Two patches of DOTA (names with letters), one sentence each on an upright and on a turned object."""
    corners = {
        "P0001_0001.png": [0.1, 0.1, 0.5, 0.1, 0.5, 0.4, 0.1, 0.4],
        "P0002_0001.png": [0.5, 0.2, 0.8, 0.5, 0.5, 0.8, 0.2, 0.5],
    }
    rows = []
    for number, (name, parts) in enumerate(corners.items()):
        x, y = parts[::2], parts[1::2]
        edges = [int(100 * v + 1e-9) for v in (min(x), min(y), max(x), max(y))]
        rows.append(
            {"image_id": name, "question": f"the ship number {number}", "question_id": number, "type": "ref",
             "ground_truth": "{" + "".join(f"<{v}>" for v in edges) + "}", "unique": number == 0, "obj_corner": parts,
             "obj_cls": "ship", "obj_ids": [0], "size_group": "big", "dataset": "DOTA"}
        )  # fmt: skip
    rows.append(
        {"image_id": "P0001_0001.png", "question": "How many ships?", "question_id": 9, "type": "object quantity",
         "ground_truth": "1", "dataset": "DOTA"}
    )  # fmt: skip
    path = tmp_path / "VRSBench_EVAL_referring.json"
    path.write_text(json.dumps(rows))
    return path, pictures(tmp_path / "images", corners, 512)


def run_of(name, path, images, out, wording=None):
    published = SOURCES[name].read(path, images=images)
    dataset = prepare(published, images, out / "dataset", wording)
    scores = evaluate(FakeModel(truth_from(dataset, "test")), dataset, SETTINGS, out)
    return published, dataset, scores, published_answers(published, dataset, out)


def test_vrsbench_is_asked_scored_and_handed_back(vrsbench, tmp_path):
    _, dataset, scores, folder = run_of("vrsbench", *vrsbench, tmp_path / "run")
    assert {name: found.answers for name, found in scores.tasks.items()} == {"rec": 2, "vqa": 1}
    assert all(next(iter(found.measures.values())).value == 1 for found in scores.tasks.values())
    prompts = [q.params["prompt"] for q in dataset.questions("test")]
    assert prompts == ["the ship number 0", "How many ships?", "the ship number 1"]
    numbers = PROTOCOLS["vrsbench"].score(folder, {}, False).numbers
    assert numbers["hbb"]["all"]["acc"] == {"0.5": 100, "0.7": 100} and numbers["hbb"]["unique"]["total"] == 1


def test_oriented_boxes_are_asked_for_where_one_says_so(vrsbench, tmp_path):
    _, _, scores, _ = run_of("vrsbench", *vrsbench, tmp_path / "run", Wording("own", {"rec": "rec-obb"}))
    assert scores.tasks["rec-obb"].measures["miou"].value > 0.99


def test_groundset_is_asked_scored_and_handed_back(tmp_path):
    pond = {"id": 1, "image": "a.png", "class": "Pond"}
    files = {
        "rec": {"question": "Where is the pond?", "answer": "[0.100, 0.200, 0.300, 0.400]", "noise": False},
        "detection": {"question": "Find every pond.", "answer": "None", "noise": True},
        "segment": {"image": "b.png", "question": "Outline each.", "answer": "[0.1, 0.1, 0.5, 0.1, 0.5, 0.6]"},
        "vqa": {"image": "b.png", "question": "Is there a pond?", "answer": "yes"},
        "caption": {"image": "b.png", "question": "Describe.", "answer": "A pond lies here by the road."},
        "phrase": {"question": "Find all of ['Pond', 'Church'].", "answer": "Pond: [0.1, 0.2, 0.3, 0.4]"},
        "classification": {"question": "What is at [0.1, 0.2, 0.3, 0.4]?", "answer": "pond"},
    }
    folder = tmp_path / "instructions"
    folder.mkdir()
    for task, row in files.items():
        (folder / f"GroundSet_EVAL_{task}.jsonl").write_text(json.dumps({**pond, **row}) + "\n")
    images = pictures(tmp_path / "images", ["a.png", "b.png"], 672)
    _, dataset, scores, answers = run_of("groundset", folder, images, tmp_path / "run")
    assert not dataset.manifest["left_out"]
    assert set(scores.tasks) == {"rec", "detection", "segment", "presence", "phrase", "classification", "caption"}
    assert scores.tasks["classification"].measures["accuracy"].value == 1
    assert scores.tasks["phrase"].measures["f1"].value == 1
    numbers = PROTOCOLS["groundset"].score(answers / "finetune", {}, False).numbers
    asked = ("rec", "detection", "segment", "vqa", "phrase", "classification", "caption")
    assert set(numbers) == {f"finetune/{task}" for task in asked}
    assert numbers.pop("finetune/caption")["cider_reported_x100"] == pytest.approx(1000)
    assert numbers.pop("finetune/classification")["default"]["ALL"]["Accuracy"] == 100
    for name, found in numbers.items():
        assert found["default"]["ALL"]["acc" if name.endswith("vqa") else "acc0.5"] == 100


def test_fit_rsrc_keeps_its_rotations(tmp_path):
    options = ["The car is near the house.", "The car is on the house."]
    rows = []
    for shift in range(2):
        turned = options[shift:] + options[:shift]
        text = "Which is true?\n" + "\n".join(f"{letter}. {words}" for letter, words in zip("AB", turned, strict=True))
        letter = "AB"[turned.index(options[0])]
        rows.append({"question_id": 5, "image": TILE, "text": text, "category": "exist", "ground_truth": letter})
    path = tmp_path / "FIT-RSRC_Questions_2k.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    images = pictures(tmp_path / "images", [TILE], 512)
    _, _, scores, answers = run_of("fit-bench", path, images, tmp_path / "run")
    assert scores.tasks["choice"].answers == 2 and scores.tasks["choice"].measures["accuracy"].value == 1
    kept = [json.loads(line) for line in (answers / "fit_rsrc.jsonl").read_text().splitlines()]
    assert [row["question_id"] for row in kept] == [5, 5] and [row["answer"] for row in kept] == ["A", "B"]


def test_a_benchmark_with_holes_is_refused(vrsbench, tmp_path):
    path, images = vrsbench
    published = SOURCES["vrsbench"].read(path, images=images)
    prepare(published, images, tmp_path / "dataset")
    with pytest.raises(InputError, match="holds another benchmark"):
        prepare(published, images, tmp_path / "dataset", Wording("own"))
    Image.new("RGB", (500, 512)).save(images / "P0001_0001.png")
    with pytest.raises(InputError, match="500x512 pixels, but its labels are for 512x512"):
        prepare(published, images, tmp_path / "another")
    (images / "P0002_0001.png").unlink()
    (images / "P0001_0001.png").unlink()
    with pytest.raises(InputError, match=r"holds no P0001_0001\.png"):
        prepare(published, images, tmp_path / "another")
    assert not (tmp_path / "another").exists()


def test_the_command_line(vrsbench, tmp_path, capsys):
    path, images = vrsbench
    out = tmp_path / "run"
    arguments = ["evaluate", "fake", f"vrsbench={path}", str(out), "--images", str(images), "--set", "blind=false"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "acc@0.5" in said and f"wrote {out / 'published'}" in said
    assert main(["score", str(out / "published"), "--protocol", "vrsbench"]) == 0
    assert main(["evaluate", "--benchmarks"]) == 0
    assert "rrsis-d" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fake", "coco=x.json", "out"], "there is no benchmark 'coco'; choose among groundset,"),
        (["fake", "vrsbench=x.json", "out"], "needs the folder of its images"),
        (["fake"], "a model, a dataset and an output folder are expected"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, capsys):
    assert main(["evaluate", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
