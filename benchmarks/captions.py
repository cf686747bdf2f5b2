"""Caption scores against pycocoevalcap: the tokenizer against its Java program, BLEU, ROUGE-L and CIDEr.

    pip install pycocoevalcap==1.2
    python benchmarks/captions.py [captions, by default 3000]

Each line is timed in turn in this process on the same made-up captions, and says how far the values agree; captions
have odd words as model answers do. Without `java` the tokenizer is timed alone.
"""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import sys
import time

import numpy as np

from georefer.scoring.captions.bleu import bleu
from georefer.scoring.captions.cider import cider
from georefer.scoring.captions.ptb import ptb_lines
from georefer.scoring.captions.rouge import rouge_l

PLAIN = str.split(
    "a the of in on near beside many several two three 12 large small white green parked rows arranged around located "
    "upper lower left right corner image scene there is are with and while one ship ships runway bridge harbor pond "
    "building buildings storage tank tennis court car park L-shaped two-story top-right farmer's field football"
)
ODD = str.split(
    "U.S.|e.g.|No. 5|no.|Fig. 2|3.5 m|50%|10,000|2,500 m²|1/2|3 1/2|$5|don't|it's|can't|cannot|(left)|[10, 20]|<p>|"
    "{<10><20>}|...|…|–|“quoted”|\"quoted\"|'single'|boats'|30cm|45°|and/or|#1|A&B|:|!!|1st|'90s|12:30|St. Mary's|"
    "www.x.com|a_b|P0001.png|3x3|10-15|10×10|**bold**|½|é|😀|:)|1.|plan B.|Jan. 5|vol. 2|a,b|end.Start|wow!",
    "|",
)
RNG = random.Random(0)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    print(f"{count:,} captions, one thread; items a second, ours / theirs")
    for references in (1, 3):
        true = [[text() for _ in range(references)] for _ in range(count)]
        said = [changed(RNG.choice(texts)) for texts in true]
        print(f"--- {references} reference{'s' * (references > 1)}")
        against_java(said, true)
        words, true_words = ptb_lines(said), [ptb_lines(texts) for texts in true]
        against_python(words, true_words)


def text() -> str:
    words = [RNG.choice(ODD) if RNG.random() < 0.08 else RNG.choice(PLAIN) for _ in range(RNG.randint(5, 25))]
    return " ".join(words).capitalize() + RNG.choice(["", ".", ".", "!"])


def changed(caption: str) -> str:
    words = caption.split(" ")
    for place in range(len(words)):
        if RNG.random() < 0.3:
            words[place] = RNG.choice(PLAIN)
    return " ".join(words)


def timed(work):  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        value = work()
    return value, time.perf_counter() - start


def said_of(name: str, items: int, ours: float, theirs: float, agreement: str) -> None:
    print(f"{name:<10}{items / ours:>10,.0f}{items / theirs:>10,.0f}{theirs / ours:>8.1f}x  {agreement}")


def against_java(said: list[str], true: list[list[str]]) -> None:
    texts = [*said, *(text for texts in true for text in texts)]
    ours, seconds = timed(lambda: ptb_lines(texts))
    if shutil.which("java") is None:
        print(f"{'tokens':<10}{len(texts) / seconds:>10,.0f}  (no java to compare with)")
        return
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    asked = {number: [{"caption": text}] for number, text in enumerate(texts)}
    theirs, java_seconds = timed(lambda: PTBTokenizer().tokenize(asked))
    alike = sum(theirs[number] == [line] for number, line in enumerate(ours))
    said_of(
        "tokens", len(texts), seconds, java_seconds, f"{alike:,} of {len(texts):,} texts alike, Java's start counted"
    )


def against_python(said: list[str], true: list[list[str]]) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    known = dict(enumerate(true)), {number: [text] for number, text in enumerate(said)}
    for name, ours, theirs in (("bleu", bleu, Bleu()), ("rouge_l", rouge_l, Rouge()), ("cider", cider, Cider())):
        (whole, each), seconds = timed(lambda ours=ours: ours(said, true))
        (their_whole, their_each), their_seconds = timed(lambda theirs=theirs: theirs.compute_score(*known))
        apart = max(np.abs(np.subtract(whole, their_whole)).max(), np.abs(np.subtract(each, their_each)).max())
        said_of(name, len(said), seconds, their_seconds, f"largest difference {apart:.1e}")


if __name__ == "__main__":
    main()
