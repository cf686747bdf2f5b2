"""Rewording a whole dataset: more phrasing for its expressions, as a step after the build.

An endpoint answers as it likes, so a build that asked it would not give the same bytes twice. Here one process asks,
after the engines are done, each phrase once however many chips share it, and keeps every answer in a cache: a run
that was stopped goes on, and the same cache gives the same dataset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from georefer.building.phrases.keeping import Vocabulary
from georefer.building.rewriter import Endpoint, RewriteSettings, reworded
from georefer.errors import InputError
from georefer.runlog import progress
from georefer.scenes import Dataset, DatasetWriter, Question
from georefer.tasks import Expression


def reword(
    dataset: Dataset,
    out: Path | str,
    settings: RewriteSettings,
    splits: Sequence[str] = ("train",),
    *,
    overwrite: bool = False,
) -> Dataset:
    """Writes to `out` the dataset with added questions: each asks one of its own again in other words.

    Only questions whose params hold an expression with its facts are reworded, and only in `splits`: what is tested
    on stays as it is. A new question stands behind its own and names it in `params["reworded_from"]`. What was taken
    and refused, and why, is counted in the manifest under "reworded". InputError where nothing can be reworded.
    """
    ask = Endpoint(settings)
    with DatasetWriter(out, replace=overwrite) as writer:
        asked = {split: dataset.questions(split) for split in dataset.manifest["splits"]}
        if unknown := set(splits) - set(asked):
            raise InputError(f"{dataset.folder} has no split {sorted(unknown)}; it has {', '.join(asked)}")
        found = [e for split in splits for q in asked[split] if (e := expression_of(q)) is not None]
        if not found:
            raise InputError(
                f"no question of {dataset.folder} in {', '.join(splits)} holds an expression with facts; build it with "
                "this version, with rec or grec among its tasks"
            )
        _ask_all(ask, [expression.text for expression in found])
        vocabulary = vocabulary_of(dataset.manifest, found)
        counts: Counter[str] = Counter()
        for split, questions in asked.items():
            scenes = progress(dataset.scenes(split), split, dataset.manifest["splits"][split]["scenes"], "scene")
            more = _with_rewordings(questions, ask, vocabulary, counts) if split in splits else questions
            writer.write(split, scenes, more)
        return writer.finish(_card(dataset, settings, counts), **_manifest(dataset, settings, ask, counts))


def expression_of(question: Question) -> Expression | None:
    """The phrase that a question asks about, under the question's id; None where there is none, or no facts of it."""
    params = question.params
    text, facts = params.get("expression"), params.get("facts")
    if not isinstance(text, str) or not facts or "reworded_from" in params:
        return None
    said = tuple(tuple(str(word) for word in fact) for fact in facts)
    return Expression(question.id, text, str(params.get("by", "")), len(said), 0, said)


def vocabulary_of(manifest: Mapping[str, Any], found: Iterable[Expression]) -> Vocabulary:
    """All classes and values that the expressions of a dataset speak of, with the synonyms that its manifest holds."""
    words = manifest.get("words", {})
    labels, values = {*manifest.get("labels", ()), *words}, set()
    for expression in found:
        for kind, *said in expression.facts:
            if kind == "class":
                labels.add(said[0])
            elif kind == "attribute":
                values.add(said[1])
            elif kind in ("neighbour", "relation"):
                values.update(said[2 if kind == "neighbour" else 3 :])
    synonyms = {label: tuple(known.get("synonyms", ())) for label, known in words.items()}
    return Vocabulary(tuple(sorted(labels)), tuple(sorted(values)), synonyms)


def _ask_all(ask: Endpoint, phrases: Iterable[str]) -> None:
    new = list(dict.fromkeys(phrases))
    size = ask.settings.batch
    batches = [new[start : start + size] for start in range(0, len(new), size)]
    for batch in progress(batches, "asking", len(batches), f"x{size}"):
        ask(batch)


def _with_rewordings(
    questions: Sequence[Question], ask: Endpoint, vocabulary: Vocabulary, counts: Counter[str]
) -> Iterator[Question]:
    """The questions, each followed by its rewordings; no phrase is asked twice of one scene in one task."""
    for _, some in groupby(questions, key=lambda q: (q.scene_id, q.task)):
        group = list(some)
        found = [e for q in group if (e := expression_of(q)) is not None]
        texts: dict[str, list[str]] = {}
        for one in reworded(found, ask.known, vocabulary, counts, ask.settings.per_phrase):
            texts.setdefault(one.object_id, []).append(one.text)
        for question in group:
            yield question
            for number, text in enumerate(texts.get(question.id, [])[1:]):
                yield replace(question, id=f"{question.id}/r{number}", params=_params(question, text))


def _params(question: Question, text: str) -> dict[str, Any]:
    """What the question holds, with the new words also where a thought speaks of the old ones."""
    params = {**question.params, "expression": text, "reworded_from": question.id}
    if isinstance(thought := params.get("thought"), str):
        params["thought"] = thought.replace(f'"{question.params["expression"]}"', f'"{text}"')
    return params


def _manifest(dataset: Dataset, settings: RewriteSettings, ask: Endpoint, counts: Counter[str]) -> dict[str, Any]:
    kept = {key: value for key, value in dataset.manifest.items() if key not in ("format", "splits", "files")}
    described = {
        "from": dataset.fingerprint,
        "model": settings.model,
        "per_phrase": settings.per_phrase,
        "temperature": settings.temperature,
        "counts": dict(sorted(counts.items())),
        "unanswered": {key: n for key, n in sorted(ask.counts.items()) if key.startswith("no answer")},
    }
    return {**kept, "reworded": described}


def _card(dataset: Dataset, settings: RewriteSettings, counts: Counter[str]) -> str:
    path = dataset.folder / "README.md"
    own = path.read_text(encoding="utf-8").rstrip() if path.is_file() else ""
    return (
        f"{own}\n\nReworded: {counts['taken']} questions ask others again in words of the model {settings.model}; "
        "each was checked to keep the facts, and names the question it rewords in `reworded_from`.\n"
    ).lstrip()
