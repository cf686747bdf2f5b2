"""METEOR against the Java program that COCO's caption evaluation runs: agreement, and captions per second.

    pip install pycocoevalcap==1.2
    python benchmarks/meteor.py [folder with meteor-1.5.jar and data/paraphrase-en.gz]

Without `java` only ours is timed. Both read the same made-up captions, each with three references.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from georefer.scoring.captions.meteor import meteor
from georefer.scoring.captions.meteor_resources import ARCHIVE, MeteorResources, package_folder

THINGS = (
    "car", "cars", "truck", "plane", "airplane", "aircraft", "ship", "boat", "house", "houses", "building", "home",
    "tree", "trees", "forest", "lake", "pond", "road", "street", "bridge", "field", "meadow", "runway", "harbor",
)  # fmt: skip
LOOKS = ("green", "blue", "large", "big", "small", "tiny", "long", "several", "many", "two", "parked", "rectangular")
LINKS = ("next to", "beside", "near", "in the middle of", "close to", "surrounded by", "on the left of", "and", "with")
RNG = random.Random(0)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else package_folder()
    start = time.perf_counter()
    resources = MeteorResources.load(folder)
    loading = time.perf_counter() - start
    captions, references = zip(*(item() for _ in range(3000)), strict=True)
    start = time.perf_counter()
    corpus, scores = meteor(captions, references, resources)
    ours = time.perf_counter() - start
    print(f"ours: tables read in {loading:.1f} s, then {len(captions) / ours:,.0f} captions a second")
    print(f"      {len(captions) / (loading + ours):,.0f} a second with reading, {len(captions):,} captions")
    if java := shutil.which("java"):
        against_java(java, folder, captions, references, corpus, scores, loading + ours)


def against_java(java, folder, captions, references, corpus, scores, seconds) -> None:  # type: ignore[no-untyped-def]
    command = [java, "-Xmx2G", "-jar", ARCHIVE, "-", "-", "-stdio", "-l", "en", "-norm"]
    start = started = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        ask, answer = process.stdin, process.stdout
        lines = []
        for texts in [["a", "a"], *([*told, caption] for caption, told in zip(captions, references, strict=True))]:
            print("SCORE", *texts, sep=" ||| ", file=ask, flush=True)
            lines.append(answer.readline().strip())
            started = time.perf_counter() if len(lines) == 1 else started
        print("EVAL", *lines[1:], sep=" ||| ", file=ask, flush=True)
        theirs = [float(answer.readline()) for _ in range(len(captions) + 1)]
        end = time.perf_counter()
        ask.close()
    print(f"java: started in {started - start:.1f} s, then {len(captions) / (end - started):,.0f} captions a second")
    print(f"ratio with starting: ours {(end - start) / seconds:.1f}x as fast")
    differences = np.abs(np.array(theirs) - [*scores, corpus])
    beyond = np.sum(differences > 1e-9)
    print(f"agreement: {beyond} of {len(theirs):,} differ by more than 1e-9, the largest by {max(differences):.0e}")


def item() -> tuple[str, list[str]]:
    said = [phrase() for _ in range(RNG.randint(2, 5))]
    return text(said), [text(said) for _ in range(3)]


def phrase() -> str:
    return " ".join([RNG.choice(["a", "the", "there are"]), *RNG.sample(LOOKS, RNG.randint(0, 2)), RNG.choice(THINGS)])


def text(said: list[str]) -> str:
    """What is said, told another way: other order, other words between and sometimes within."""
    told = RNG.sample(said, RNG.randint(max(1, len(said) - 1), len(said)))
    words = " ".join(f"{part} {RNG.choice(LINKS)}" for part in told).split()
    return " ".join(RNG.choice((*THINGS, *LOOKS)) if RNG.random() < 0.1 else word for word in words)


if __name__ == "__main__":
    main()
