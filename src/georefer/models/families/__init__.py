"""Families of vision-language models, one small file each: how its pictures are made and what its models speak."""

from __future__ import annotations

_HERE = "georefer.models.families"

FAMILIES: dict[str, str] = {
    "llava": f"{_HERE}.llava:Llava",
    "llava_next": f"{_HERE}.llava_next:LlavaNext",
    "llava_onevision": f"{_HERE}.llava_next:LlavaOnevision",
    "qwen2_vl": f"{_HERE}.qwen_vl:Qwen2VL",
    "qwen2_5_vl": f"{_HERE}.qwen_vl:Qwen25VL",
    "qwen3_vl": f"{_HERE}.qwen_vl:Qwen3VL",
    "internvl": f"{_HERE}.internvl:InternVL",
    "gemma3": f"{_HERE}.gemma3:Gemma3",
    "idefics3": f"{_HERE}.idefics3:Idefics3",
    "smolvlm": f"{_HERE}.idefics3:SmolVLM",
    "paligemma": f"{_HERE}.paligemma:PaliGemma",
    "florence2": f"{_HERE}.florence2:Florence2",
}
"""`model_type` of a config.json to "module:class"."""
