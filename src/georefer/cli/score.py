"""Score kept answers again, without a model; or score somebody's answer files as a published scorer does.

georefer score runs/demo/evaluation                              scores.json, rows.jsonl, report.html written anew
georefer score runs/test --calibration runs/val/calibration.json  confidences made probabilities before they are judged
georefer score answers/llava --protocol groundset                the published scorer's own numbers
georefer score answers/llava --protocol groundset --beside strict   both scores, and the rows that differ, with reasons
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from georefer.evaluation.protocols import Protocol, Scores

SHOWN = 20
"""Rows of a table that are printed; all of them are in the files."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from georefer.evaluation.protocols import PROTOCOLS

    parser.add_argument("answers", type=Path, nargs="?", help="folder of 'evaluate', or a protocol's file or folder")
    parser.add_argument("--dataset", type=Path, help="where the dataset lies now, if it moved")
    parser.add_argument("--partial", action="store_true", help="score what is there although answers miss or repeat")
    parser.add_argument("--calibration", type=Path, metavar="FILE",
                        help="what 'evaluate --calibrate' wrote: confidences are judged as probabilities")  # fmt: skip
    published = parser.add_argument_group("published scorers")
    published.add_argument("--protocol", choices=sorted(PROTOCOLS), help="reproduce this one, bug for bug")
    published.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
                           help="what the original read from a name or an option; --quirks lists them")  # fmt: skip
    published.add_argument("--beside", choices=["strict"], help="score rightly too: both numbers, differing rows, why")
    published.add_argument("--json", type=Path, metavar="FILE", help="write the numbers under the original's names")
    published.add_argument("--rows", type=Path, metavar="FILE", help="write every row as JSON Lines")
    published.add_argument("--quirks", action="store_true", help="say what a protocol, or all, read and where they err")


def run(options: argparse.Namespace) -> int:
    from georefer.errors import InputError

    if options.quirks:
        return _explain(options.protocol)
    if options.answers is None:
        raise InputError("answers are expected: a folder of 'georefer evaluate', or a published scorer's files")
    if options.protocol:
        return _published(options)
    _refuse_without_protocol(options)
    from georefer.evaluation import BLIND, read_run, score_answers, summary_table, write_report
    from georefer.scenes import open_dataset

    dataset = open_dataset(options.dataset or read_run(options.answers)["dataset"])
    blind_folder = options.answers / BLIND
    scores = score_answers(options.answers, dataset, partial=options.partial, calibration=options.calibration)
    blind = None
    if blind_folder.is_dir():
        blind = score_answers(blind_folder, dataset, partial=options.partial, calibration=options.calibration)
    print(summary_table(scores, blind))
    print(f"wrote {write_report(options.answers, dataset)}")
    return 0


def _refuse_without_protocol(options: argparse.Namespace) -> None:
    from georefer.errors import InputError

    for name in ("settings", "beside", "json", "rows"):
        if getattr(options, name):
            flag = "--set" if name == "settings" else f"--{name}"
            raise InputError(f"{flag} was given without --protocol, to which it belongs; name the published scorer")


def _published(options: argparse.Namespace) -> int:
    from georefer.errors import InputError
    from georefer.evaluation.protocols import PROTOCOLS

    if options.calibration:
        raise InputError("--calibration was given with --protocol, whose scorer knows no confidences; leave one out")

    protocol = PROTOCOLS[options.protocol]
    scores = protocol.score(options.answers, _settings(options, protocol), options.beside is not None)
    print("\n".join(_numbers(scores.numbers)))
    print("\n".join(_remarks(scores, protocol)))
    _write(options, protocol, scores)
    return 0


def _settings(options: argparse.Namespace, protocol: Protocol) -> dict[str, str]:
    from georefer.errors import InputError

    settings = {"partial": "yes"} if options.partial else {}
    for text in options.settings:
        key, equals, value = text.partition("=")
        if not equals or key not in protocol.settings:
            raise InputError(
                f"--set {text} was found, where {protocol.name} takes KEY=VALUE with a key of "
                f"{', '.join(protocol.settings) or 'none'}; see --quirks"
            )
        settings[key] = value
    return settings


def _write(options: argparse.Namespace, protocol: Protocol, scores: Scores) -> None:
    from georefer.runlog import JsonLines, versions, write_json, written_beside

    if options.json:
        about = {
            "protocol": protocol.name, "source": protocol.source, "answers": str(options.answers),
            "versions": versions(), "stops": [asdict(stop) for stop in scores.stops],
            "beside": [asdict(pair) for pair in scores.beside], "notes": scores.notes,
        }  # fmt: skip
        write_json(options.json, {**scores.numbers, "georefer": about})
        print(f"wrote {options.json}")
    if options.rows:
        with written_beside(options.rows) as partial:
            JsonLines(partial).append(asdict(row) for row in scores.rows)
            partial.touch()
        print(f"wrote {options.rows}")


# --- what is printed --------------------------------------------------------------------------------------


def _explain(name: str | None) -> int:
    from georefer.evaluation.protocols import PROTOCOLS
    from georefer.evaluation.protocols.reference import protocol_page, protocols_page

    print(protocol_page(PROTOCOLS[name]) if name else protocols_page(), end="")
    return 0


def _numbers(numbers: Mapping[str, Any]) -> Iterator[str]:
    """Every set of numbers as a line, under a header where the names change; lists are left to the file."""
    header: tuple[str, ...] = ()
    widths: list[int] = []
    shown = 0
    for where, values in _leaves(numbers, ()):
        if tuple(values) != header:
            yield from [f"  ... {shown - SHOWN} more lines (all are in --json)"] if shown > SHOWN else []
            header, shown = tuple(values), 0
            widths = [max(10, len(name) + 2) for name in header]
            yield f"\n{'':<44}" + "".join(f"{name:>{width}}" for name, width in zip(header, widths, strict=True))
        shown += 1
        if shown <= SHOWN:
            cells = zip(values.values(), widths, strict=True)
            yield f"{' '.join(where)[:43]:<44}" + "".join(f"{_brief(value):>{width}}" for value, width in cells)
    if shown > SHOWN:
        yield f"  ... {shown - SHOWN} more lines (all are in --json)"
    for part, values in numbers.items():
        if isinstance(values, Mapping) and isinstance(values.get("printed"), list):
            yield f"\n{part}, as the original prints it"
            yield from (f"  {line}" for line in values["printed"][:SHOWN])


def _leaves(node: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    own = {key: value for key, value in node.items() if isinstance(value, int | float)}
    if own:
        yield path, own
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))


def _brief(value: float) -> str:
    """Shares to four places, percent to two."""
    return str(value) if isinstance(value, int) else f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}"


def _remarks(scores: Scores, protocol: Protocol) -> Iterator[str]:
    from georefer.evaluation.compare_rows import published_and_strict
    from georefer.evaluation.summary import difference_text

    if scores.stops:
        yield f"\nthe original stops with an exception at {len(scores.stops)} rows, which are scored here:"
        yield from (f"  {stop.part} {stop.id}: {stop.why}" for stop in scores.stops[:SHOWN])
    yield from (f"\n{note}" for note in scores.notes)
    if not scores.beside:
        return
    yield f"\n{'':<44}{'published':>12}{'strict':>12}{'difference':>12}"
    for pair in scores.beside:
        cells = [pair.published, pair.strict]
        cells.append(None if None in cells else pair.published - pair.strict)  # type: ignore[operator]
        name = f"{pair.part} {pair.measure}"
        yield f"{name[:43]:<44}" + "".join(
            "           –" if cell is None else f"{_brief(float(cell)):>12}" for cell in cells
        )
    yield "\nmean of rows, published and strict, and strict - published with its interval in hundredths:"
    for part, mean in published_and_strict(scores.rows).items():
        yield f"  {part[:41]:<42}{mean.first:>12.4f}{mean.second:>12.4f}   {difference_text(mean)}"
    differing = scores.differing()
    yield f"\n{len(differing)} of {len(scores.rows)} rows differ" + (", for these reasons:" if differing else "")
    reasons = Counter(reason for row in differing for reason in row.reasons)
    yield from (f"  {count:>6}  {name}: {protocol.quirks[name]}" for name, count in reasons.most_common())
    for row in differing[:SHOWN]:
        values = " and ".join("passed over" if v is None else f"{v:.3f}" for v in (row.published, row.strict))
        yield f"  {row.part} {row.id}: published and strict {values} ({', '.join(row.reasons)})"
    if len(differing) > SHOWN:
        yield f"  ... {len(differing) - SHOWN} more (all are in --rows)"
