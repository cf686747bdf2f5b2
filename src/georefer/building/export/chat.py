"""Chats as files of JSON: LLaVA's rows (ShareGPT), OpenAI's messages, and LLaMA-Factory's folder.

    llava          <split>.json   [{"id", "image", "conversations": [{"from": "human", "value": "<image>..."}, ...]}]
    openai         <split>.jsonl  {"messages": [{"role": "user", "content": [image_url, text]}, {"role": "assistant"}]}
    llama-factory  <split>.json   [{"messages": [...], "images": ["images/..."]}], and dataset_info.json

Sources: LLaVA's docs/Finetune_Custom_Data.md; OpenAI's guide to vision fine-tuning; LLaMA-Factory's data/README.md.

- One question is one row: questions about one image are independent, and in one row each would see the others.
- LLaVA and LLaMA-Factory put the picture where `<image>` stands and count the marks: a question whose own text holds
  one cannot be written.
- Paths start at the export's folder: it is LLaVA's image_folder and LLaMA-Factory's dataset_dir.
- OpenAI's pictures lie in the file as data URLs, or are named by a URL that begins with `link`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, TextIO

from georefer.building.export.base import Format, Job, Sample, Shown
from georefer.runlog import write_json
from georefer.scenes.readers.common import dumped

ROW_MARKS = ("<image>", "<video>", "<audio>")

Rows = Callable[[Shown, Job], Iterator[Mapping[str, Any]]]


def write_rows(shown: Iterable[Shown], job: Job, rows_of: Rows, ending: str) -> None:
    """`<split>` + ending for every split: one row a line, of a JSON array where it ends in .json."""
    is_array = ending == ".json"
    with ExitStack() as stack:
        files: dict[str, TextIO] = {}
        for split in job.splits:
            path = job.out / f"{split}{ending}"
            files[split] = stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))
        started: set[str] = set()
        for one in shown:
            for row in rows_of(one, job):
                before = "" if not is_array else "[\n" if one.split not in started else ",\n"
                files[one.split].write(before + dumped(row) + ("" if is_array else "\n"))
                started.add(one.split)
        for split, file in files.items() if is_array else ():
            file.write("\n]\n" if split in started else "[]\n")


def _llava(one: Shown, job: Job) -> Iterator[Mapping[str, Any]]:
    for sample in one.samples:
        said = [("human", f"<image>\n{sample.prompt}"), ("gpt", sample.answer)]
        turns = [{"from": who, "value": text} for who, text in said]
        yield {"id": sample.question.id, "image": one.picture.path, "conversations": turns}


def _openai(one: Shown, job: Job) -> Iterator[Mapping[str, Any]]:
    picture = one.picture
    if job.settings.link is None:
        url = f"data:image/{picture.form};base64,{base64.b64encode(picture.data).decode()}"
    else:
        url = job.settings.link + picture.path
    for sample in one.samples:
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": sample.prompt}]
        yield {"messages": [_message("user", content), _message("assistant", sample.answer)]}


def _llama_factory(one: Shown, job: Job) -> Iterator[Mapping[str, Any]]:
    for sample in one.samples:
        yield {"messages": messages_of(sample), "images": [one.picture.path]}


def messages_of(sample: Sample) -> list[dict[str, Any]]:
    """The question with the mark of its picture, and the answer."""
    return [_message("user", f"<image>{sample.prompt}"), _message("assistant", sample.answer)]


def _message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def _write_llama_factory(shown: Iterable[Shown], job: Job) -> None:
    write_rows(shown, job, _llama_factory, ".json")
    tags = {
        "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
        "system_tag": "system",
    }  # fmt: skip
    entries = {
        f"georefer_{split}": {
            "file_name": f"{split}.json",
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images"},
            "tags": tags,
        }
        for split in job.splits
    }
    write_json(job.out / "dataset_info.json", entries)


LLAVA = Format(
    "llava",
    "LLaVA (ShareGPT) rows, one question each: <split>.json; image_folder is this folder",
    lambda shown, job: write_rows(shown, job, _llava, ".json"),
    marks=ROW_MARKS,
)
OPENAI = Format(
    "openai",
    "OpenAI messages, one question a line: <split>.jsonl; pictures as data URLs, or named after link",
    lambda shown, job: write_rows(shown, job, _openai, ".jsonl"),
    embeds="unless linked",
)
LLAMA_FACTORY = Format(
    "llama-factory",
    "LLaMA-Factory: <split>.json and dataset_info.json; dataset_dir is this folder, datasets are georefer_<split>",
    _write_llama_factory,
    marks=ROW_MARKS,
)
