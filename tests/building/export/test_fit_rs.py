"""FIT-RS's files are read back by our readers, and gold answers get full marks from its own scorers."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from georefer.cli import main
from georefer.geometry import shape_iou
from georefer.scenes import open_dataset, readers

BENCH = {
    "complex_comprehension": {"task1", "task2", "task3", "task4", "task5", "task6"},
    "imageclassify": {None},
    "vqa": {"count", "presence"},
    "image_caption": {None},
    "region_caption": {None},
}


def json_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def scenes_and_questions(dataset, split):
    dataset = open_dataset(dataset.folder)
    return {scene.id: scene for scene in dataset.scenes(split)}, {q.id: q for q in dataset.questions(split)}


def answered(path, to):
    """What a model that is always right would have written for a benchmark's file."""
    rows = [
        {"question_id": row["question_id"], "image_id": row["image"], "question": row.get("text", row.get("question")),
         "ground_truth": row["ground_truth"], "answer": row["ground_truth"],
         **({"category": row["category"]} if "category" in row else {})}
        for row in json_lines(path)
    ]  # fmt: skip
    to.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return to


def scored(path, protocol, *more):
    out = path.with_suffix(".scores.json")
    assert main(["score", str(path), "--protocol", protocol, "--json", str(out), *more]) == 0
    return json.loads(out.read_text())


# --- rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test"])
def test_rows_come_back_question_by_question(related, exported, split):
    folder, manifest = exported(related, "fit-rs")
    rows = json.loads((folder / f"FIT-RS-{split}.json").read_text())
    published = readers.SOURCES["fit-rs"].read(folder / f"FIT-RS-{split}.json", folder / "images")
    assert not published.account.dropped.counts
    assert len(published) == len(rows) == manifest["counts"][f"{split}: questions"]
    scenes, questions = scenes_and_questions(related, split)
    tasks = Counter()
    for row, one in zip(rows, published, strict=True):
        human, gpt = row["conversations"]
        assert (human["value"], gpt["value"]) == (f"<image>\n{one.text}", one.answer)
        assert set(row) == {"id", "image", "conversations"} and (folder / "images" / row["image"]).is_file()
        question = questions[one.id]
        tasks[question.task] += 1
        gold = scenes[question.scene_id].objects.with_ids(question.answer_ids).to_obb()
        found = published.images[one.image].objects.with_ids(one.object_ids)
        if question.task != "image-graph-obb":  # which also lists what stands in no relation
            assert len(found) == len(gold), one.id
        if len(gold):
            assert shape_iou(found.geometries_N, gold.geometries_N, as_boxes=False).max(axis=0).min() > 0.93
        if question.task.startswith(("image-graph", "region-graph")):
            related_to = question.params.get("region")
            there = set(scenes[question.scene_id].objects.ids_N)
            true = [r for r in scenes[question.scene_id].relations if {r.subject, r.object} <= there]
            true = [r for r in true if r.subject != r.object]
            true = [r for r in true if related_to in (None, r.subject, r.object)]
            assert len(one.params["relations"]) == len(true)
            assert Counter(p for _, p, _ in one.params["relations"]) == Counter(r.predicate for r in true)
    assert {"detection-obb", "rec-obb", "relation-detection", "relation-reasoning", "object-reasoning-obb", "caption",
            "region-graph-obb", "image-graph-obb", "multilabel", "vqa", "relation-choice"} <= set(tasks)  # fmt: skip


def test_what_the_rows_say(related, exported):
    folder, _ = exported(related, "fit-rs")
    rows = json.loads((folder / "FIT-RS-test.json").read_text())
    said = {row["id"]: row["conversations"][1]["value"] for row in rows}
    assert said["test-tank/detection-obb/car"].startswith("There are 2 cars in the image: <rbox>({<")
    assert said["test-tank/detection-obb/dock"].startswith("There is 1 dock in the image: <rbox>({<")
    graph = next(text for id_, text in said.items() if id_.startswith("test-tank/image-graph-obb/"))
    assert "There are <ref>ship</ref><rbox>({<87.89><82.03><17.58><5.86>|<25>})</rbox>. " in graph
    # two planes stand on the apron alike, in one sentence
    assert graph.startswith("<ref>airplanes</ref>") and " are <rel>parallelly parked on</rel> <ref>apron</ref>" in graph
    # without cars: ship 1 lies at (380, 390) and is a square of 45 pixels' side
    regions = [text.split(". ")[0] for id_, text in said.items() if id_.startswith("test-car/region-graph-obb/")]
    assert "A fully visible medium ship on the bottom right part of the image" in regions


def test_a_talk_asks_each_task_once(related, exported):
    folder, manifest = exported(related, "fit-rs")
    turns = 0
    for split in ("train", "test"):
        rows = json.loads((folder / "multiturn" / f"FIT-RS-multiturn-{split}.json").read_text())
        single = json.loads((folder / f"FIT-RS-{split}.json").read_text())
        pairs = {tuple(turn["value"].removeprefix("<image>\n") for turn in row["conversations"]) for row in single}
        for row in rows:
            values = [turn["value"] for turn in row["conversations"]]
            assert [turn["from"] for turn in row["conversations"]] == ["human", "gpt"] * (len(values) // 2)
            assert values[0].startswith("<image>\n") and "".join(values).count("<image>") == 1 and len(values) == 22
            asked = [value.removeprefix("<image>\n") for value in values]
            assert set(zip(asked[::2], asked[1::2], strict=True)) <= pairs
            turns += len(values) // 2
        published = readers.SOURCES["fit-rs"].read(folder / "multiturn" / f"FIT-RS-multiturn-{split}.json")
        assert not published.account.dropped.counts and {one.params["turn"] for one in published} == set(range(11))
        assert [one.text for one in published] == [
            turn["value"].removeprefix("<image>\n") for row in rows for turn in row["conversations"][::2]
        ]
    assert turns == manifest["counts"]["turns of talks"] == 33


# --- benchmarks -----------------------------------------------------------------------------------------------


def test_benchmarks_come_back_with_their_own_reader(related, exported):
    folder, manifest = exported(related, "fit-rs")
    single = {row["id"]: row for row in json.loads((folder / "FIT-RS-test.json").read_text())}
    files = {path.name: path for path in folder.glob("FIT-RS[FR]*/**/*.jsonl")}
    assert set(files) == {"FIT-RSRC_Questions.jsonl", *(f"test_FITRS_{name}_eval.jsonl" for name in BENCH)}
    count = 0
    for path in files.values():
        published = readers.SOURCES["fit-bench"].read(path, folder / "images")
        rows = json_lines(path)
        assert not published.account.dropped.counts
        assert set(published.account.changed.counts) <= {"no class is named for a shape"}
        assert len(published) == len(rows)
        for row, one in zip(rows, published, strict=True):
            assert (row["image"], row.get("text", row.get("question"))) == (one.image, one.text)
            assert row["ground_truth"] == one.answer and one.params.get("category") == row.get("category")
            if one.asks == "choice":
                assert one.params["options"][ord(one.answer) - ord("A")] and len(one.params["options"]) >= 3
            else:
                human, gpt = single[row["question_id"]]["conversations"]
                assert (human["value"], gpt["value"]) == (f"<image>\n{one.text}", one.answer)
        count += len(rows)
    assert count == manifest["counts"]["benchmark rows"] > 60
    for name, categories in BENCH.items():
        rows = json_lines(files[f"test_FITRS_{name}_eval.jsonl"])
        assert {row.get("category") for row in rows} == categories


def test_gold_answers_pass_the_single_choice_protocol(related, exported):
    folder, _ = exported(related, "fit-rs")
    path = folder / "FIT-RSRC" / "FIT-RSRC_Questions.jsonl"
    groups = Counter(row["question_id"] for row in json_lines(path))
    # a question is asked in every rotation, and each letter is right once
    assert min(groups.values()) >= 3
    for id_ in groups:
        letters = [row["ground_truth"] for row in json_lines(path) if row["question_id"] == id_]
        assert sorted(letters) == list("ABCDE"[: len(letters)])
    found = scored(answered(path, folder.parent / "answers.jsonl"), "fit-rsrc")
    assert f"correct: {len(groups)}" in str(found) and "incorrect: 0" in str(found)


def test_gold_answers_get_full_marks_from_fit_rsfg(related, exported):
    folder, _ = exported(related, "fit-rs")
    bench, answers = folder / "FIT-RSFG" / "FIT-RSFG-Bench", folder.parent
    path = bench / "test_FITRS_complex_comprehension_eval.jsonl"
    found = scored(answered(path, answers / "complex.jsonl"), "fit-rsfg")["complex_comprehension"]
    assert [found[name]["mean_ap"] for name in ("task1", "task4", "task6_map")] == pytest.approx([1, 1, 1])
    assert [found[name][key] for name in ("task2", "task3") for key in ("precision", "recall", "f1")] == [1] * 6
    for name in ("task5", "task6_sgg"):
        recalls = [recall for _, recall in found[name]["recall_per_scored_image"]]
        assert recalls and set(recalls) == {1.0}
    vqa = scored(answered(bench / "test_FITRS_vqa_eval.jsonl", answers / "vqa.jsonl"), "fit-rsfg")
    assert "Overall Acc: 100.00%" in vqa["fit_vqa"]["printed"]
    path = answered(bench / "test_FITRS_imageclassify_eval.jsonl", answers / "scene.jsonl")
    assert "New F1 score: 1.0000" in scored(path, "fit-rsfg", "--set", "task=fit_scene")["fit_scene"]["printed"]


def test_labels_that_the_sentences_cannot_hold_keep_the_words_of_the_task(bad, exported):
    folder, manifest = exported(bad, "fit-rs")
    for split in ("train", "test"):
        published = readers.SOURCES["fit-rs"].read(folder / f"FIT-RS-{split}.json", folder / "images")
        assert len(published) == manifest["counts"][f"{split}: questions"]
    assert manifest["left_out"]["text with the mark <image>, which this format's readers replace"]["count"] > 0
