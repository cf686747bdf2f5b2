"""The command line: one file per verb, each of which parses, calls one function and prints.

Exit codes: 0 done, 1 done but something is wrong (doctor), 2 the input cannot be used (one sentence says why),
130 interrupted, 141 the reader of the output went away. Anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

VERBS: dict[str, str] = {
    "synth": "make a synthetic area: imagery and the exact vector layers that belong to it",
    "build": "imagery and vector layers to a dataset of scenes and questions",
    "import": "a published dataset's own files to a dataset, to train on or to draw from",
    "inspect": "show a dataset: counts, drops, pictures of scenes with their questions",
    "sft": "fine-tune a model on datasets",
    "grpo": "reinforce a model by rewards for its own answers",
    "grid": "ways to learn from few examples side by side: supervised, reinforced, with thoughts",
    "merge": "work an adapter into its base model, checked to score every token the same",
    "parity": "one question through training, transformers, our decoding, a merged model and a server",
    "ask": "ask one image one thing",
    "sweep": "a whole raster to a map layer of what was found",
    "serve": "a model as an OpenAI-compatible server",
    "evaluate": "ask a model a dataset's or a benchmark's questions; scores, blind scores, report",
    "score": "score kept answers again, without a model; or as a published scorer does",
    "compare": "two runs on the same questions: differences, intervals, paired tests",
    "audit": "find images that occur in more than one dataset or split, and labels that cannot be right",
    "fewshot": "draw nested few-shot datasets, so many objects or images per class",
    "reword": "more phrasing for a dataset's expressions, by a language model whose every word is checked",
    "export": "write a dataset in another trainer's files",
    "dialects": "how each family of models says geometry; try one out",
    "demo": "the whole story of a recipe folder: synth, build, sft, evaluate, sweep",
    "doctor": "check this installation",
}
"""Every verb and its line in the help; the verb's module is imported only when it is used."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from georefer import __version__

        print(f"georefer {__version__}")
        return 0
    if arguments[0] not in VERBS:
        print(f"georefer: there is no verb '{arguments[0]}'; known: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    return _run(arguments[0], arguments[1:])


def _run(verb: str, arguments: list[str]) -> int:
    from georefer.errors import GeoreferError

    module = import_module(f"georefer.cli.{verb}")
    parser = argparse.ArgumentParser(
        prog=f"georefer {verb}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    try:
        return module.run(parser.parse_args(arguments)) or 0
    except GeoreferError as error:
        print(f"georefer {verb}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # whoever read our output, such as `head`, has seen enough; nothing more may be flushed to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print(f"georefer {verb}: interrupted; the same command goes on from what is saved", file=sys.stderr)
        return 130


def _help() -> str:
    verbs = "\n".join(f"  {verb:<10}{line}" for verb, line in VERBS.items())
    return (
        "georefer: ask overhead imagery for places in words, and get map layers back\n\n"
        f"usage: georefer VERB ...      (georefer VERB --help for one verb)\n\n{verbs}"
    )
