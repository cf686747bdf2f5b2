"""Dialects: the only code that turns geometry into text and back. A file a family, a line of the table a dialect."""

from georefer.dialects.base import Dialect
from georefer.dialects.deepseek import DeepSeekVL2Dialect
from georefer.dialects.ferret import FerretDialect
from georefer.dialects.fit import FitDialect
from georefer.dialects.florence import Florence2Dialect
from georefer.dialects.gemini import GeminiDialect
from georefer.dialects.geo_r1 import GeoR1Dialect
from georefer.dialects.geochat import GeoChatDialect, VRSBenchDialect
from georefer.dialects.geoground import GeoGroundDialect
from georefer.dialects.georefer import GeoreferDialect, ThinkingGeoreferDialect
from georefer.dialects.glm import GLM4VDialect
from georefer.dialects.groundset import GroundSetDialect
from georefer.dialects.internvl import InternVLDialect
from georefer.dialects.kosmos import Kosmos2Dialect
from georefer.dialects.llava import LLaVA15Dialect
from georefer.dialects.molmo import MolmoDialect
from georefer.dialects.moondream import MoondreamDialect
from georefer.dialects.paligemma import PaliGemmaDialect
from georefer.dialects.qwen import Qwen2VLDialect, Qwen3VLDialect, Qwen25VLDialect
from georefer.dialects.reading import Problem, Reading, Relation
from georefer.dialects.rex_omni import RexOmniDialect
from georefer.dialects.shikra import ShikraDialect
from georefer.dialects.text4seg import Text4SegDialect
from georefer.dialects.visionreasoner import VisionReasonerDialect
from georefer.dialects.visual_rft import VisualRFTDialect

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        # our own
        GeoreferDialect(),
        GeoreferDialect("georefer-tokens", tokens=True),
        ThinkingGeoreferDialect("georefer-think"),
        # the seeds of this field
        GroundSetDialect(),
        GeoGroundDialect(),
        GeoGroundDialect(24),
        GeoGroundDialect(32),
        Text4SegDialect(),
        GeoChatDialect(True),
        GeoChatDialect(False),
        VRSBenchDialect(),
        FitDialect(),
        GeoR1Dialect(),
        # families of models
        Qwen2VLDialect(),
        Qwen25VLDialect(),
        Qwen3VLDialect(),
        InternVLDialect(),
        PaliGemmaDialect(),
        Florence2Dialect(),
        Kosmos2Dialect(),
        DeepSeekVL2Dialect(),
        MolmoDialect(),
        MoondreamDialect(),
        GeminiDialect(),
        FerretDialect(),
        ShikraDialect(),
        LLaVA15Dialect(),
        RexOmniDialect(),
        GLM4VDialect(),
        VisualRFTDialect(),
        VisionReasonerDialect(),
    )
}

__all__ = ["DIALECTS", "Dialect", "Problem", "Reading", "Relation"]
