"""Caption scores of two well-kept packages, for users who compare with their numbers: sacrebleu and rouge-score.

Both are optional. They tokenise on their own, so that captions are given as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from georefer.errors import MissingExtra

ROUGE_KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def sacrebleu_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """BLEU (13a tokens, exponential smoothing), its parts, its variants, chrF and sentence BLEU, in percent.

    Each caption has equally many references. A line break counts as a blank. MissingExtra without sacrebleu.
    """
    try:
        import sacrebleu
    except ModuleNotFoundError as error:
        raise MissingExtra("sacrebleu's scores", "captions") from error
    said = [text.replace("\n", " ") for text in captions]
    true_NR = [[text.replace("\n", " ") for text in texts] for texts in references]
    streams = [list(texts) for texts in zip(*true_NR, strict=True)]
    whole = sacrebleu.corpus_bleu(said, streams)
    return {
        "corpus": whole.score,
        "precisions": list(whole.precisions),
        "bp": whole.bp,
        "sys_len": int(whole.sys_len),
        "ref_len": int(whole.ref_len),
        "corpus_lowercase": sacrebleu.corpus_bleu(said, streams, lowercase=True).score,
        "corpus_no_smoothing": sacrebleu.corpus_bleu(said, streams, smooth_method="none").score,
        "chrf": sacrebleu.corpus_chrf(said, streams).score,
        "sentence": [sacrebleu.sentence_bleu(a, b).score for a, b in zip(said, true_NR, strict=True)],
    }


def rouge_scores(
    captions: Sequence[str], references: Sequence[str], stem: bool = False
) -> dict[str, list[list[float]]]:
    """ROUGE-1, -2, -L and -Lsum of each caption: precision, recall, F. MissingExtra without rouge-score."""
    scorer = _scorer(ROUGE_KINDS, stem)
    scored = [scorer.score(true, said) for said, true in zip(captions, references, strict=True)]
    return {kind: [[s[kind].precision, s[kind].recall, s[kind].fmeasure] for s in scored] for kind in ROUGE_KINDS}


def best_rouge_scores(
    captions: Sequence[str], references: Sequence[Sequence[str]], stem: bool = False
) -> dict[str, list[float]]:
    """F of ROUGE-1 and -L of each caption with the reference that is best by it. MissingExtra without rouge-score."""
    kinds = ("rouge1", "rougeL")
    scorer = _scorer(kinds, stem)
    scored = [scorer.score_multi(list(true), said) for said, true in zip(captions, references, strict=True)]
    return {kind: [s[kind].fmeasure for s in scored] for kind in kinds}


def _scorer(kinds: Sequence[str], stem: bool) -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ModuleNotFoundError as error:
        raise MissingExtra("rouge-score's scores", "captions") from error
    return RougeScorer(list(kinds), use_stemmer=stem)
