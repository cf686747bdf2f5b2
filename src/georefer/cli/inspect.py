"""Show a dataset as a model learns it: pictures as it sees them, the exact text with what is learned, counts, drops.

georefer inspect data/mine                            a page beside the dataset, seen by the shipped tiny model
georefer inspect data/mine --model runs/mine/model    seen by a model of yours
georefer inspect data/mine --dialect qwen2.5-vl       in another dialect, without a model and its tokens
georefer inspect data/mine --task rec --serve         on http://127.0.0.1 until Ctrl-C, nothing written
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, help="dataset folder")
    parser.add_argument("--out", type=Path, help="page to write (default: DATASET-inspect.html beside the dataset)")
    parser.add_argument("--split", default="train", help="train (default) or test")
    parser.add_argument("--scenes", type=int, default=24, help="how many scenes to show (default 24)")
    parser.add_argument("--task", action="append", default=[], help="questions of this task only; may be repeated")
    parser.add_argument("--model", help="model folder or shipped checkpoint whose eyes and tokens to use")
    parser.add_argument("--dialect", help="no model: write in this dialect, and show no tokens")
    parser.add_argument("--serve", type=int, nargs="?", const=0, metavar="PORT",
                        help="serve the page on this machine (default: any free port)")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from georefer.evaluation.inspect import inspect, sight_of, write_page
    from georefer.runlog import say
    from georefer.scenes import open_dataset

    dataset = open_dataset(options.dataset)
    sight, remark = sight_of(options.model, options.dialect)
    if remark:
        say(f"no tokens are shown: {remark}")
    found = inspect(dataset, options.split, options.scenes, tasks=options.task, sight=sight, remark=remark)
    for name, count in {**dataset.manifest.get("features", {}), **dataset.manifest.get("counts", {})}.items():
        print(f"{count:>9,}  {name}" if isinstance(count, int) else f"{name}: {count}")
    print(f"{found.differing:,} of {found.compared:,} answers differ from the truth, in {found.scenes} scenes")
    if found.unsaid:
        print(f"{found.unsaid:,} questions cannot be put in the dialect {sight.dialect.name}")
    if options.out or options.serve is None:
        # "." and ".." have no name beside which a page could be written
        folder = options.dataset if options.dataset.name not in ("", "..") else options.dataset.resolve()
        print(f"wrote {write_page(found, options.out or folder.with_name(folder.name + '-inspect.html'))}")
    if options.serve is not None:
        return _serve(found.page, options.serve)
    return 0


def _serve(page: str, port: int) -> int:
    from georefer.evaluation.inspect_server import HOST, page_server

    with page_server(page.encode(), port) as server:
        print(f"http://{HOST}:{server.server_port}/  (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
